"""From a failure to what explains it: the step, the words, and whose words they are."""

import pytest
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed

from mailproxy.destination.model import Destination, MailProtocol, TLSMode, TLSSettings
from mailproxy.doctor.diagnosis import Diagnosis, stage_of, step_of
from mailproxy.doctor.outcomes import MEANINGS, SERVICE, SIDES
from mailproxy.errors import (
    DestinationUnavailable,
    LacksTLS,
    RefusedLogin,
    TLSFailed,
    TokenRefused,
    Unreachable,
    UpstreamError,
    Violation,
)
from tests.support.pages import page, spans


def destination(mode=TLSMode.REQUIRED, protocol=MailProtocol.SMTP, host="mail.example.com"):
    return Destination("dest", protocol, host, 1, TLSSettings(mode), login=True)


@pytest.fixture
def diagnosis(table):
    return Diagnosis(table)


@pytest.mark.parametrize(
    ("error", "current", "mode", "step"),
    [
        (TLSFailed("x"), "starttls", TLSMode.REQUIRED, "tls"),
        (LacksTLS("x"), "capabilities", TLSMode.REQUIRED, "starttls"),
        (LacksTLS("x"), "capabilities", TLSMode.OPPORTUNISTIC, "login"),
        (LacksTLS("x"), "starttls", TLSMode.OPPORTUNISTIC, "starttls"),
        (LacksTLS("x"), "login", TLSMode.NONE, "login"),
        (Violation("x"), "greeting", TLSMode.REQUIRED, "greeting"),
    ],
)
def test_the_step_that_failed(error, current, mode, step):
    assert step_of(error, current, destination(mode)) == step


@pytest.mark.parametrize(
    ("step", "smtp", "pop3"),
    [
        ("name", "connect", "connect"),
        ("connect", "connect", "connect"),
        ("socks", "connect", "connect"),
        ("greeting", "greeting", "greeting"),
        ("starttls", "starttls", "starttls"),
        ("tls", "starttls", "starttls"),
        ("capabilities", "ehlo", "ehlo"),
        ("login", "auth", "pop-login"),
        ("probe", "mail", "pop"),
    ],
)
def test_every_step_has_a_stage(step, smtp, pop3):
    assert stage_of(step, destination()) == smtp
    assert stage_of(step, destination(protocol=MailProtocol.POP3)) == pop3


def test_the_handshake_at_once_is_another_stage():
    assert stage_of("tls", destination(TLSMode.IMPLICIT)) == "tls"


def test_what_the_destination_service_quotes_comes_first(diagnosis):
    said = (
        "authTokens[0].error: Retrieval of OAuthToken failed due to: Unable to fetch refresh token. Response was: "
        '{"error":"invalid_client","error_description":"AADSTS7000222: The provided client secret keys are expired."}'
    )
    error = TokenRefused("no token")
    trouble = diagnosis.of_service("destination", error, said, "", "sap-destination")
    assert (trouble.answer, trouble.provider) == ("entra-7000222-secret-expired", "Microsoft Entra")


def test_a_quotation_that_says_nothing_leaves_the_rest(diagnosis):
    said = "authTokens[0].error: Retrieval of OAuthToken failed due to: something. Response was: nothing of use"
    trouble = diagnosis.of_service("destination", TokenRefused("no token"), said, "", "sap-destination")
    assert trouble.answer == "destination-token-failed"


def test_what_caused_an_error_is_looked_at_too(diagnosis):
    error = DestinationUnavailable("the service cannot be reached somehow")
    error.__cause__ = ResponseFailed([Failure(Refused())])
    assert diagnosis.of_service("token", error, "", "login.example.com").answer == "tcp-refused"
    error = Unreachable("no way")
    error.__cause__ = Refused()
    assert diagnosis.of_server("connect", error, destination(), [], "").answer == "tcp-refused"


def test_the_same_words_mean_another_thing_elsewhere(diagnosis):
    error = RefusedLogin("the mail server refused the login of x: 535", temporary=False)
    told = ["535 5.7.8 Error: authentication failed: UGFzc3dvcmQ6"]
    everywhere = diagnosis.of_server("auth", error, destination(), told, "")
    fastmail = diagnosis.of_server("auth", error, destination(host="smtp.fastmail.com"), told, "")
    postfix = diagnosis.of_server("auth", error, destination(), told, "220 mail.example.com ESMTP Postfix")
    assert [each.answer for each in (everywhere, fastmail, postfix)] == [
        "smtp-auth-535",
        "fastmail-auth",
        "postfix-auth-failed",
    ]


# Whose side


def login_refused(temporary):
    return RefusedLogin("the mail server refused the login of x: 454", temporary=temporary)


@pytest.mark.parametrize(
    ("error", "told", "stage", "side"),
    [
        (login_refused(temporary=False), "535 5.7.8 no", "auth", "destination"),
        (login_refused(temporary=True), "454 4.7.0 later", "auth", "mail server"),
        (login_refused(temporary=False), "never heard of", "auth", "destination"),
        (Unreachable("no connection to mail.example.com:25: connection refused"), "", "connect", "mail server"),
        (Violation("no POP3 status line"), "220 mail.example.com ESMTP", "greeting", "destination"),
    ],
)
def test_the_side_of_a_failure_at_a_mail_server(diagnosis, error, told, stage, side):
    assert diagnosis.of_server(stage, error, destination(), [told], "").side == side


@pytest.mark.parametrize(
    ("error", "said", "stage", "ours", "side"),
    [
        (DestinationUnavailable("answered with status 500"), "HTTP 500 x", "token", False, "token service"),
        (DestinationUnavailable("answered with status 500"), "HTTP 500 x", "destination", False, "token service"),
        (DestinationUnavailable("no idea"), "", "token", False, "token service"),
        (DestinationUnavailable("no idea"), "", "destination", False, "Destination service"),
        (TokenRefused("refused"), '{"error":"invalid_client"}', "token", False, "destination"),
        (TokenRefused("refused"), '{"error":"invalid_client"}', "token", True, "configuration of mailproxy"),
        (TokenRefused("refused"), '{"error":"access_denied"}', "token", True, "token service"),
    ],
)
def test_the_side_of_a_failure_at_a_service(diagnosis, error, said, stage, ours, side):
    assert diagnosis.of_service(stage, error, said, "login.example.com", ours=ours).side == side


def test_the_page_has_every_side():
    rows = page("reference/check.md").table("Field of a trouble", "Meaning")
    (meaning,) = [row["Meaning"] for row in rows if row["Field of a trouble"] == "`side`"]
    assert set(spans(meaning)) == set(SIDES) - {SERVICE}


@pytest.mark.parametrize(("temporary", "words"), [(True, "pass by itself"), (False, "change a setting")])
def test_what_nobody_knows_means_what_its_outcome_does(diagnosis, temporary, words):
    error = UpstreamError("never heard of")
    error.temporary = temporary
    trouble = diagnosis.of_server("connect", error, destination(), [""], "")
    assert (trouble.answer, trouble.provider) == (None, None)
    usual = MEANINGS["upstream_error"]
    assert trouble.cause == usual.cause
    assert trouble.remedy[:-1] == usual.remedy
    assert words in trouble.remedy[-1]

"""What an SMTP client is offered, and what it may therefore ask for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.errors import BadCommand
from mailproxy.session.smtp_ehlo import (
    announced,
    format_ehlo,
    mail_parameters,
    needed,
    rcpt_parameters,
    without_size,
)
from mailproxy.wire.smtp import Parameter, Reply, ReplyParser, parse_ehlo
from tests.session.smtp_script import extensions

EVERYTHING = ("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")


def shown(*keywords, octets=0, recipients=0):
    return announced(extensions(*keywords), max_message_octets=octets, max_recipients=recipients)


def parameters(text):
    return tuple(
        Parameter(keyword, value.encode() if equals else None)
        for keyword, equals, value in (each.partition("=") for each in text.split())
    )


@pytest.mark.parametrize(
    ("offered", "wanted"),
    [
        ([], {}),
        (["PIPELINING"], {}),
        (["8BITMIME"], {"8BITMIME": ""}),
        (["DSN", "ENHANCEDSTATUSCODES"], {"DSN": "", "ENHANCEDSTATUSCODES": ""}),
        (["SMTPUTF8", "8BITMIME"], {"8BITMIME": "", "SMTPUTF8": ""}),
        (["SMTPUTF8"], {}),
    ],
)
def test_what_the_mail_server_offers_is_offered_and_pipelining_always(offered, wanted):
    assert shown(*offered) == {"PIPELINING": "", **wanted}


HIDDEN = ["STARTTLS", "AUTH", "CHUNKING", "BINARYMIME", "DELIVERBY", "MT-PRIORITY", "FUTURERELEASE", "RRVS"]
HIDDEN += ["REQUIRETLS", "BURL", "ETRN", "ATRN", "TURN", "VRFY", "EXPN", "HELP", "CHECKPOINT", "NO-SOLICITING"]
HIDDEN += ["SUBMITTER", "CONPERM", "MTRK", "XCLIENT", "XFORWARD", "XVERP", "PRDR", "CLIENTID", "X-ANONYMOUSTLS"]
HIDDEN += ["X-EXPS", "XEXCH50", "XRDST", "XSHADOW", "XPROXY", "X-ANYTHING"]


@pytest.mark.parametrize("keyword", HIDDEN)
def test_what_we_do_not_know_is_not_offered(keyword):
    assert shown(keyword) == {"PIPELINING": ""}


@given(st.lists(st.text("ABCXYZ0189-", min_size=1, max_size=12), max_size=8))
@settings(max_examples=100)
def test_nothing_but_the_list_is_ever_offered(keywords):
    assert set(shown(*keywords, *EVERYTHING)) <= {*EVERYTHING, "LIMITS"}


@pytest.mark.parametrize(
    ("offered", "ours", "wanted"),
    [
        ([], 0, None),
        (["SIZE"], 0, ""),
        (["SIZE=0"], 0, ""),
        (["SIZE=1000"], 0, "1000"),
        ([], 500, "500"),
        (["SIZE"], 500, "500"),
        (["SIZE=0"], 500, "500"),
        (["SIZE=1000"], 500, "500"),
        (["SIZE=1000"], 5000, "1000"),
        (["SIZE=lots"], 0, ""),
        (["SIZE=-5"], 500, "500"),
        (["SIZE=" + "9" * 21], 500, "500"),
    ],
)
def test_the_smaller_size_counts(offered, ours, wanted):
    assert shown(*offered, octets=ours).get("SIZE") == wanted


@pytest.mark.parametrize(
    ("offered", "ours", "wanted"),
    [
        ([], 0, None),
        ([], 100, "RCPTMAX=100"),
        (["LIMITS=RCPTMAX=50"], 0, "RCPTMAX=50"),
        (["LIMITS=RCPTMAX=50"], 100, "RCPTMAX=50"),
        (["LIMITS=RCPTMAX=200"], 100, "RCPTMAX=100"),
        (["LIMITS=MAILMAX=5"], 0, None),
        (["LIMITS=MAILMAX=5 RCPTDOMAINMAX=3 RCPTMAX=9"], 0, "RCPTMAX=9 RCPTDOMAINMAX=3"),
        (["LIMITS=RCPTMAX=x RCPTDOMAINMAX"], 0, None),
    ],
)
def test_limits_are_the_smaller_ones_and_mailmax_is_not_ours_to_pass_on(offered, ours, wanted):
    assert shown(*offered, recipients=ours).get("LIMITS") == wanted


def test_limits_are_understood_as_a_mail_server_writes_them():
    offered = parse_ehlo(Reply(250, (b"250-mail.test", b"250 LIMITS MAILMAX=5 RCPTMAX=70")))
    assert announced(offered, max_message_octets=0, max_recipients=0)["LIMITS"] == "RCPTMAX=70"


def test_the_reply_begins_with_our_name_and_repeats_nothing():
    raw = format_ehlo("proxy.test", {"PIPELINING": "", "SIZE": "10", "8BITMIME": ""})
    assert raw == b"250-proxy.test\r\n250-PIPELINING\r\n250-SIZE 10\r\n250 8BITMIME\r\n"
    parser = ReplyParser()
    parser.feed(raw)
    assert dict(parse_ehlo(parser.next_reply()).keywords) == {"PIPELINING": "", "SIZE": "10", "8BITMIME": ""}


# MAIL and RCPT


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        ("SIZE=10", "SIZE=10"),
        ("SIZE=0", "SIZE=0"),
        ("BODY=7BIT", "BODY=7BIT"),
        ("BODY=8bitmime SIZE=5", "BODY=8bitmime SIZE=5"),
        ("SMTPUTF8", "SMTPUTF8"),
        ("RET=HDRS ENVID=x+2By", "RET=HDRS ENVID=x+2By"),
        ("AUTH=<>", ""),
        ("AUTH=someone@else SIZE=1", "SIZE=1"),
    ],
)
def test_parameters_of_mail_go_on_but_for_auth(text, kept):
    assert mail_parameters(parameters(text), EVERYTHING, 0) == parameters(kept)


@pytest.mark.parametrize(
    ("text", "keywords", "reply"),
    [
        ("SIZE=1", (), (555, "5.5.4")),
        ("BODY=8BITMIME", ("SIZE",), (555, "5.5.4")),
        ("SMTPUTF8", (), (555, "5.5.4")),
        ("RET=FULL", ("SIZE",), (555, "5.5.4")),
        ("NOTIFY=NEVER", EVERYTHING, (555, "5.5.4")),
        ("HOLDFOR=60", EVERYTHING, (555, "5.5.4")),
        ("REQUIRETLS", EVERYTHING, (555, "5.5.4")),
        ("MT-PRIORITY=3", EVERYTHING, (555, "5.5.4")),
        ("BODY=BINARYMIME", EVERYTHING, (554, "5.6.3")),
        ("BODY=binarymime", (), (554, "5.6.3")),
        ("BODY=9BIT", EVERYTHING, (501, "5.5.4")),
        ("BODY", EVERYTHING, (501, "5.5.4")),
        ("SIZE", EVERYTHING, (501, "5.5.4")),
        ("SIZE=x", EVERYTHING, (501, "5.5.4")),
        ("SIZE=-1", EVERYTHING, (501, "5.5.4")),
        ("SIZE=" + "1" * 21, EVERYTHING, (501, "5.5.4")),
        ("SIZE=101", EVERYTHING, (552, "5.3.4")),
        ("SMTPUTF8=yes", EVERYTHING, (501, "5.5.4")),
    ],
)
def test_parameters_of_mail_that_are_refused(text, keywords, reply):
    with pytest.raises(BadCommand) as caught:
        mail_parameters(parameters(text), keywords, 100)
    assert (caught.value.code, caught.value.status) == reply


def test_a_declared_size_up_to_ours_is_welcome():
    assert mail_parameters(parameters("SIZE=100"), EVERYTHING, 100)
    assert mail_parameters(parameters("SIZE=" + "9" * 20), EVERYTHING, 0)


@pytest.mark.parametrize("text", ["", "NOTIFY=NEVER", "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c"])
def test_parameters_of_rcpt_go_on(text):
    assert rcpt_parameters(parameters(text), EVERYTHING) == parameters(text)


@pytest.mark.parametrize(
    ("text", "keywords"),
    [("NOTIFY=NEVER", ()), ("ORCPT=rfc822;x", ("SIZE",)), ("SIZE=1", EVERYTHING), ("X", EVERYTHING)],
)
def test_parameters_of_rcpt_that_are_refused(text, keywords):
    with pytest.raises(BadCommand) as caught:
        rcpt_parameters(parameters(text), keywords)
    assert (caught.value.code, caught.value.status) == (555, "5.5.4")


def test_what_the_mail_server_has_to_understand():
    assert needed(parameters("SIZE=1 BODY=7BIT SMTPUTF8 RET=FULL ENVID=x")) == {"SIZE", "8BITMIME", "SMTPUTF8", "DSN"}
    assert needed(parameters("NOTIFY=NEVER ORCPT=rfc822;x")) == {"DSN"}
    assert needed(()) == set()


def test_a_size_that_only_we_asked_for_stays_here():
    assert without_size(parameters("BODY=7BIT SIZE=1")) == parameters("BODY=7BIT")
    assert without_size(()) == ()

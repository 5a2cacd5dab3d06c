"""OAuth2 client credentials: what is asked, and what of the answers is believed."""

import base64
import json
from urllib.parse import quote_plus

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.destination.http import Answer
from mailproxy.destination.keystore import load_identity
from mailproxy.destination.source import PROVIDER, Tenant
from mailproxy.destination.tokenrequest import parse_token_request
from mailproxy.destination.tokens import fetch_token, is_token, parse_lifetime, parse_token_answer, usable_seconds
from mailproxy.errors import DestinationError, DestinationUnavailable, DestinationUnusable, TokenRefused
from mailproxy.sandbox.pki import Authority
from tests.destination.coroutines import run
from tests.support.services import Fault

SECRET = "sentinel secret+/=&"
ACME = Tenant("acme", "acme")


def properties(**more):
    base = {
        "tokenServiceURL": "https://idp.example.com/idp/token",
        "tokenServiceURLType": "Dedicated",
        "clientId": "client",
        "clientSecret": SECRET,
    }
    base.update({key.replace("__", "."): value for key, value in more.items()})
    return {key: value for key, value in base.items() if value is not ...}


def parse(tenant=PROVIDER, store=None, extra=None, **more):
    return parse_token_request(
        {**properties(**more), **(extra or {})}, tenant=tenant, store=store, default_timeout=10.0
    )


def problem(**more):
    with pytest.raises(DestinationUnusable) as caught:
        parse(**more)
    assert "sentinel" not in str(caught.value)
    return str(caught.value)


def basic(pair):
    return ("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())


def test_by_default_the_credentials_go_in_the_form():
    question = parse(scope="a b").question
    assert question.url.full == "https://idp.example.com/idp/token"
    assert question.form == (
        ("grant_type", "client_credentials"),
        ("client_id", "client"),
        ("client_secret", SECRET),
        ("scope", "a b"),
    )
    assert (question.headers, question.identity, question.timeout) == ((), None, 10.0)


def test_they_go_in_the_header_if_the_destination_says_so():
    question = parse(tokenService__addClientCredentialsInBody="false").question
    assert question.form == (("grant_type", "client_credentials"),)
    assert question.headers == (basic(f"client:{SECRET}"),)


@pytest.mark.parametrize("in_body", ["true", "false"])
def test_a_user_of_the_token_service_wins_the_header(in_body):
    user = {"tokenServiceUser": "user", "tokenServicePassword": "sentinel-password"}
    question = parse(tokenService__addClientCredentialsInBody=in_body, **user).question
    assert question.headers == (basic("user:sentinel-password"),)
    assert ("client_secret" in dict(question.form)) == (in_body == "true")


def test_more_parameters_go_where_their_keys_say():
    more = {
        "tokenService.body.resource": "https://outlook.office365.com",
        "tokenServiceURL.queries.api-version": "1 0",
        "tokenServiceURL.headers.X-Key": "sentinel-key",
    }
    question = parse(extra=more, tokenServiceURL="https://idp.example.com/t?a=1").question
    assert question.url.full == "https://idp.example.com/t?a=1&api-version=1+0"
    assert question.form[-1] == ("resource", "https://outlook.office365.com")
    assert question.headers == (("X-Key", "sentinel-key"),)


@pytest.mark.parametrize(
    "key",
    [
        "tokenService.body.grant_type",
        "tokenService.body.client_secret",
        "tokenService.body.",
        "tokenServiceURL.headers.Host",
        "tokenServiceURL.headers.content-length",
        "tokenServiceURL.headers.X Y",
        "tokenServiceURL.headers.",
        "clientAssertion.destinationName",
        "tokenServiceURL.ProxyType",
    ],
)
def test_what_would_change_the_request_itself_is_refused(key):
    assert problem(extra={key: "OnPremise"}).startswith(f"{key}: ")


def test_line_ends_never_get_into_a_request():
    assert problem(extra={"tokenServiceURL.headers.X": "a\r\nY: sentinel"}) == (
        "tokenServiceURL.headers.X: holds control characters"
    )


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://{tenant}.idp.example.com/t", "https://acme.idp.example.com/t"),
        ("https://idp.example.com/{tenant}/t", "https://idp.example.com/acme/t"),
        ("https://idp.example.com/t", "https://acme.idp.example.com/t"),
        ("http://localhost:8080/t", "http://acme.localhost:8080/t"),
    ],
)
def test_a_common_token_service_is_the_tenants_own(url, wanted):
    question = parse(Tenant("Acme Inc", "ACME"), tokenServiceURLType="Common", tokenServiceURL=url).question
    assert question.url.full == wanted


@pytest.mark.parametrize("tenant", [PROVIDER, Tenant("acme", id="1234")])
def test_a_common_token_service_needs_a_tenant_with_a_subdomain(tenant):
    assert problem(tenant=tenant, tokenServiceURLType="Common").startswith("tokenServiceURLType: is Common, but ")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"tokenServiceURL": ...}, "tokenServiceURL: is missing"),
        (
            {"tokenServiceURL": "http://idp.example.com/t"},
            "tokenServiceURL: is http:// to idp.example.com: secrets go over https:// or stay on this machine",
        ),
        (
            {"tokenServiceURL": "https://{tenant}.example.com/"},
            "tokenServiceURL: holds {tenant}, which needs tokenServiceURLType Common",
        ),
        ({"tokenServiceURLType": "Other"}, "tokenServiceURLType: is 'Other', not Dedicated or Common"),
        (
            {"tenant": ACME, "tokenServiceURLType": "Common", "tokenServiceURL": "https://192.0.2.1/t"},
            "tokenServiceURL: has an IP address for a host, where no subdomain can stand",
        ),
        ({"clientId": ...}, "clientId: is missing"),
        ({"clientSecret": ...}, "clientSecret: is missing"),
        (
            {"clientId": "a:b", "tokenService__addClientCredentialsInBody": "false"},
            "clientId: holds a colon, which cannot stand in an Authorization header",
        ),
        (
            {"tokenServiceURL__ConnectionTimeoutInSeconds": "61"},
            "tokenServiceURL.ConnectionTimeoutInSeconds: is no whole number from 0 to 60",
        ),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_sentence(more, sentence):
    assert problem(**more) == sentence


@pytest.mark.parametrize(
    ("connecting", "reading", "seconds"), [("5", "30", 35.0), ("5", ..., 15.0), (..., "0", 20.0), (..., ..., 10.0)]
)
def test_the_destination_may_set_its_own_time_limits(connecting, reading, seconds):
    names = ("tokenServiceURL__ConnectionTimeoutInSeconds", "tokenServiceURL__SocketReadTimeoutInSeconds")
    assert parse(**dict(zip(names, (connecting, reading), strict=True))).question.timeout == seconds


def stores(password=None):
    """The same certificate in each form of key store, by name."""
    issued = Authority.create().subordinate().issue("client.example")
    certificates = x509.load_pem_x509_certificates(issued.chain_pem)
    key = load_pem_private_key(issued.key_pem, None)
    encryption = BestAvailableEncryption((password or "x").encode())
    p12 = pkcs12.serialize_key_and_certificates(b"x", key, certificates[0], certificates[1:], encryption)
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption) if password else issued.key_pem
    return issued, {
        "a.p12": p12,
        "a.PFX": p12,
        "a.pem": issued.chain_pem + key_pem,
        "a.crt": key_pem + issued.chain_pem,
    }


def test_a_certificate_out_of_a_key_store_proves_who_we_are():
    issued, by_name = stores(password="sentinel-password")
    for name, store in by_name.items():
        more = {"tokenService.KeyStoreLocation": name, "tokenService.KeyStorePassword": "sentinel-password"}
        question = parse(store=store, extra=more, clientSecret=...).question
        assert question.form == (("grant_type", "client_credentials"), ("client_id", "client"))
        assert question.identity.certificate == issued.chain_pem
        assert (
            load_pem_private_key(question.identity.key, None).public_key()
            == load_pem_private_key(issued.key_pem, None).public_key()
        )
        assert b"PRIVATE" not in repr(question).encode()


def test_the_client_id_is_told_beside_a_certificate_even_when_not_in_the_body():
    _, by_name = stores()
    more = {"tokenService.KeyStoreLocation": "a.pem"}
    question = parse(
        store=by_name["a.pem"], extra=more, clientSecret=..., tokenService__addClientCredentialsInBody="false"
    ).question
    assert question.form == (("grant_type", "client_credentials"), ("client_id", "client"))
    assert question.headers == ()


@pytest.mark.parametrize(
    ("name", "content", "password", "reason"),
    [
        ("a.jks", b"", None, "must end in .p12, .pfx, .pem, .crt, .cer"),
        ("a", b"", None, "must end in .p12, .pfx, .pem, .crt, .cer"),
        ("a.p12", b"sentinel", "x", "cannot be read: it is damaged, or its password is missing or wrong"),
        ("a.pem", b"sentinel", None, "holds no certificate"),
        ("a.pem", "chain", None, "holds no private key"),
        ("a.pem", "other", None, "holds a private key that does not fit its first certificate"),
        ("a.p12", "p12", "wrong", "cannot be read: it is damaged, or its password is missing or wrong"),
    ],
)
def test_a_key_store_that_cannot_be_used_says_why(name, content, password, reason):
    issued, by_name = stores()
    other = Authority.create().issue("other.example")
    made = {"chain": issued.chain_pem, "other": issued.chain_pem + other.key_pem, "p12": by_name["a.p12"]}
    with pytest.raises(ValueError, match="^" + reason):
        load_identity(name, made.get(content, content), password)


def answer(body, status=200, **more):
    octets = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer("the token service at idp.example.com", status, octets, **more)


def judged(body, status=200, **more):
    return parse_token_answer(answer(body, status, **more), 1000.0, [SECRET])


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (3599, 3599),
        ("3599", 3599),
        (" 60 ", 60),
        (12.5, 12.5),
        ("0", 0),
        (0, 0),
        (-10, 0),
        ("-10", 0),
        (10**9, 86400),
        (10**400, 86400),
        (1e300, 86400),
        (float("inf"), 86400),
        (None, 300),
        ("", 300),
        ("soon", 300),
        (True, 300),
        ([3600], 300),
        ("9" * 400, 300),
    ],
)
def test_the_lifetime_is_a_number_or_a_text_and_bounded(expires_in, seconds):
    assert parse_lifetime(expires_in) == seconds


def test_a_token_lives_from_the_question_on():
    token = judged({"access_token": "a.b-c_d~e+f/g==", "token_type": "bEARER", "expires_in": "3600"})
    assert (token.value, token.expires_at) == ("a.b-c_d~e+f/g==", 4600.0)
    assert "a.b" not in repr(token)
    assert judged({"access_token": "x"}).expires_at == 1300.0


def test_a_token_is_handed_out_until_shortly_before_its_end():
    assert (usable_seconds(3600), usable_seconds(60), usable_seconds(0)) == (3570, 54, 0)


@pytest.mark.parametrize("token", ["a b", "a\r\nb", "a\x01b", "ä", "=a", "a=b", "", "x" * 20_000, 5, None, ["a"]])
def test_what_holds_other_characters_is_no_token(token):
    assert not is_token(token)
    with pytest.raises(TokenRefused):
        judged({"access_token": token, "token_type": "Bearer"})


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from(["access_token", "token_type", "expires_in", "error"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=6),
            st.lists(st.integers(), max_size=2),
        ),
    ),
    st.sampled_from([200, 400, 401, 500]),
)
def test_whatever_is_answered_it_is_a_token_or_an_error_of_ours(fields, status):
    try:
        token = judged(json.dumps(fields).encode(), status)
    except DestinationError as error:
        sentence = str(error)
        assert sentence.isprintable()
    else:
        assert is_token(token.value)


def test_another_type_of_token_is_refused():
    with pytest.raises(TokenRefused, match="gave a token of type 'mac' instead of Bearer"):
        judged({"access_token": "x", "token_type": "mac"})


@pytest.mark.parametrize("status", [400, 401, 403, 200])
def test_a_refusal_says_why_without_our_secret(status):
    words = f"AADSTS7000215: Invalid secret {SECRET}\r\n\x1b[31m " + "x" * 500
    with pytest.raises(TokenRefused) as caught:
        judged({"error": "invalid_client", "error_description": words}, status)
    sentence = str(caught.value)
    assert sentence.startswith("the token service at idp.example.com ")
    assert r"invalid_client: AADSTS7000215: Invalid secret <secret>\x0d\x0a\x1b[31m xxx" in sentence
    assert "sentinel" not in sentence
    assert len(sentence) < 700


def test_a_refusal_may_quote_the_form_and_not_the_secret_in_it():
    with pytest.raises(TokenRefused) as caught:
        judged({"error": "invalid_request", "error_description": "got client_secret=sentinel+secret%2B%2F%3D%26"}, 400)
    assert "sentinel" not in str(caught.value)


@pytest.mark.parametrize("quoted", [SECRET, quote_plus(SECRET), f"{SECRET} {quote_plus(SECRET)}"])
def test_no_form_and_no_rest_of_the_secret_is_left(quoted):
    with pytest.raises(TokenRefused) as caught:
        judged({"error": "invalid_client", "error_description": f"got <{quoted}>"}, 400)
    assert str(caught.value).split(": got ")[1].replace("<secret>", "").strip("<> ") == ""


def test_a_refusal_without_json_is_one_too():
    with pytest.raises(TokenRefused, match=r"refused a token with status 401$"):
        judged(b"<html>", 401)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 302, 204])
def test_other_answers_pass(status):
    with pytest.raises(DestinationUnavailable) as caught:
        judged(b"", status, retry_after=9.0)
    assert caught.value.retry_after == 9.0


def test_an_error_that_passes_is_no_refusal():
    with pytest.raises(DestinationUnavailable, match="temporarily_unavailable"):
        judged({"error": "temporarily_unavailable"}, 400)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"<html>"])
def test_an_answer_that_is_no_json_passes(body):
    with pytest.raises(DestinationUnavailable):
        judged(body)


def test_a_token_is_fetched(world):
    world.services.clients["client"] = SECRET
    token = run(fetch_token(world.web, parse()))
    assert token.value == "idp.client.1.sentinel-token"
    assert token.expires_at == world.clock.seconds() + 3600


def test_a_url_without_a_token_service_is_the_destinations_fault(world):
    world.services.fail("idp", Fault(404))
    with pytest.raises(DestinationUnusable) as caught:
        run(fetch_token(world.web, parse()))
    assert caught.value.key == "tokenServiceURL"


def test_requests_differ_in_whatever_makes_their_answer():
    requests = {
        parse(),
        parse(clientSecret="other"),
        parse(clientId="other"),
        parse(scope="x"),
        parse(tokenServiceURL="https://other.example/"),
        parse(tokenServiceURL="https://idp.example.com/idp/token?x=1"),
        parse(extra={"tokenService.body.x": "1"}),
        parse(extra={"tokenServiceURL.headers.x": "1"}),
        parse(ACME, tokenServiceURLType="Common"),
        parse(Tenant("globex", "globex"), tokenServiceURLType="Common"),
    }
    assert len(requests) == 10
    assert "sentinel" not in repr(requests)

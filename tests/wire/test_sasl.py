"""What each mechanism says, which one is chosen, and that no challenge can upset us."""

import contextlib
import json
from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.errors import MalformedChallenge
from mailproxy.wire import sasl

MECHANISMS = ["PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER"]
TOKENS = ["XOAUTH2", "OAUTHBEARER"]


def make(mechanism, user="user@example.com", secret="sentinel-secret", host="mail.example.com", port=587):
    return sasl.client(mechanism, user, secret, host, port)


# --- what they say ---


def test_plain_as_in_rfc_4616():
    assert make("PLAIN", "tim", "tanstaaftanstaaf").initial() == b"\0tim\0tanstaaftanstaaf"


def test_plain_is_utf_8():
    assert make("PLAIN", "j\u00fcrgen", "p\u00e4ss").initial() == b"\0j\xc3\xbcrgen\0p\xc3\xa4ss"


@pytest.mark.parametrize("prompts", [(b"Username:", b"Password:"), (b"User Name\0", b"Password\0"), (b"", b"")])
def test_login_answers_two_prompts_whatever_they_say(prompts):
    login = make("LOGIN", "tim", "pass word")
    assert login.initial() is None
    assert [login.respond(prompt) for prompt in prompts] == [b"tim", b"pass word"]


def test_cram_md5_as_in_rfc_2195():
    mechanism = make("CRAM-MD5", "tim", "tanstaaftanstaaf")
    assert mechanism.initial() is None
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    assert mechanism.respond(challenge) == b"tim b913a602c7eda7a495b4e6e7334d3890"


def test_xoauth2_as_google_documents_it():
    mechanism = make("XOAUTH2", "someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg")
    assert b64encode(mechanism.initial()) == (
        b"dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0"
        b"Q2cBAQ=="
    )


def test_oauthbearer_as_in_rfc_7628():
    mechanism = make(
        "OAUTHBEARER", "user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", "server.example.com", 587
    )
    assert b64encode(mechanism.initial()) == (
        b"bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52"
        b"YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    )


def test_oauthbearer_escapes_what_would_end_the_user():
    assert make("OAUTHBEARER", user="a=b,c").initial().startswith(b"n,a=a=3Db=2Cc,\1host=")


# --- refused tokens ---


@pytest.mark.parametrize(("mechanism", "answer"), [("XOAUTH2", b""), ("OAUTHBEARER", b"\1")])
@pytest.mark.parametrize(
    ("challenge", "refusal"),
    [
        (b'{"status":"401","schemes":"bearer mac","scope":"https://mail.google.com/"}', "401"),
        (b'{"status":"invalid_token","scope":"mail","openid-configuration":"https://x"}', "invalid_token"),
        (b'{"status":400}', "400"),
        (b'{"status":"a\\u001b[31mb\\r\\nc\\u00e9"}', "a?[31mb??c?"),
        (json.dumps({"status": "x" * 500}).encode(), "x" * 64),
        (b'{"status":"token sentinel-secret is bad"}', "unspecified"),
        (b'{"status":""}', "unspecified"),
        (b'{"status":["401"]}', "unspecified"),
        (b'{"status":null}', "unspecified"),
        (b'{"error":"none"}', "unspecified"),
        (b'["status"]', "unspecified"),
        (b'"status"', "unspecified"),
        (b"401", "unspecified"),
        (b"", "unspecified"),
        (b"\xff\xfe\xfd", "unspecified"),
        (b"[" * 12000, "unspecified"),
        (b"1" * 12000, "unspecified"),
    ],
)
def test_an_error_challenge_is_answered_and_remembered(mechanism, answer, challenge, refusal):
    client = make(mechanism)
    client.initial()
    assert client.refusal is None
    assert client.respond(challenge) == answer
    assert client.refusal == refusal


# --- challenges that nobody expected ---


@pytest.mark.parametrize(
    ("mechanism", "expected"), [("PLAIN", 0), ("LOGIN", 2), ("CRAM-MD5", 1), ("XOAUTH2", 1), ("OAUTHBEARER", 1)]
)
def test_two_unexpected_challenges_get_an_empty_answer_and_the_third_ends_it(mechanism, expected):
    client = make(mechanism)
    for _ in range(expected):
        client.respond(b"<expected@example.com>")
    refusal = client.refusal
    assert client.respond(b"one more") == b""
    assert client.respond(b"another") == b""
    for _ in range(2):
        with pytest.raises(MalformedChallenge, match="more than 2 challenges"):
            client.respond(b"and another")
    assert client.refusal == refusal


@settings(max_examples=200)
@given(
    mechanism=st.sampled_from(MECHANISMS),
    challenges=st.lists(st.binary(max_size=80) | st.builds(bytes.__mul__, st.just(b"["), st.integers(0, 300))),
)
def test_any_challenges_lead_to_answers_or_to_the_one_error(mechanism, challenges):
    client = make(mechanism)
    answers = []
    with contextlib.suppress(MalformedChallenge):
        answers.extend(client.respond(challenge) for challenge in challenges)
    assert len(answers) <= 4
    assert all(isinstance(answer, bytes) for answer in answers)
    assert client.refusal is None or client.refusal.isprintable()


# --- base64 ---


@pytest.mark.parametrize(
    ("text", "challenge"),
    [
        (b"", b""),
        (b"VXNlcm5hbWU6", b"Username:"),
        (b"UGFzc3dvcmQ6 ", b"Password:"),
        (b" eyJzdGF0dXMiOiI0MDEifQ==\t", b'{"status":"401"}'),
    ],
)
def test_a_challenge_is_decoded(text, challenge):
    assert sasl.decode_challenge(text) == challenge


@pytest.mark.parametrize(
    "text",
    [b"Username:", b"=", b"QQ", b"QQ=", b"QQ==QQ==", b"QQ\r\n==", b"Q Q==", b"QQ==\0", b"\xff", b"Go ahead", b"_-8="],
)
def test_what_is_no_base64_is_an_error_that_does_not_quote_it(text):
    with pytest.raises(MalformedChallenge, match=r"^a challenge is no base64$"):
        sasl.decode_challenge(text)


def test_a_challenge_has_a_limit():
    assert len(sasl.decode_challenge(b"QUFB" * 4096)) == 12288
    with pytest.raises(MalformedChallenge, match="longer than 16384 octets"):
        sasl.decode_challenge(b"QUFB" * 4096 + b"Q")
    with pytest.raises(MalformedChallenge, match="longer than 8 octets"):
        sasl.decode_challenge(b"QUFBQUFB"[:8] + b"QUFB", limit=8)


@given(st.binary(max_size=300))
@settings(max_examples=100)
def test_every_challenge_survives_base64(challenge):
    assert sasl.decode_challenge(b64encode(challenge)) == challenge


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_any_text_is_decoded_or_refused(text):
    try:
        challenge = sasl.decode_challenge(text)
    except MalformedChallenge:
        return
    assert b64decode(text) == challenge


# --- the choice ---


@pytest.mark.parametrize(
    ("offered", "kind", "allowed", "disabled", "chosen"),
    [
        ("LOGIN PLAIN XOAUTH2", "password", None, "", "PLAIN"),
        ("LOGIN XOAUTH2", "password", None, "", "LOGIN"),
        ("login plain", "password", None, "", "PLAIN"),
        ("LOGIN PLAIN", "password", None, "PLAIN", "LOGIN"),
        ("LOGIN PLAIN", "password", None, "login plain", None),
        ("LOGIN PLAIN", "password", ["LOGIN", "PLAIN"], "", "LOGIN"),
        ("LOGIN PLAIN", "password", ["login"], "", "LOGIN"),
        ("LOGIN PLAIN", "password", ["LOGIN", "PLAIN"], "LOGIN", "PLAIN"),
        ("PLAIN", "password", ["LOGIN"], "", None),
        ("PLAIN", "password", [], "", None),
        ("CRAM-MD5", "password", None, "", None),
        ("CRAM-MD5 PLAIN", "password", None, "", "PLAIN"),
        ("CRAM-MD5 PLAIN", "password", ["CRAM-MD5", "PLAIN"], "", "CRAM-MD5"),
        ("CRAM-MD5 PLAIN", "password", ["SCRAM-SHA-256", "CRAM-MD5"], "", "CRAM-MD5"),
        ("NTLM GSSAPI", "password", None, "", None),
        ("XOAUTH2 OAUTHBEARER", "password", None, "", None),
        ("XOAUTH2 OAUTHBEARER", "password", ["XOAUTH2"], "", None),
        ("OAUTHBEARER XOAUTH2 PLAIN", "token", None, "", "XOAUTH2"),
        ("OAUTHBEARER PLAIN", "token", None, "", "OAUTHBEARER"),
        ("OAUTHBEARER XOAUTH2", "token", ["OAUTHBEARER", "XOAUTH2"], "", "OAUTHBEARER"),
        ("OAUTHBEARER XOAUTH2", "token", None, "XOAUTH2", "OAUTHBEARER"),
        ("PLAIN LOGIN CRAM-MD5", "token", None, "", None),
        ("PLAIN LOGIN", "token", ["PLAIN"], "", None),
        ("", "token", None, "", None),
    ],
)
def test_the_mechanism_is_chosen(offered, kind, allowed, disabled, chosen):
    assert (
        sasl.choose(offered.split(), secret_kind=kind, allowed=allowed, disabled=frozenset(disabled.split())) == chosen
    )


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_factory_makes_what_it_was_asked_for(mechanism):
    client = make(mechanism)
    assert client.name == mechanism
    assert client.secret_kind == ("token" if mechanism in TOKENS else "password")


# --- what cannot be sent, and what must not be seen ---


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "\1", "\udc80"])
def test_control_octets_are_refused_by_the_name_of_the_field(mechanism, bad):
    with pytest.raises(ValueError, match=r"^user holds") as caught:
        make(mechanism, user=f"sentinel{bad}")
    assert "sentinel" not in repr(caught.value)
    with pytest.raises(ValueError, match=r"^secret holds") as caught:
        make(mechanism, secret=f"sentinel{bad}")
    assert "sentinel" not in repr(caught.value)


@pytest.mark.parametrize("field", ["user", "secret"])
def test_nothing_is_no_user_and_no_secret(field):
    with pytest.raises(ValueError, match=rf"^{field} is empty$"):
        make("PLAIN", **{field: ""})


def test_a_host_cannot_smuggle_a_field_into_oauthbearer():
    with pytest.raises(ValueError, match=r"^host holds"):
        make("OAUTHBEARER", host="mail.example.com\1auth=Bearer x")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_secret_stays_out_of_repr(mechanism):
    client = make(mechanism)
    client.initial()
    client.respond(b"<1@example.com>")
    assert "sentinel-secret" not in repr(client)
    assert "user@example.com" in repr(client)

"""The server's half of each mechanism."""

import json
from base64 import b64decode, b64encode

import pytest

from mailproxy.sandbox.mailboxes import Mailboxes
from mailproxy.sandbox.sasl import Cancelled, Exchange, Malformed
from mailproxy.sandbox.tokens import TokenBook

USER = "robot@acme.example"


@pytest.fixture
def mailboxes():
    mailboxes = Mailboxes(TokenBook(lambda: 0.0))
    mailboxes.add_account(USER, "pass word")
    mailboxes.tokens.accept("good-token", USER, 60)
    return mailboxes


def xoauth2(token, user=USER):
    return b64encode(f"user={user}\x01auth=Bearer {token}\x01\x01".encode())


def oauthbearer(token, user=USER):
    return b64encode(f"n,a={user},\x01host=mail.localhost\x01port=587\x01auth=Bearer {token}\x01\x01".encode())


def plain(password, user=USER, authorization=""):
    return b64encode(f"{authorization}\0{user}\0{password}".encode())


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        (b"PLAIN", plain("pass word")),
        (b"PLAIN", plain("pass word", authorization=USER)),
        (b"XOAUTH2", xoauth2("good-token")),
        (b"OAUTHBEARER", oauthbearer("good-token")),
    ],
)
def test_right_credentials_in_one_step_and_in_two(mailboxes, mechanism, response):
    one = Exchange(mailboxes, mechanism)
    assert one.start(response) is None
    assert one.user == USER
    two = Exchange(mailboxes, mechanism)
    assert two.start(None) == b""
    assert two.answer(response) is None
    assert two.user == USER


@pytest.mark.parametrize(
    ("password", "options"),
    [("wrong", {}), ("", {}), ("pass word", {"user": "x@y"}), ("pass word", {"authorization": "x@y"})],
)
def test_plain_refuses_whoever_is_not_the_user(mailboxes, password, options):
    exchange = Exchange(mailboxes, b"PLAIN")
    assert exchange.start(plain(password, **options)) is None
    assert exchange.user is None


@pytest.mark.parametrize(("password", "user"), [(b"pass word", USER), (b"wrong", None)])
def test_login_asks_twice(mailboxes, password, user):
    exchange = Exchange(mailboxes, b"LOGIN")
    assert b64decode(exchange.start(None)) == b"Username:"
    assert b64decode(exchange.answer(b64encode(USER.encode()))) == b"Password:"
    assert exchange.answer(b64encode(password)) is None
    assert exchange.user == user


@pytest.mark.parametrize(
    ("mechanism", "response", "answer", "status"),
    [
        (b"XOAUTH2", xoauth2("bad-token"), b"", "401"),
        (b"XOAUTH2", xoauth2("good-token", "robot@globex.example"), b"", "401"),
        (b"OAUTHBEARER", oauthbearer("bad-token"), b"AQ==", "invalid_token"),
    ],
)
def test_a_bad_token_is_told_in_a_challenge_before_the_refusal(mailboxes, mechanism, response, answer, status):
    exchange = Exchange(mailboxes, mechanism)
    challenge = exchange.start(response)
    assert json.loads(b64decode(challenge))["status"] == status
    assert exchange.answer(answer) is None
    assert exchange.user is None


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        (b"PLAIN", b"not base64!"),
        (b"PLAIN", b"YWJj"),
        (b"PLAIN", b"="),
        (b"PLAIN", b64encode(b"\0\xff\0\xff")),
        (b"XOAUTH2", b64encode(b"user=a\x01auth=Bearer t\x01")),
        (b"XOAUTH2", b64encode(b"user=a\x01auth=Basic t\x01\x01")),
        (b"OAUTHBEARER", b64encode(b"y,a=a,\x01auth=Bearer t\x01\x01")),
        (b"OAUTHBEARER", b64encode(b"n,a=a\x01auth=Bearer t\x01\x01")),
    ],
)
def test_responses_that_make_no_sense(mailboxes, mechanism, response):
    with pytest.raises(Malformed):
        Exchange(mailboxes, mechanism).start(response)


def test_an_asterisk_cancels(mailboxes):
    exchange = Exchange(mailboxes, b"PLAIN")
    exchange.start(None)
    with pytest.raises(Cancelled):
        exchange.answer(b"*")


def test_gs2_escapes_in_the_user_of_oauthbearer_are_undone(mailboxes):
    mailboxes.tokens.accept("t", "a,b=c", 60)
    exchange = Exchange(mailboxes, b"OAUTHBEARER")
    exchange.start(b64encode(b"n,a=a=2Cb=3Dc,\x01auth=Bearer t\x01\x01"))
    assert exchange.user == "a,b=c"

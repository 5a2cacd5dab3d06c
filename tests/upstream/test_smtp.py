"""The login at an SMTP server: what is sent when, and every way in which it fails."""

import gc
import weakref
from base64 import b64decode, b64encode

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mailproxy.destination.model import Destination, Login, MailProtocol, Password, TLSMode, TLSSettings
from mailproxy.errors import (
    DestinationUnusable,
    LacksMechanism,
    LacksTLS,
    LacksXCLIENT,
    LoopDetected,
    RefusedLogin,
    RefusedSession,
    UpstreamTimeout,
    Violation,
)
from mailproxy.relay import Backpressure
from mailproxy.upstream.smtp import SMTPUpstream
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.wire.introduction import Introduction
from mailproxy.wire.proxyprotocol import Addresses
from tests.upstream.memory import SECRET, TOKEN, Transport, alice, bearer


class Owner:
    def __init__(self):
        self.received = b""
        self.error = None

    def upstream_received(self, chunk):
        self.received += chunk

    def upstream_lost(self, error):
        self.error = error


def producer():
    return Backpressure(Clock(), stall_seconds=1, stalled=lambda: None, changed=lambda: None)


def connect(
    mode=TLSMode.IMPLICIT,
    credentials=None,
    *,
    allow=False,
    ehlo_name="me.test",
    destination_name=None,
    xclient="off",
    client=None,
    **more,
):
    more["ehlo_name"] = destination_name
    destination = Destination(
        "d", MailProtocol.SMTP, "mail.test", 587, TLSSettings(mode), login=credentials is not None, **more
    )
    clock = Clock()
    stream = SMTPUpstream(
        clock,
        Login(destination, credentials),
        tls="options",
        ehlo_name=ehlo_name,
        own_name="mailproxy.test",
        allow_plaintext_auth=allow,
        xclient=xclient,
    )
    stream.introduction = client
    stream.makeConnection(Transport())
    stream.test_clock = clock
    stream.outcome = []
    stream.ready.addBoth(stream.outcome.append)
    if mode is TLSMode.IMPLICIT:
        stream.handshakeCompleted()
    return stream


def sent(stream):
    octets = stream.transport.value()
    stream.transport.clear()
    return octets


def greet(stream, *keywords):
    stream.dataReceived(b"220 mail.test ESMTP\r\n")
    assert sent(stream) == b"EHLO me.test\r\n"
    offer(stream, *keywords)


def offer(stream, *keywords):
    lines = [b"mail.test", *keywords]
    stream.dataReceived(b"".join(b"250-" + line + b"\r\n" for line in lines[:-1]) + b"250 " + lines[-1] + b"\r\n")


def failed(stream, kind):
    (failure,) = stream.outcome
    assert failure.check(kind), failure
    assert stream.transport.aborted
    return str(failure.value)


def test_no_login_is_ready_after_ehlo():
    stream = connect()
    greet(stream, b"PIPELINING", b"size 5")
    assert stream.outcome == [stream]
    assert dict(stream.capabilities.keywords) == {"PIPELINING": "", "SIZE": "5"}
    assert sent(stream) == b""


def test_plain_goes_with_its_initial_response():
    stream = connect(credentials=alice())
    assert not stream.shown
    greet(stream, b"AUTH LOGIN PLAIN CRAM-MD5")
    line = sent(stream)
    assert stream.shown
    assert line.startswith(b"AUTH PLAIN ")
    assert b64decode(line.split()[2]) == b"\0alice\0" + SECRET.encode()
    stream.dataReceived(b"235 2.7.0 Ok\r\n")
    assert stream.outcome == [stream]


def test_a_long_password_takes_two_steps():
    stream = connect(credentials=Password("alice", "p" * 500))
    greet(stream, b"AUTH PLAIN")
    assert sent(stream) == b"AUTH PLAIN\r\n"
    stream.dataReceived(b"334 \r\n")
    assert b64decode(sent(stream)) == b"\0alice\0" + b"p" * 500


def test_login_answers_two_prompts_whatever_they_say():
    stream = connect(credentials=alice())
    greet(stream, b"AUTH=LOGIN")
    assert sent(stream) == b"AUTH LOGIN\r\n"
    stream.dataReceived(b"334 VXNlcg==\r\n")
    assert b64decode(sent(stream)) == b"alice"
    stream.dataReceived(b"334 UGFzcw==\r\n")
    assert b64decode(sent(stream)) == SECRET.encode()
    stream.dataReceived(b"235 ok\r\n")
    assert stream.outcome == [stream]


def test_a_token_takes_two_steps():
    stream = connect(credentials=bearer())
    greet(stream, b"auth xoauth2 plain")
    assert sent(stream) == b"AUTH XOAUTH2\r\n"
    stream.dataReceived(b"334\r\n")
    assert b64decode(sent(stream)) == b"user=alice\x01auth=Bearer " + TOKEN.encode() + b"\x01\x01"
    stream.dataReceived(b"235 ok\r\n")
    assert stream.outcome == [stream]


@pytest.mark.parametrize(("mechanism", "answer"), [(b"XOAUTH2", b"\r\n"), (b"OAUTHBEARER", b"AQ==\r\n")])
def test_an_error_challenge_is_answered_before_the_refusal(mechanism, answer):
    stream = connect(credentials=bearer())
    greet(stream, b"AUTH " + mechanism)
    sent(stream)
    stream.dataReceived(b"334 \r\n")
    sent(stream)
    stream.dataReceived(b"334 " + b64encode(b'{"status":"401"}') + b"\r\n")
    assert sent(stream) == answer
    stream.dataReceived(b"535 5.7.8 no\r\n")
    assert "535 5.7.8 no (token refused: 401)" in failed(stream, RefusedLogin)


@pytest.mark.parametrize("reply", [b"220 hello", b"250 ok", b"354 go on"])
def test_what_is_no_reply_to_auth_is_no_refusal(reply):
    stream = connect(credentials=alice())
    greet(stream, b"AUTH PLAIN")
    stream.dataReceived(reply + b"\r\n")
    assert f"while waiting for the reply to AUTH PLAIN: {reply.decode()}" in failed(stream, Violation)


@pytest.mark.parametrize(
    ("reply", "temporary"), [(b"535 5.7.8 no", False), (b"454 4.7.0 later", True), (b"534 5.7.9 no", False)]
)
def test_a_refused_password_is_not_tried_again(reply, temporary):
    stream = connect(credentials=alice())
    greet(stream, b"AUTH PLAIN LOGIN")
    sent(stream)
    stream.dataReceived(reply + b"\r\n")
    assert sent(stream) == b""
    assert reply.decode() in failed(stream, RefusedLogin)
    assert stream.outcome[0].value.temporary is temporary


def test_a_server_that_quotes_the_password_is_not_quoted():
    stream = connect(credentials=alice())
    greet(stream, b"AUTH PLAIN")
    line = sent(stream).strip()
    stream.dataReceived(b"535 you said " + line + b" that is " + SECRET.encode() + b"\r\n")
    words = failed(stream, RefusedLogin)
    assert SECRET not in words
    assert line.split()[2][8:-4].decode() not in words


def test_starttls_begins_anew_behind_the_handshake():
    stream = connect(TLSMode.REQUIRED, alice())
    greet(stream, b"AUTH PLAIN", b"STARTTLS", b"XLIE")
    assert sent(stream) == b"STARTTLS\r\n"
    stream.dataReceived(b"220 go\r\n")
    assert stream.transport.tls == "options"
    assert sent(stream) == b""
    stream.handshakeCompleted()
    assert sent(stream) == b"EHLO me.test\r\n"
    offer(stream, b"AUTH PLAIN")
    assert sent(stream).startswith(b"AUTH PLAIN ")
    stream.dataReceived(b"235 ok\r\n")
    assert "XLIE" not in stream.capabilities


@pytest.mark.parametrize("more", [b"250 AUTH PLAIN\r\n", b"2", b"\r\n"])
def test_not_one_octet_may_wait_behind_the_reply_to_starttls(more):
    stream = connect(TLSMode.REQUIRED, alice())
    greet(stream, b"STARTTLS")
    stream.dataReceived(b"220 go\r\n" + more)
    failed(stream, Violation)
    assert stream.transport.tls is None


@pytest.mark.parametrize("credentials", [alice(), None])
@pytest.mark.parametrize("allow", [False, True])
def test_required_tls_is_required(credentials, allow):
    stream = connect(TLSMode.REQUIRED, credentials, allow=allow)
    greet(stream, b"AUTH PLAIN")
    failed(stream, LacksTLS)
    assert sent(stream) == b""


@pytest.mark.parametrize("mode", [TLSMode.REQUIRED, TLSMode.OPPORTUNISTIC])
def test_a_refused_starttls_ends_it(mode):
    stream = connect(mode, alice())
    greet(stream, b"STARTTLS")
    stream.dataReceived(b"454 4.7.0 not now\r\n")
    assert "454 4.7.0 not now" in failed(stream, LacksTLS)


@pytest.mark.parametrize("mode", [TLSMode.OPPORTUNISTIC, TLSMode.NONE])
def test_credentials_do_not_travel_in_plaintext_unless_allowed(mode):
    stream = connect(mode, alice())
    greet(stream, b"AUTH PLAIN")
    failed(stream, LacksTLS)
    allowed = connect(mode, alice(), allow=True)
    greet(allowed, b"AUTH PLAIN")
    assert sent(allowed).startswith(b"AUTH PLAIN ")


def test_plaintext_by_the_destinations_word_ignores_starttls():
    stream = connect(TLSMode.NONE)
    greet(stream, b"STARTTLS")
    assert stream.outcome == [stream]


def test_no_common_mechanism():
    stream = connect(credentials=alice())
    greet(stream, b"AUTH GSSAPI CRAM-MD5")
    assert "GSSAPI CRAM-MD5" in failed(stream, LacksMechanism)
    token = connect(credentials=bearer())
    greet(token, b"AUTH PLAIN LOGIN")
    failed(token, LacksMechanism)


@pytest.mark.parametrize("said", [SECRET, b64encode(SECRET.encode()).decode()])
def test_a_secret_among_the_mechanisms_is_not_quoted(said):
    stream = connect(credentials=alice())
    greet(stream, b"AUTH GSSAPI " + said.encode())
    words = str(failed(stream, LacksMechanism))
    assert "which offers: GSSAPI <secret>" in words
    assert said not in words


def test_the_order_of_the_destination_counts():
    stream = connect(credentials=alice(), mechanisms=("LOGIN", "PLAIN"))
    greet(stream, b"AUTH PLAIN LOGIN")
    assert sent(stream) == b"AUTH LOGIN\r\n"
    disabled = connect(credentials=alice(), disabled=frozenset({"PLAIN"}))
    greet(disabled, b"AUTH PLAIN LOGIN")
    assert sent(disabled) == b"AUTH LOGIN\r\n"


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (b"554 5.3.2 go away\r\n", RefusedSession),
        (b"421 4.3.2 busy\r\n", RefusedSession),
        (b"354 what\r\n", RefusedSession),
        (b"+OK POP3 ready\r\n", Violation),
        (b" 22 x\r\n", Violation),
        (b"2_2 x\r\n", Violation),
        (b"220-a\r\n221 b\r\n", Violation),
        (b"220 a\n", Violation),
        (b"220-" + b"x" * 5000, Violation),
        (b"220-x\r\n" * 200, Violation),
        (b"220 a\r\n250 b\r\n", Violation),
        (b"220 a\r\n2", Violation),
    ],
)
def test_what_is_no_greeting(octets, kind):
    stream = connect()
    stream.dataReceived(octets)
    failed(stream, kind)


def test_a_refused_ehlo_is_not_followed_by_helo():
    stream = connect()
    stream.dataReceived(b"220 a\r\n")
    sent(stream)
    stream.dataReceived(b"502 no\r\n")
    failed(stream, Violation)
    assert sent(stream) == b""


@pytest.mark.parametrize("code", [b"220", b"221", b"235", b"251", b"354"])
def test_only_a_250_is_the_reply_to_ehlo(code):
    stream = connect()
    stream.dataReceived(b"220 a\r\n")
    stream.dataReceived(code + b" AUTH PLAIN\r\n")
    failed(stream, Violation)


def test_more_than_was_asked_for_ends_the_login():
    more = "it said more than asked while we were waiting for the "
    stream = connect()
    stream.dataReceived(b"220 a\r\n250 AUTH PLAIN\r\n")
    assert more + "greeting" in failed(stream, Violation)
    assert sent(stream) == b""
    stream = connect()
    stream.dataReceived(b"220 a\r\n")
    stream.dataReceived(b"250 a\r\n2")
    assert more + "reply to EHLO" in failed(stream, Violation)
    stream = connect(credentials=alice())
    greet(stream, b"AUTH PLAIN")
    stream.dataReceived(b"235 ok\r\n250 ok\r\n")
    assert more + "reply to AUTH PLAIN" in failed(stream, Violation)


def test_a_refusal_counts_whatever_comes_behind_it():
    stream = connect(credentials=alice())
    greet(stream, b"AUTH PLAIN")
    stream.dataReceived(b"535 5.7.8 no\r\n421 4.7.0 too many errors\r\n")
    assert "535 5.7.8 no" in failed(stream, RefusedLogin)


def test_our_own_name_is_a_loop():
    stream = connect()
    stream.dataReceived(b"220 a\r\n")
    stream.dataReceived(b"250 MailProxy.TEST hello\r\n")
    failed(stream, LoopDetected)


def test_a_closed_connection_fails_the_login():
    stream = connect(credentials=alice())
    stream.connectionLost(Failure(ConnectionDone()))
    (failure,) = stream.outcome
    assert failure.check(RefusedSession)
    assert "waiting for the greeting" in str(failure.value)


def test_cancelling_ends_the_connection_and_says_what_it_waited_for():
    stream = connect()
    stream.dataReceived(b"220 a\r\n")
    stream.ready.cancel()
    assert "waiting for the reply to EHLO" in failed(stream, UpstreamTimeout)


@pytest.mark.parametrize("answer", [b"501 5.7.0 cancelled\r\n", b"235 welcome\r\n", b"334 \r\n"])
def test_a_challenge_that_is_none_cancels_the_exchange(answer):
    stream = connect(credentials=alice())
    greet(stream, b"AUTH LOGIN")
    sent(stream)
    stream.dataReceived(b"334 !!!\r\n")
    assert sent(stream) == b"*\r\n"
    assert stream.outcome == []
    stream.dataReceived(answer)
    assert "a challenge is no base64" in failed(stream, Violation)


def test_a_challenge_longer_than_any_reply_ends_it():
    stream = connect(credentials=alice())
    greet(stream, b"AUTH LOGIN")
    stream.dataReceived(b"334 " + b"QUFB" * 5000 + b"\r\n")
    failed(stream, Violation)


def test_endless_challenges_end():
    stream = connect(credentials=alice())
    greet(stream, b"AUTH LOGIN")
    for _ in range(5):
        sent(stream)
        stream.dataReceived(b"334 VXNlcg==\r\n")
    assert sent(stream) == b"*\r\n"
    stream.dataReceived(b"334 VXNlcg==\r\n")
    failed(stream, Violation)


def test_without_a_name_the_address_literal_is_said():
    stream = connect(ehlo_name=None)
    stream.dataReceived(b"220 a\r\n")
    assert sent(stream) == b"EHLO [10.0.0.1]\r\n"


def test_the_bare_stream_belongs_to_its_owner():
    stream = connect()
    greet(stream, b"SIZE")
    owner = Owner()
    stream.hand_over(owner, producer())
    stream.dataReceived(b"any\0thing")
    stream.connectionLost(Failure(ConnectionDone()))
    assert owner.received == b"any\0thing"
    assert owner.error is not None


def test_the_farewell_is_quit_and_bounded():
    stream = connect()
    greet(stream, b"SIZE")
    owner = Owner()
    stream.hand_over(owner, producer())
    stream.release(5)
    assert sent(stream) == b"QUIT\r\n"
    stream.dataReceived(b"221 bye\r\n")
    assert stream.transport.disconnecting
    assert owner.received == b""
    stream.test_clock.advance(5)
    assert stream.transport.aborted
    assert not stream.test_clock.getDelayedCalls()


def test_no_secret_is_in_the_repr_of_anything():
    stream = connect(credentials=alice())
    greet(stream, b"AUTH PLAIN")
    assert SECRET not in repr(vars(stream))
    assert SECRET not in repr([getattr(stream, name) for name in UpstreamStream.__slots__])


def test_the_secret_and_the_conversation_are_forgotten_behind_the_login():
    stream = connect(credentials=alice())
    greet(stream, b"AUTH PLAIN")
    mechanism = weakref.ref(stream._mechanism)
    assert mechanism() is not None
    stream.dataReceived(b"235 welcome\r\n")
    assert stream.capabilities.get("AUTH") == ("PLAIN",)
    assert mechanism() is None
    assert stream._parser is stream._okresponse is stream._failresponse is None
    assert len(vars(stream)) <= 30  # Python shares the keys of so many with others of the class


def test_the_destinations_name_for_us_comes_before_our_own():
    stream = connect(destination_name="app.example.com")
    stream.dataReceived(b"220 a\r\n")
    assert sent(stream) == b"EHLO app.example.com\r\n"


def test_a_word_out_of_turn_ends_the_login():
    stream = connect(TLSMode.REQUIRED, alice())
    greet(stream, b"STARTTLS")
    stream.dataReceived(b"220 go\r\n")
    stream.dataReceived(b"250 early\r\n")
    assert "out of turn" in failed(stream, Violation)


def test_credentials_that_no_mechanism_can_carry():
    stream = connect(credentials=Password("al\0ice", SECRET))
    greet(stream, b"AUTH PLAIN")
    assert SECRET not in failed(stream, DestinationUnusable)
    assert sent(stream) == b""


def test_a_lost_connection_keeps_no_stream_alive():
    gc.collect()
    gc.disable()
    try:
        stream = connect()
        greet(stream, b"SIZE")
        stream.hand_over(Owner(), producer())
        stream.outcome.clear()
        gone = weakref.ref(stream)
        stream.connectionLost(Failure(ConnectionDone()))
        del stream
        assert gone() is None
    finally:
        gc.enable()


# XCLIENT

CLIENT = Introduction(Addresses("203.0.113.7", 51234, "198.51.100.1", 587), b"client.test", extended=True)
XCLIENT = b"XCLIENT NAME ADDR HELO"
SAID = b"XCLIENT NAME=[UNAVAILABLE] ADDR=203.0.113.7 HELO=client.test\r\n"
ANEW = b"220 mail.test ESMTP\r\n"
telling = pytest.mark.parametrize("xclient", ["offered", "required"])


@telling
@pytest.mark.parametrize("reply", [ANEW, b"250 ok\r\n", b"220-mail.test\r\n220 ESMTP\r\n"])
def test_the_mail_server_hears_of_the_client_before_the_login(xclient, reply):
    stream = connect(credentials=alice(), xclient=xclient, client=CLIENT)
    greet(stream, b"AUTH PLAIN", XCLIENT, b"XLIE")
    assert sent(stream) == SAID
    stream.dataReceived(reply)
    assert sent(stream) == b"EHLO me.test\r\n"
    offer(stream, b"AUTH PLAIN", XCLIENT)
    assert sent(stream).startswith(b"AUTH PLAIN ")
    stream.dataReceived(b"235 ok\r\n")
    assert stream.outcome == [stream]
    assert "XLIE" not in stream.capabilities


@telling
def test_it_hears_of_it_behind_starttls(xclient):
    stream = connect(TLSMode.REQUIRED, xclient=xclient, client=CLIENT)
    greet(stream, b"STARTTLS", XCLIENT)
    assert sent(stream) == b"STARTTLS\r\n"
    stream.dataReceived(b"220 go\r\n")
    stream.handshakeCompleted()
    assert sent(stream) == b"EHLO me.test\r\n"
    offer(stream, XCLIENT)
    assert sent(stream) == SAID
    stream.dataReceived(ANEW)
    assert sent(stream) == b"EHLO me.test\r\n"
    offer(stream, XCLIENT)
    assert stream.outcome == [stream]


def test_what_does_not_fit_into_one_command_is_said_in_several():
    stream = connect(xclient="required", client=Introduction(CLIENT.addresses, b"+" * 150))
    greet(stream, XCLIENT)
    said = sent(stream)
    assert said == b"XCLIENT NAME=[UNAVAILABLE] ADDR=203.0.113.7 HELO=" + b"+2B" * 150 + b"\r\n"
    stream = connect(xclient="required", client=Introduction(CLIENT.addresses, b"+" * 160))
    greet(stream, XCLIENT)
    assert sent(stream) == b"XCLIENT NAME=[UNAVAILABLE] ADDR=203.0.113.7\r\n"
    stream.dataReceived(ANEW)
    assert sent(stream) == b"XCLIENT HELO=" + b"+2B" * 160 + b"\r\n"
    stream.dataReceived(ANEW)
    assert sent(stream) == b"EHLO me.test\r\n"
    offer(stream)
    assert stream.outcome == [stream]


@pytest.mark.parametrize("keywords", [[], [b"XCLIENT"], [b"XCLIENT NAME LOGIN"]])
def test_where_it_has_to_hear_and_cannot_there_is_no_session(keywords):
    stream = connect(credentials=alice(), xclient="required", client=CLIENT)
    greet(stream, b"AUTH PLAIN", *keywords)
    assert sent(stream) == b""
    assert not stream.shown
    assert failed(stream, LacksXCLIENT) == "XCLIENT is required and the mail server does not offer it with ADDR"


@pytest.mark.parametrize(
    ("xclient", "client", "keywords"),
    [
        ("off", CLIENT, [XCLIENT]),
        ("offered", CLIENT, []),
        ("offered", CLIENT, [b"XCLIENT LOGIN"]),
        ("offered", None, [XCLIENT]),
    ],
)
def test_where_there_is_nothing_to_say_or_nobody_to_hear_it_the_login_goes_on(xclient, client, keywords):
    stream = connect(credentials=alice(), xclient=xclient, client=client)
    greet(stream, b"AUTH PLAIN", *keywords)
    assert sent(stream).startswith(b"AUTH PLAIN ")


@telling
@pytest.mark.parametrize("reply", [b"550 5.7.0 insufficient authorization", b"421 4.3.0 no", b"501 5.5.4 bad"])
def test_a_mail_server_that_refuses_the_client_refuses_the_session(xclient, reply):
    stream = connect(credentials=alice(), xclient=xclient, client=CLIENT)
    greet(stream, b"AUTH PLAIN", XCLIENT)
    assert sent(stream) == SAID
    stream.dataReceived(reply + b"\r\n")
    assert sent(stream) == b""
    assert failed(stream, RefusedSession) == f"the mail server refused XCLIENT: {reply.decode()}"


def test_it_says_nothing_more_than_it_was_asked():
    stream = connect(xclient="required", client=CLIENT)
    greet(stream, XCLIENT)
    stream.dataReceived(ANEW + b"250 ok\r\n")
    assert "it said more than asked while we were waiting for the reply to XCLIENT" in failed(stream, Violation)


def test_it_is_heard_once_only():
    """A mail server that offers STARTTLS no sooner than that gets it, and no second XCLIENT behind it."""
    stream = connect(TLSMode.OPPORTUNISTIC, xclient="offered", client=CLIENT)
    greet(stream, XCLIENT)
    assert sent(stream) == SAID
    stream.dataReceived(ANEW)
    sent(stream)
    offer(stream, b"STARTTLS", XCLIENT)
    assert sent(stream) == b"STARTTLS\r\n"
    stream.dataReceived(b"220 go\r\n")
    stream.handshakeCompleted()
    sent(stream)
    offer(stream, XCLIENT)
    assert stream.outcome == [stream]

"""The login at a POP3 server: what is sent when, and every way in which it fails."""

import gc
from base64 import b64decode, b64encode

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from mailproxy.destination.model import Destination, Login, MailProtocol, Password, TLSMode, TLSSettings, Token
from mailproxy.errors import (
    DestinationUnusable,
    LacksMechanism,
    LacksTLS,
    RefusedLogin,
    RefusedSession,
    TLSFailed,
    UpstreamTimeout,
    Violation,
)
from mailproxy.sandbox.pki import Authority
from mailproxy.tls import ClientTLS, Trust
from mailproxy.upstream.pop3 import POP3Upstream
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.wire.pop3 import MAX_CAPABILITIES, POP3Capabilities
from tests.upstream.memory import SECRET, TOKEN, Transport, alice, bearer


def login(mode, credentials, **more):
    tls = TLSSettings(mode)
    destination = Destination("d", MailProtocol.POP3, "mail.test", 110, tls, login=credentials is not None, **more)
    return Login(destination, credentials)


def connect(mode=TLSMode.IMPLICIT, credentials=None, *, allow=False, **more):
    stream = POP3Upstream(Clock(), login(mode, credentials, **more), tls="options", allow_plaintext_auth=allow)
    stream.outcome = []
    stream.ready.addBoth(stream.outcome.append)
    stream.makeConnection(Transport())
    if mode is TLSMode.IMPLICIT:
        stream.handshakeCompleted()
    return stream


def say(stream, octets, answer):
    """The mail server says something, and this is our answer."""
    stream.dataReceived(octets)
    assert sent(stream) == answer


def sent(stream):
    octets = stream.transport.value()
    stream.transport.clear()
    return octets


def offer(*capabilities):
    return b"+OK\r\n" + b"".join(line + b"\r\n" for line in capabilities) + b".\r\n"


def greet(stream, *capabilities):
    """The greeting and the first CAPA are done; what we say next."""
    say(stream, b"+OK ready <1896.697170952@mail.test>\r\n", b"CAPA\r\n")
    stream.dataReceived(offer(*capabilities))
    return sent(stream)


def arrive(stream, *capabilities):
    """The login is accepted, and the list behind it is read."""
    say(stream, b"+OK logged in\r\n", b"CAPA\r\n")
    stream.dataReceived(offer(*capabilities))
    assert stream.outcome == [stream]
    assert sent(stream) == b""


def failed(stream, kind):
    (failure,) = stream.outcome
    assert failure.check(kind), failure
    assert stream.transport.aborted
    return str(failure.value)


# Order


def test_a_password_goes_by_user_and_pass_and_the_list_behind_the_login_counts():
    stream = connect(credentials=alice())
    assert greet(stream, b"USER", b"SASL PLAIN", b"XLIE") == b"USER alice\r\n"
    say(stream, b"+OK\r\n", b"PASS " + SECRET.encode() + b"\r\n")
    arrive(stream, b"TOP", b"expire 60")
    assert stream.capabilities == POP3Capabilities({"TOP": (), "EXPIRE": ("60",)}, logged_in=True)


def test_a_timestamp_in_the_greeting_starts_no_apop():
    stream = connect(credentials=alice())
    assert greet(stream, b"USER").startswith(b"USER ")


def test_no_login_is_ready_after_capa():
    stream = connect()
    assert greet(stream, b"USER") == b""
    assert stream.outcome == [stream]
    assert stream.capabilities == POP3Capabilities({"USER": ()}, logged_in=False)


def test_a_server_without_capa_is_logged_in_to_and_its_list_is_unknown():
    stream = connect(credentials=alice())
    say(stream, b"+OK\r\n", b"CAPA\r\n")
    say(stream, b"-ERR what?\r\n", b"USER alice\r\n")
    say(stream, b"+OK\r\n", b"PASS " + SECRET.encode() + b"\r\n")
    say(stream, b"+OK\r\n", b"CAPA\r\n")
    say(stream, b"-ERR what?\r\n", b"")
    assert stream.outcome == [stream]
    assert stream.capabilities == POP3Capabilities(None)


def test_capa_is_not_asked_where_the_destination_says_so():
    stream = connect(credentials=alice(), ask_capabilities=False)
    say(stream, b"+OK\r\n", b"USER alice\r\n")
    say(stream, b"+OK\r\n", b"PASS " + SECRET.encode() + b"\r\n")
    say(stream, b"+OK\r\n", b"")
    assert stream.capabilities == POP3Capabilities(None)
    token = connect(credentials=bearer(), ask_capabilities=False)
    say(token, b"+OK\r\n", b"AUTH XOAUTH2\r\n")
    nobody = connect(ask_capabilities=False)
    say(nobody, b"+OK\r\n", b"")
    assert nobody.outcome == [nobody]


# Mechanisms


@pytest.mark.parametrize(
    ("capabilities", "more", "line"),
    [
        ((b"USER", b"SASL PLAIN"), {}, b"USER alice"),
        ((b"SASL LOGIN PLAIN",), {}, b"AUTH PLAIN "),
        ((b"USER", b"SASL PLAIN"), {"mechanisms": ("PLAIN", "LOGIN")}, b"AUTH PLAIN "),
        ((b"USER", b"SASL PLAIN"), {"mechanisms": ("LOGIN", "PLAIN")}, b"USER alice"),
        ((b"user", b"sasl plain"), {"disabled": frozenset({"LOGIN"})}, b"AUTH PLAIN "),
        ((b"USER", b"SASL CRAM-MD5"), {"mechanisms": ("CRAM-MD5", "LOGIN")}, b"AUTH CRAM-MD5\r\n"),
    ],
)
def test_the_way_to_log_in_is_the_first_in_common(capabilities, more, line):
    stream = connect(credentials=alice(), **more)
    assert greet(stream, *capabilities).startswith(line)


@pytest.mark.parametrize(
    ("credentials", "capabilities", "more"),
    [
        (alice(), (b"SASL GSSAPI LOGIN",), {}),
        (alice(), (b"TOP",), {}),
        (alice(), (b"USER",), {"disabled": frozenset({"LOGIN"})}),
        (alice(), (b"USER", b"SASL CRAM-MD5"), {"disabled": frozenset({"LOGIN"})}),
        (bearer(), (b"USER", b"SASL PLAIN"), {}),
        (bearer(), (b"SASL XOAUTH2",), {"mechanisms": ("OAUTHBEARER",)}),
    ],
)
def test_no_common_way_to_log_in(credentials, capabilities, more):
    stream = connect(credentials=credentials, **more)
    assert greet(stream, *capabilities) == b""
    failed(stream, LacksMechanism)


@pytest.mark.parametrize("said", [SECRET, b64encode(SECRET.encode()).decode()])
def test_a_secret_among_the_mechanisms_is_not_quoted(said):
    stream = connect(credentials=alice())
    greet(stream, b"SASL GSSAPI " + said.encode())
    words = str(failed(stream, LacksMechanism))
    assert "which offers: GSSAPI <secret>" in words
    assert said not in words


def test_plain_goes_with_its_initial_response():
    stream = connect(credentials=alice())
    assert not stream.shown
    line = greet(stream, b"SASL PLAIN")
    assert b64decode(line.split()[2]) == b"\0alice\0" + SECRET.encode()
    assert stream.shown
    arrive(stream)


def test_a_command_line_has_255_octets_at_most():
    just = connect(credentials=Password("alice", "p" * 173))
    assert len(greet(just, b"SASL PLAIN")) == 253
    over = connect(credentials=Password("alice", "p" * 174))
    assert greet(over, b"SASL PLAIN") == b"AUTH PLAIN\r\n"
    over.dataReceived(b"+ \r\n")
    assert b64decode(sent(over)) == b"\0alice\0" + b"p" * 174
    arrive(over)


def test_cram_md5_answers_the_challenge():
    stream = connect(credentials=Password("tim", "tanstaaftanstaaf"), mechanisms=("CRAM-MD5",))
    assert greet(stream, b"SASL CRAM-MD5") == b"AUTH CRAM-MD5\r\n"
    stream.dataReceived(b"+ PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+\r\n")
    assert b64decode(sent(stream)) == b"tim b913a602c7eda7a495b4e6e7334d3890"
    arrive(stream)


@pytest.mark.parametrize("prompt", [b"+\r\n", b"+ \r\n"])
def test_a_token_takes_two_steps(prompt):
    stream = connect(credentials=Token("alice", "short", 1e9))
    assert greet(stream, b"SASL PLAIN XOAUTH2") == b"AUTH XOAUTH2\r\n"
    stream.dataReceived(prompt)
    assert b64decode(sent(stream)) == b"user=alice\x01auth=Bearer short\x01\x01"
    arrive(stream)


@pytest.mark.parametrize(("mechanism", "answer"), [(b"XOAUTH2", b"\r\n"), (b"OAUTHBEARER", b"AQ==\r\n")])
def test_an_error_challenge_is_answered_before_the_refusal(mechanism, answer):
    stream = connect(credentials=bearer())
    assert greet(stream, b"SASL " + mechanism) == b"AUTH " + mechanism + b"\r\n"
    stream.dataReceived(b"+ \r\n")
    assert TOKEN.encode() in b64decode(sent(stream))
    say(stream, b"+ " + b64encode(b'{"status":"401"}') + b"\r\n", answer)
    stream.dataReceived(b"-ERR [AUTH] no\r\n")
    words = failed(stream, RefusedLogin)
    assert "-ERR [AUTH] no" in words
    assert "401" in words
    assert stream.outcome[0].value.temporary is False


# Refusals


@pytest.mark.parametrize(
    ("reply", "temporary", "code"),
    [
        (b"-ERR [AUTH] no", False, None),
        (b"-ERR no", False, None),
        (b"-ERR", False, None),
        (b"-ERR [SYS/PERM] broken", False, None),
        (b"-ERR [SYS/TEMP] later", True, "SYS/TEMP"),
        (b"-ERR [in-use] locked", True, "IN-USE"),
        (b"-ERR [LOGIN-DELAY] slowly", True, "LOGIN-DELAY"),
    ],
)
@pytest.mark.parametrize("at", ["USER", "PASS"])
def test_a_refused_password_is_not_tried_again(reply, temporary, code, at):
    stream = connect(credentials=alice())
    greet(stream, b"USER", b"SASL PLAIN")
    if at == "PASS":
        stream.dataReceived(b"+OK\r\n")
        sent(stream)
    say(stream, reply + b"\r\n", b"")
    assert reply.decode() in failed(stream, RefusedLogin)
    error = stream.outcome[0].value
    assert (error.temporary, error.response_code) == (temporary, code)


def test_a_server_that_quotes_the_password_is_not_quoted():
    stream = connect(credentials=alice())
    line = greet(stream, b"SASL PLAIN").strip()
    stream.dataReceived(b"-ERR you said " + line + b" that is " + SECRET.encode() + b"\x1b[2J\r\n")
    words = failed(stream, RefusedLogin)
    assert SECRET not in words
    assert line.split()[2][8:-4].decode() not in words
    assert "\x1b" not in words


@pytest.mark.parametrize("credentials", [Password("a\r\nDELE 1", "x"), Password("a", "x\r\nQUIT"), Password("a", "")])
def test_credentials_that_cannot_be_sent_are_not(credentials):
    stream = connect(credentials=credentials)
    assert greet(stream, b"USER") == b""
    words = failed(stream, DestinationUnusable)
    assert "DELE" not in words
    assert "QUIT" not in words


# TLS


def test_stls_begins_anew_behind_the_handshake():
    stream = connect(TLSMode.REQUIRED, alice())
    assert greet(stream, b"USER", b"STLS", b"XLIE") == b"STLS\r\n"
    say(stream, b"+OK go\r\n", b"")
    assert stream.transport.tls == "options"
    stream.handshakeCompleted()
    assert sent(stream) == b"CAPA\r\n"
    stream.dataReceived(offer(b"SASL PLAIN", b"STLS"))
    assert sent(stream).startswith(b"AUTH PLAIN ")
    arrive(stream, b"UIDL")
    assert stream.capabilities.listed == {"UIDL": ()}


@pytest.mark.parametrize("more", [offer(b"SASL PLAIN"), b"+", b"\r\n", b"\x16\x03\x03"])
def test_not_one_octet_may_stand_behind_the_reply_to_stls(more):
    stream = connect(TLSMode.REQUIRED, alice())
    greet(stream, b"STLS")
    say(stream, b"+OK go\r\n" + more, b"")
    failed(stream, Violation)
    assert stream.transport.tls is None


def test_octets_during_the_handshake_are_no_conversation():
    stream = connect(TLSMode.REQUIRED, alice())
    greet(stream, b"STLS")
    stream.dataReceived(b"+OK\r\n")
    say(stream, offer(b"USER"), b"")
    failed(stream, Violation)


@pytest.mark.parametrize("credentials", [alice(), None])
@pytest.mark.parametrize("allow", [False, True])
def test_required_tls_is_required(credentials, allow):
    stream = connect(TLSMode.REQUIRED, credentials, allow=allow)
    assert greet(stream, b"USER") == b""
    failed(stream, LacksTLS)


def test_required_tls_is_tried_where_nothing_is_known():
    stream = connect(TLSMode.REQUIRED, alice())
    say(stream, b"+OK\r\n", b"CAPA\r\n")
    say(stream, b"-ERR what?\r\n", b"STLS\r\n")
    say(stream, b"-ERR what?\r\n", b"")
    assert "-ERR what?" in failed(stream, LacksTLS)


@pytest.mark.parametrize("mode", [TLSMode.REQUIRED, TLSMode.OPPORTUNISTIC])
def test_a_refused_stls_ends_it(mode):
    stream = connect(mode, alice(), allow=True)
    greet(stream, b"STLS", b"USER")
    say(stream, b"-ERR not now\r\n", b"")
    assert "-ERR not now" in failed(stream, LacksTLS)


@pytest.mark.parametrize("mode", [TLSMode.OPPORTUNISTIC, TLSMode.NONE])
def test_credentials_do_not_travel_in_plaintext_unless_allowed(mode):
    stream = connect(mode, alice())
    assert greet(stream, b"USER", b"SASL PLAIN") == b""
    failed(stream, LacksTLS)
    allowed = connect(mode, alice(), allow=True)
    assert greet(allowed, b"USER") == b"USER alice\r\n"


@pytest.mark.parametrize("mode", [TLSMode.OPPORTUNISTIC, TLSMode.NONE])
def test_the_clients_own_password_does_not_travel_in_plaintext_either(mode):
    stream = connect(mode)
    assert greet(stream, b"USER") == b""
    failed(stream, LacksTLS)


def test_plaintext_by_the_destinations_word_ignores_stls():
    stream = connect(TLSMode.NONE, allow=True)
    assert greet(stream, b"STLS") == b""
    assert stream.outcome == [stream]


# Octets that are no POP3


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (b"-ERR [SYS/TEMP] go away\r\n", RefusedSession),
        (b"220 SMTP ready\r\n", Violation),
        (b"* OK IMAP ready\r\n", Violation),
        (b"+ok\r\n", Violation),
        (b"+OKAY\r\n", Violation),
        (b"+ \r\n", Violation),
        (b"+OK\n", Violation),
        (b"+OK a\rb\r\n", Violation),
        (b"+OK " + b"x" * 20000, Violation),
        (b"+OK a\r\n+OK b\r\n", Violation),
        (b"+OK a\r\n" + offer(b"SASL PLAIN"), Violation),
    ],
)
def test_what_is_no_greeting(octets, kind):
    stream = connect(credentials=alice())
    stream.dataReceived(octets)
    failed(stream, kind)


@pytest.mark.parametrize(
    "octets",
    [
        b"+\r\n",
        b"250 ok\r\n",
        offer() + b"+",
        offer() + b"+OK\r\n",
        b"-ERR\r\n-ERR\r\n",
        b"+OK\r\nTOP\n.\r\n",
        offer(*[b"X"] * (MAX_CAPABILITIES + 1)),
        b"+OK\r\n" + b"x" * 20000,
    ],
)
def test_what_is_no_capability_list(octets):
    stream = connect(credentials=alice())
    say(stream, b"+OK\r\n", b"CAPA\r\n")
    stream.dataReceived(octets)
    failed(stream, Violation)


@pytest.mark.parametrize("octets", [b"+ \r\n", b"+OK\r\n+OK\r\n", b"OK\r\n"])
def test_what_is_no_reply_to_user(octets):
    stream = connect(credentials=alice())
    greet(stream, b"USER")
    say(stream, octets, b"")
    failed(stream, Violation)


@pytest.mark.parametrize("answer", [b"-ERR cancelled\r\n", b"+OK welcome\r\n", b"+ \r\n"])
def test_a_challenge_that_is_none_cancels_the_exchange(answer):
    stream = connect(credentials=alice(), mechanisms=("CRAM-MD5",))
    greet(stream, b"SASL CRAM-MD5")
    say(stream, b"+ !!!\r\n", b"*\r\n")
    assert stream.outcome == []
    stream.dataReceived(answer)
    assert "while waiting for the reply to AUTH CRAM-MD5: a challenge is no base64" in failed(stream, Violation)


@pytest.mark.parametrize("challenge", [b"+ " + b"QUFB" * 5000 + b"\r\n", b"+ QUFB\r\n+OK\r\n", b"+QUFB\r\n"])
def test_what_is_no_challenge_at_all_ends_the_connection(challenge):
    stream = connect(credentials=alice(), mechanisms=("CRAM-MD5",))
    greet(stream, b"SASL CRAM-MD5")
    say(stream, challenge, b"")
    failed(stream, Violation)


def test_endless_challenges_end():
    stream = connect(credentials=alice())
    greet(stream, b"SASL PLAIN")
    for _ in range(3):
        sent(stream)
        stream.dataReceived(b"+ \r\n")
    assert sent(stream) == b"*\r\n"
    stream.dataReceived(b"-ERR\r\n")
    failed(stream, Violation)


def test_octets_behind_the_last_response_are_nobodys():
    stream = connect(credentials=alice())
    greet(stream, b"USER")
    stream.dataReceived(b"+OK\r\n")
    stream.dataReceived(b"+OK\r\n")
    stream.dataReceived(offer(b"TOP") + b"+OK forged\r\n")
    failed(stream, Violation)


# Ends


def test_a_closed_connection_fails_the_login():
    stream = connect(credentials=alice())
    greet(stream, b"USER")
    stream.connectionLost(Failure(ConnectionDone()))
    (failure,) = stream.outcome
    assert failure.check(RefusedSession)
    assert "waiting for the reply to USER" in str(failure.value)


def test_a_connection_closed_in_the_handshake_is_a_refused_session():
    stream = connect(TLSMode.REQUIRED, alice())
    greet(stream, b"STLS")
    stream.dataReceived(b"+OK\r\n")
    stream.connectionLost(Failure(ConnectionDone()))
    (failure,) = stream.outcome
    assert failure.check(RefusedSession)
    assert "waiting for the TLS handshake" in str(failure.value)


@pytest.mark.parametrize("octets", [b"", b"+OK\r\n"])
def test_cancelling_ends_the_connection_and_says_what_it_waited_for(octets):
    stream = connect()
    stream.dataReceived(octets)
    stream.ready.cancel()
    words = failed(stream, UpstreamTimeout)
    assert ("waiting for the response to CAPA" if octets else "waiting for the greeting") in words
    stream.dataReceived(b"+OK\r\n")
    assert len(stream.outcome) == 1


def test_the_stream_never_quits_by_itself():
    stream = connect(credentials=alice())
    greet(stream, b"USER")
    stream.dataReceived(b"+OK\r\n")
    sent(stream)
    arrive(stream)
    stream.release(5)
    assert sent(stream) == b""
    assert stream.transport.disconnecting
    stream.connectionLost(Failure(ConnectionDone()))


def test_no_secret_is_in_the_repr_of_anything():
    stream = connect(credentials=alice())
    greet(stream, b"USER")
    stream.dataReceived(b"+OK\r\n")
    assert SECRET not in repr(vars(stream))
    assert SECRET not in repr([getattr(stream, name) for name in UpstreamStream.__slots__])


REPLIES = st.sampled_from(
    [b"+OK\r\n", b"-ERR [IN-USE] x\r\n", offer(b"USER", b"SASL PLAIN"), b"+ \r\n", b".\r\n", b"\n", b"+O"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(REPLIES, max_size=8), st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_a_login_ends_once_whatever_is_said_and_however_it_is_cut(replies, sizes):
    stream = connect(credentials=alice())
    octets, number = b"".join(replies), 0
    while octets:
        size = sizes[number % len(sizes)]
        stream.dataReceived(octets[:size])
        octets, number = octets[size:], number + 1
    stream.connectionLost(Failure(ConnectionDone()))
    gc.collect()
    assert len(stream.outcome) == 1


# Real TLS

PATIENCE_SECONDS = 30.0
AUTHORITY = Authority.create()
CLIENT_TLS = ClientTLS(Trust(platform=False, bundles=(AUTHORITY.certificate_pem,)))


class MailServer(LineReceiver):
    """POP3 with STLS; `lines` is what it was told, with how."""

    def __init__(self, tls, injected=b""):
        self.tls = tls
        self.injected = injected
        self.lines = []
        self.way = "clear"
        self.lost = Deferred()

    def connectionMade(self):
        self.sendLine(b"+OK")

    def lineReceived(self, line):
        self.lines.append((self.way, line))
        if line == b"CAPA":
            self.transport.write(offer(b"USER", b"STLS" if self.way == "clear" else b"TOP"))
        elif line == b"STLS":
            self.transport.write(b"+OK\r\n" + self.injected)
            self.transport.startTLS(self.tls)
            self.way = "tls"
        else:
            self.sendLine(b"+OK")

    def connectionLost(self, reason):
        self.lost.callback(None)


async def log_in(server, host):
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Factory.forProtocol(lambda: server))
    wanted = login(TLSMode.REQUIRED, alice())
    options = CLIENT_TLS.options(host, wanted.destination.tls)
    stream = POP3Upstream(reactor, wanted, tls=options, allow_plaintext_auth=False)
    stream.ready.addTimeout(PATIENCE_SECONDS, reactor)
    try:
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), stream)
        return await stream.ready
    finally:
        stream.abort()
        await server.lost
        await port.stopListening()


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    def __init__(self, *names):
        issued = AUTHORITY.issue(*names)
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.use_certificate(x509.load_pem_x509_certificate(issued.certificate_pem))
        self.context.use_privatekey(load_pem_private_key(issued.key_pem, None))

    def serverConnectionForTLS(self, _protocol):
        return SSL.Connection(self.context, None)


@pytest_twisted.ensureDeferred
async def test_the_password_travels_over_verified_tls_only():
    server = MailServer(ServerTLS("mail.test"))
    stream = await log_in(server, "mail.test")
    assert stream.secured
    assert stream.capabilities.listed == {"USER": (), "TOP": ()}
    assert server.lines == [
        ("clear", b"CAPA"),
        ("clear", b"STLS"),
        ("tls", b"CAPA"),
        ("tls", b"USER alice"),
        ("tls", b"PASS " + SECRET.encode()),
        ("tls", b"CAPA"),
    ]


@pytest_twisted.ensureDeferred
async def test_another_hosts_certificate_gets_no_password():
    server = MailServer(ServerTLS("other.test"))
    with pytest.raises(TLSFailed):
        await log_in(server, "mail.test")
    assert server.lines == [("clear", b"CAPA"), ("clear", b"STLS")]


@pytest_twisted.ensureDeferred
async def test_injected_responses_get_no_password():
    server = MailServer(ServerTLS("mail.test"), injected=b"+OK\r\nSASL PLAIN\r\n.\r\n")
    with pytest.raises((Violation, TLSFailed)):
        await log_in(server, "mail.test")
    assert server.lines == [("clear", b"CAPA"), ("clear", b"STLS")]

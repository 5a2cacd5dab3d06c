"""A connection to a mail server: one answer to the login, a hand-over that loses nothing, and two ways to end it."""

import gc
import weakref

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from mailproxy.destination.model import Destination, Login, MailProtocol, Password, TLSMode, TLSSettings
from mailproxy.errors import ConnectionLost, LacksTLS, RefusedSession, TLSFailed, UpstreamTimeout, Violation
from mailproxy.relay import Backpressure
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.wire.introduction import Introduction
from mailproxy.wire.proxyprotocol import Addresses, Version, format_header
from tests.support.transports import HIGH_MARK, PIPE_OCTETS, Network

CROWD = b"x" * (HIGH_MARK + PIPE_OCTETS + 1)
LOGIN = Login(
    Destination("d", MailProtocol.SMTP, "mail.test", 25, TLSSettings(TLSMode.NONE), login=True),
    Password("alice", "sentinel password"),
)


class Stream(UpstreamStream, Protocol):
    farewell = b"QUIT\r\n"

    def __init__(self, clock, *, over_tls=False):
        super().__init__(clock, LOGIN, over_tls=over_tls)
        self.conversation = b""
        self.readies = 0

    def converse(self, chunk):
        self.conversation += chunk

    def tls_ready(self):
        self.readies += 1


class WordlessStream(Stream):
    farewell = b""


class Owner:
    def __init__(self):
        self.received = b""
        self.errors = []

    def upstream_received(self, chunk):
        self.received += chunk

    def upstream_lost(self, error):
        self.errors.append(error)


class Line:
    """A stream, the mail server's end of it, and what became of the login."""

    def __init__(self, kind=Stream, **more):
        self.network = Network()
        self.stream = kind(self.network.clock, **more)
        self.outcome = []
        self.stream.ready.addBoth(self.outcome.append)
        self.server = self.network.plug(self.stream)
        self.owner = Owner()
        self.changes = 0

    def log_in(self):
        self.stream.logged_in("capabilities", pending=False)
        assert self.outcome == [self.stream]
        self.pressure = Backpressure(
            self.network.clock, stall_seconds=1000, stalled=self._changed, changed=self._changed
        )
        self.stream.hand_over(self.owner, self.pressure)
        return self

    def _changed(self):
        self.changes += 1

    def run(self, seconds=0.0):
        self.network.advance(seconds)

    def failed(self, kind):
        """The login has failed in that way, and the connection is over."""
        (failure,) = self.outcome
        assert failure.check(kind), failure
        self.run()
        assert self.server.over
        assert not self.network.transports
        assert not self.network.clock.getDelayedCalls()
        return str(failure.value)


# The login


def test_a_login_is_done_with_what_the_server_offers():
    line = Line().log_in()
    assert line.stream.capabilities == "capabilities"
    line.server.say(b"later words")
    line.run()
    assert line.stream.conversation == b""
    assert line.owner.received == b"later words"


def test_octets_before_the_login_is_done_belong_to_it():
    line = Line()
    line.server.say(b"220 hello\r\n")
    line.run()
    assert line.stream.conversation == b"220 hello\r\n"
    line.stream.abort()


def test_octets_behind_the_login_that_nobody_asked_for_are_a_violation():
    line = Line()
    line.stream.logged_in("capabilities", pending=True)
    line.failed(Violation)


def test_the_first_failure_counts():
    line = Line()
    line.stream.fail(LacksTLS("no TLS"))
    line.stream.fail(Violation("something else"))
    line.stream.logged_in("capabilities", pending=False)
    assert line.failed(LacksTLS) == "no TLS"


def test_after_a_failure_nothing_is_heard_any_more():
    line = Line()
    line.stream.fail(LacksTLS("no TLS"))
    line.stream.dataReceived(b"220 hello\r\n")
    assert line.stream.conversation == b""


def test_a_server_that_closes_before_the_login_is_done_has_refused_the_session():
    line = Line()
    line.stream.doing = "waiting for the reply to EHLO"
    line.server.close()
    line.run()
    assert line.failed(RefusedSession).endswith("while we were waiting for the reply to EHLO")


@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_server_that_closes_during_the_handshake_has_refused_the_session_too(end):
    line = Line(over_tls=True)
    assert line.stream.doing == "waiting for the TLS handshake"
    getattr(line.server, end)()
    line.run()
    assert line.failed(RefusedSession).endswith("while we were waiting for the TLS handshake")


def test_behind_the_handshake_closing_is_a_refusal_again():
    line = Line(over_tls=True)
    line.stream.handshakeCompleted()
    assert line.stream.secured
    assert line.stream.readies == 1
    line.server.close()
    line.run()
    line.failed(RefusedSession)


def test_a_tls_error_is_one_whenever_it_comes():
    line = Line()
    line.stream.connectionLost(Failure(SSL.Error([("SSL routines", "", "wrong version number")])))
    (failure,) = line.outcome
    assert failure.check(TLSFailed)
    assert "does not speak TLS" in str(failure.value)


def test_tls_begins_on_the_open_connection():
    line = Line()
    started = []
    line.stream.transport.startTLS = started.append
    line.stream.begin_tls("options")
    assert started == ["options"]
    assert line.stream.doing == "waiting for the TLS handshake"
    line.server.abort()
    line.run()
    line.failed(RefusedSession)


def test_cancelling_a_login_ends_it_and_says_what_it_was_waiting_for():
    line = Line()
    line.stream.ready.cancel()
    assert line.failed(UpstreamTimeout) == "gave up while waiting for the greeting"


# The bare stream


def test_octets_pass_untouched():
    line = Line().log_in()
    line.stream.write(b"\0\r\n.\r\n\xff")
    line.server.say(b"\xfe\n\r\0")
    line.run()
    assert line.server.hear() == b"\0\r\n.\r\n\xff"
    assert line.owner.received == b"\xfe\n\r\0"


def test_a_full_buffer_is_the_owners_to_handle():
    line = Line().log_in()
    line.stream.write(CROWD)
    assert line.pressure.full
    line.run()
    while line.server.hear():
        line.run()
    assert not line.pressure.full
    assert line.changes == 2


def test_the_owner_hears_once_that_the_server_is_gone():
    line = Line().log_in()
    line.server.close()
    line.run()
    (error,) = line.owner.errors
    assert isinstance(error, ConnectionLost)
    line.stream.connectionLost(Failure(ConnectionDone()))
    assert len(line.owner.errors) == 1


# Ends


def test_an_aborted_stream_is_silent():
    line = Line().log_in()
    line.stream.write(b"half a message")
    line.stream.abort()
    line.stream.abort()
    line.run()
    with pytest.raises(ConnectionResetError):
        line.server.hear()
    assert line.owner.errors == []
    assert not line.network.transports


def test_a_stream_that_was_never_connected_or_is_lost_may_be_aborted():
    Stream(Clock()).abort()
    line = Line().log_in()
    line.server.close()
    line.run()
    assert line.stream.transport is None  # TLS would stumble over an end behind its end
    line.stream.abort()
    line.stream.release(5)
    line.run()
    assert not line.network.clock.getDelayedCalls()


def test_a_farewell_waits_for_the_answer_and_closes():
    line = Line().log_in()
    line.stream.release(5)
    line.run()
    assert line.server.hear() == b"QUIT\r\n"
    line.run(4)
    assert not line.server.over
    line.server.say(b"221 bye\r\n")
    line.run()
    assert line.server.over
    assert (line.owner.received, line.owner.errors) == (b"", [])
    assert not line.network.clock.getDelayedCalls()


def test_a_server_that_just_closes_after_the_farewell():
    line = Line().log_in()
    line.stream.release(5)
    line.server.close()
    line.run()
    assert not line.network.transports
    assert line.owner.errors == []
    assert not line.network.clock.getDelayedCalls()


@pytest.mark.parametrize("kind", [Stream, WordlessStream])
def test_an_end_has_its_time(kind):
    line = Line(kind).log_in()
    line.stream.write(CROWD)  # the server does not read, so that nothing can be flushed
    line.pressure.stopProducing()
    line.stream.release(5)
    line.run(4.9)
    assert line.network.transports
    line.run(0.2)
    assert not line.network.transports
    assert not line.network.clock.getDelayedCalls()


def test_without_a_farewell_the_connection_just_closes():
    line = Line(WordlessStream).log_in()
    line.stream.write(b"last words")
    line.stream.release(5)
    line.run()
    assert line.server.hear() == b"last words"
    assert line.server.over
    assert not line.network.clock.getDelayedCalls()


def test_the_answer_to_the_farewell_is_read_though_reading_was_paused():
    line = Line().log_in()
    line.stream.transport.pauseProducing()
    line.stream.release(5)
    line.server.say(b"221 bye\r\n")
    line.run()
    assert not line.network.transports
    assert line.network.clock.seconds() == 0


def test_leaving_twice_is_leaving_once():
    line = Line().log_in()
    line.stream.release(5)
    line.stream.release(50)
    line.run(6)
    assert not line.network.transports
    assert not line.network.clock.getDelayedCalls()


def test_the_words_of_the_server_are_shown_without_the_credentials():
    assert Line().stream.quoted(b"550 \x1b no sentinel password here\r\n") == r"550 \x1b no <secret> here\x0d\x0a"


def test_a_lost_stream_keeps_nothing_alive():
    gc.collect()
    gc.disable()
    try:
        for end in (lambda line: line.server.close(), lambda line: line.stream.abort()):
            line = Line().log_in()
            line.outcome.clear()
            end(line)
            line.run()
            gone = weakref.ref(line.stream), weakref.ref(line.owner)
            line.pressure.stopProducing()
            line.stream = line.owner = None
            assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


# The PROXY header

CLIENT = Addresses("203.0.113.7", 51234, "198.51.100.1", 587)


class TellingStream(Stream):
    def __init__(self, clock, *, version, client, tls=None):
        super().__init__(clock)
        self.send_proxy, self.introduction, self.tls_at_once = version, client, tls


@pytest.mark.parametrize("version", Version)
@pytest.mark.parametrize(
    ("client", "addresses"), [(Introduction(CLIENT), CLIENT), (Introduction(None), None), (None, None)]
)
def test_a_header_is_the_first_that_a_mail_server_hears(version, client, addresses):
    line = Line(TellingStream, version=version, client=client)
    line.run()
    assert line.server.hear() == format_header(version, addresses)
    line.stream.abort()


def test_without_a_version_there_is_no_header():
    line = Line(TellingStream, version=None, client=Introduction(CLIENT))
    line.run()
    assert line.server.hear() == b""
    line.stream.abort()


@implementer(IOpenSSLClientConnectionCreator)
class Creator:
    def clientConnectionForTLS(self, tls):
        return SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)


def test_a_header_goes_in_front_of_tls():
    network = Network()
    stream = TellingStream(network.clock, version=Version.V1, client=Introduction(CLIENT), tls=Creator())
    server = network.plug(stream, begins=True)
    stream.ready.addErrback(lambda failure: None)
    network.settle()
    assert server.hear().startswith(format_header(Version.V1, CLIENT) + b"\x16\x03")
    stream.abort()
    network.settle()

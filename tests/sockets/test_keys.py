"""New keys in the middle, and the directions that OpenSSL has to wait for: it may read to write, and write to read."""

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

from tests.sockets.hall import OURS, Hall, Subject, Way, settle, some, until

MUCH = 2 << 20


# --- renegotiation, of TLS 1.2 ---


@pytest_twisted.ensureDeferred
async def test_renegotiation_is_refused(hall):
    """The peer is told so, and makes an end of it."""
    subject = Subject()
    peer = await hall.secured(subject, "TLSv1.2")
    peer.connection.renegotiate()
    peer.shaken = False
    peer.go_on()
    await until(lambda: peer.error is not None)
    assert "no renegotiation" in str(peer.error)
    await until(lambda: subject.lost)
    assert subject.events == ["made", "shaken", "gone"]


class Permissive:
    """A creator that lets a server renegotiate, which none of ours does: a handshake in the middle of other octets."""

    def __init__(self):
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.context.set_max_proto_version(SSL.TLS1_2_VERSION)

    def on_socket(self, connection, _judge):
        made = SSL.Connection(self.context, connection)
        made.set_connect_state()
        return made


@pytest.mark.parametrize("paused", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_write_may_have_to_wait_for_something_to_read(certificate, paused):
    """Also where the owner does not want to read: it is about what OpenSSL reads for itself."""
    octets = some(MUCH)
    hall = Hall(Way(OURS, "client"), certificate)
    subject = Subject(made=lambda it: it.transport.startTLS(Permissive()))
    peer = hall.peer(await hall.meet(subject), "TLSv1.2")
    await until(lambda: subject.shaken and peer.shaken)
    await settle()
    peer.wire.listener = None
    peer.connection.renegotiate()
    peer.connection.do_handshake()
    peer.wire.transport.write(peer.sealed())
    await until(lambda: peer.wire.octets)  # a hello of ours: OpenSSL is in the middle of the handshake
    if paused:
        subject.transport.pauseProducing()
    subject.transport.write(octets)
    await settle()
    peer.wire.listener = peer.go_on
    peer.go_on()
    await until(lambda: len(peer.heard) == len(octets) or peer.error)
    assert peer.heard == octets
    peer.send(b"heard all")
    if paused:
        await settle()
        assert not subject.received
        subject.transport.resumeProducing()
    await until(lambda: subject.received == b"heard all")
    await hall.close()


# --- key updates, of TLS 1.3 ---


class OpenSSL(ProcessProtocol):
    """The program of that name, as a peer whose user types."""

    def __init__(self):
        self.said = b""
        self.ended = Deferred()

    def outReceived(self, data):
        self.said += data

    errReceived = outReceived

    def processEnded(self, reason):
        self.ended.callback(None)

    @classmethod
    def run(cls, *arguments):
        program = cls()
        reactor.spawnProcess(program, "openssl", ["openssl", *arguments], {"PATH": "/usr/bin:/bin"})
        return program

    async def end(self):
        self.transport.signalProcess("KILL")
        await self.ended


@pytest_twisted.ensureDeferred
async def test_a_client_may_change_the_keys_at_any_time(server_hall):
    subject = Subject(heard=lambda it, data: it.transport.write(b"heard " + data))
    creator = server_hall.creator()
    subject.hooks["made"] = lambda it: it.transport.startTLS(creator)
    port = await server_hall.listen(subject)
    program = OpenSSL.run("s_client", "-connect", f"127.0.0.1:{port}", "-msg")
    await _change_keys(program, subject)


@pytest_twisted.ensureDeferred
async def test_a_server_may_change_the_keys_at_any_time(client_hall, certificate, tmp_path):
    files = ["-cert", str(certificate.certificate), "-key", str(certificate.key)]
    program = OpenSSL.run("s_server", "-accept", "127.0.0.1:0", "-msg", *files)
    await until(lambda: b"ACCEPT 127.0.0.1:" in program.said and program.said.endswith(b"\n"))
    port = int(program.said.rpartition(b"ACCEPT 127.0.0.1:")[2])
    subject = Subject(heard=lambda it, data: it.transport.write(b"heard " + data))
    creator = client_hall.creator()
    subject.hooks["made"] = lambda it: it.transport.startTLS(creator)
    client_hall.connect(subject, port)
    await _change_keys(program, subject)


async def _change_keys(program, subject):
    await until(lambda: subject.shaken)
    await until(
        lambda: program.said.count(b"NewSessionTicket") >= 1 or b"CIPHER" in program.said or b"---" in program.said
    )
    for number in range(3):
        program.transport.write(b"K\n")
        await until(lambda before: _updates(program, b">>>") > before, number)
        program.transport.write(b"line %d\n" % number)
        await until(lambda line: line in program.said, b"heard line %d\n" % number)
    assert _updates(program, b"<<<") == 3
    assert subject.received == b"line 0\nline 1\nline 2\n"
    subject.transport.abortConnection()
    await until(lambda: subject.lost)
    await program.end()


def _updates(program, way):
    return sum(line.startswith(way) and b"KeyUpdate" in line for line in program.said.splitlines())


# --- moods of OpenSSL ---


class Moody:
    """OpenSSL's connection, which wants something else first where it was told to."""

    def __init__(self, real):
        self._real = real
        self.moods = {}
        self.calls = []

    def __getattr__(self, name):
        real = getattr(self._real, name)
        if name not in ("do_handshake", "recv", "send", "shutdown"):
            return real

        def call(*args):
            self.calls.append(name)
            moods = self.moods.get(name)
            if moods:
                mood = moods.pop(0)
                if mood is not None:
                    raise mood
            return real(*args)

        return call


class MoodyCreator:
    def __init__(self, creator, **moods):
        self.creator = creator
        self.moods = moods

    def on_socket(self, connection, judge):
        made = Moody(self.creator.on_socket(connection, judge))
        made.moods = self.moods
        return made


async def _moody(hall, subject, version="TLSv1.3", **moods):
    creator = MoodyCreator(hall.creator(version), **moods)
    subject.hooks.setdefault("made", lambda it: it.transport.startTLS(creator))
    peer = hall.peer(await hall.meet(subject), version)
    peer.go_on()
    return peer


@pytest_twisted.ensureDeferred
async def test_a_handshake_waits_until_it_can_write(our_hall, version):
    subject = Subject()
    moods = [SSL.WantWriteError(), None, SSL.WantWriteError(), SSL.WantWriteError()]
    peer = await _moody(our_hall, subject, version, do_handshake=moods)
    await until(lambda: subject.shaken and peer.shaken)
    peer.send(b"hello")
    await until(lambda: subject.received == b"hello")
    assert not moods


@pytest_twisted.ensureDeferred
async def test_reading_waits_until_it_can_write(our_hall):
    subject = Subject()
    moods = []
    peer = await _moody(our_hall, subject, recv=moods)
    await until(lambda: subject.shaken and peer.shaken)
    await settle()
    moods += [SSL.WantWriteError(), SSL.WantWriteError()]
    peer.send(b"hello")
    await until(lambda: subject.received == b"hello")
    assert not moods
    subject.transport.write(b"and the other way")
    await until(lambda: peer.heard == b"and the other way")


@pytest_twisted.ensureDeferred
async def test_reading_that_waits_to_write_is_not_called_all_the_time(our_hall):
    """There is something to read, as the reactor sees it, but the socket is full."""
    subject = Subject()
    moods = []
    peer = await _moody(our_hall, subject, recv=moods)
    await until(lambda: subject.shaken and peer.shaken)
    await settle()
    peer.wire.transport.pauseProducing()
    subject.transport.write(some(16 << 20))
    moods += [SSL.WantWriteError()]
    peer.wire.transport.write(peer.sealed(b"hello"))
    await until(lambda: not moods)
    calls = subject.transport.getHandle().calls
    calls.clear()
    await settle()
    assert calls.count("recv") == 0
    peer.wire.transport.resumeProducing()
    await until(lambda: len(peer.heard) == 16 << 20)
    assert subject.received == b"hello"


@pytest_twisted.ensureDeferred
async def test_who_pauses_while_reading_waits_to_write_hears_nothing(our_hall):
    subject = Subject()
    moods = []
    peer = await _moody(our_hall, subject, recv=moods)
    await until(lambda: subject.shaken and peer.shaken)
    await settle()
    moods += [SSL.WantWriteError()]
    subject.transport.pauseProducing()
    subject.transport.resumeProducing()
    peer.send(b"hello")
    await until(lambda: not moods)
    subject.transport.pauseProducing()
    await settle()
    assert not subject.received
    subject.transport.write(b"writing goes on")
    await until(lambda: peer.heard == b"writing goes on")
    assert not subject.received
    subject.transport.resumeProducing()
    await until(lambda: subject.received == b"hello")


@pytest.mark.parametrize("paused", [False, True])
@pytest_twisted.ensureDeferred
async def test_writing_waits_until_it_can_read(our_hall, paused):
    subject = Subject()
    moods = []
    peer = await _moody(our_hall, subject, send=moods)
    await until(lambda: subject.shaken and peer.shaken)
    await settle()
    if paused:
        subject.transport.pauseProducing()
    moods += [SSL.WantReadError(), SSL.WantReadError()]
    subject.transport.write(b"hello ")
    subject.transport.write(b"there")
    await settle()
    assert not peer.heard
    peer.send(b"something")
    await until(lambda: peer.heard == b"hello there")
    assert bool(subject.received) != paused
    if paused:
        subject.transport.resumeProducing()
        await until(lambda: subject.received == b"something")


@pytest_twisted.ensureDeferred
async def test_a_write_that_waits_to_read_from_a_peer_that_left_is_a_loss(our_hall):
    subject = Subject()
    moods = []
    peer = await _moody(our_hall, subject, send=moods)
    await until(lambda: subject.shaken and peer.shaken)
    await settle()
    moods += [SSL.WantReadError()] * 100
    subject.transport.write(b"hello")
    peer.say_goodbye()
    await until(lambda: subject.lost)
    assert len(moods) > 90


@pytest_twisted.ensureDeferred
async def test_a_goodbye_waits_until_it_can_write(our_hall):
    subject = Subject()
    peer = await _moody(our_hall, subject, shutdown=[SSL.WantWriteError(), SSL.WantWriteError()])
    await until(lambda: subject.shaken and peer.shaken)
    subject.transport.loseConnection()
    await until(lambda: peer.goodbye)
    peer.say_goodbye()
    await until(lambda: subject.lost)


@pytest.mark.parametrize(
    "error", [SSL.SysCallError(32, "EPIPE"), SSL.Error([("SSL routines", "", "shutdown while in init")])]
)
@pytest_twisted.ensureDeferred
async def test_a_goodbye_that_fails_is_the_end_in_a_later_turn(our_hall, error):
    subject = Subject()
    peer = await _moody(our_hall, subject, shutdown=[error, error])
    await until(lambda: subject.shaken and peer.shaken)
    subject.transport.loseConnection()
    assert not subject.lost
    await until(lambda: subject.lost)

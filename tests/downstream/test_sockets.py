"""A client behind TLS that has to go, on either layer of TLS."""

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock

from mailproxy.downstream.connection import ClientConnection
from mailproxy.downstream.surroundings import Surroundings
from mailproxy.session.encryption import Encryption
from tests.sockets.hall import ISSUED, OURS, TWISTED, Hall, Way, settle, some, until
from tests.tls.handshake import listener_tls, write_certificate

STALL, CLOSE = 180.0, 60.0
LARGE = some(8 * 1024 * 1024)
"""More than the system keeps for a client that does not read."""


class Waiting(dict):
    def __missing__(self, key):
        return 60.0


class Newcomer(ClientConnection):
    def __init__(self, around):
        super().__init__(around, hurried=False)
        self.is_ready = self.reason = False

    def ready(self):
        self.is_ready = True

    def client_gone(self):
        self.reason = True


class Sender(Newcomer):
    """Says a lot, and sees the client off."""

    def ready(self):
        super().ready()
        self.transport.write(LARGE)
        self.see_off()

    def does_not_close(self):
        self.deliver(STALL, self.give_up)


def surroundings(clock, certificate, encryption=Encryption.IMPLICIT):
    return Surroundings(
        clock=clock,
        upstreams=None,
        timeouts=Waiting(),
        stall_seconds=STALL,
        close_seconds=CLOSE,
        encryption=encryption,
        server_tls=listener_tls(certificate),
    )


@pytest.mark.parametrize("layer", [OURS, TWISTED], ids=str)
@pytest_twisted.ensureDeferred
async def test_who_is_dismissed_does_not_keep_its_place_by_silence(tmp_path, layer):
    """It gets the words and the goodbye, and does not answer it."""
    certificate = write_certificate(tmp_path / "certificate", ISSUED)
    hall = Hall(Way(layer, "server"), certificate)
    newcomer = Newcomer(surroundings(reactor, certificate))
    peer = hall.peer(await hall.meet(newcomer))
    peer.go_on()
    await until(lambda: newcomer.is_ready and peer.shaken)
    newcomer.dismiss(b"421 no room\r\n")
    await until(lambda: newcomer.reason)
    await until(lambda: peer.goodbye)
    assert peer.heard == b"421 no room\r\n"
    await hall.close()


@pytest.mark.parametrize("layer", [OURS, TWISTED], ids=str)
@pytest.mark.parametrize("encryption", [Encryption.IMPLICIT, Encryption.PLAINTEXT], ids=["tls", "plain"])
@pytest.mark.parametrize("reads", [True, False], ids=["slow", "never"])
@pytest_twisted.ensureDeferred
async def test_a_slow_client_is_given_the_rest_though_it_is_not_awaited(tmp_path, layer, encryption, reads):
    """Who does not read at all is cut off after `stall_seconds`."""
    certificate = write_certificate(tmp_path / "certificate", ISSUED)
    clock = Clock()
    hall = Hall(Way(layer, "server"), certificate)
    sender = Sender(surroundings(clock, certificate, encryption))
    wire = await hall.meet(sender)
    if encryption is Encryption.IMPLICIT:
        peer = hall.peer(wire)
        peer.go_on()
        await until(lambda: peer.shaken)
    wire.transport.pauseProducing()
    await until(lambda: sender.is_ready)
    await settle()
    clock.advance(CLOSE + 1)
    await settle()
    assert not sender.reason
    if reads:
        wire.transport.resumeProducing()
    else:
        clock.advance(STALL)
    await until(lambda: sender.reason)
    wire.transport.resumeProducing()
    await until(lambda: wire.lost)
    heard = peer.heard if encryption is Encryption.IMPLICIT else wire.octets
    assert (heard == LARGE) is reads
    assert (wire.reason.check(ConnectionDone) is not None) is reads
    if encryption is Encryption.IMPLICIT:
        assert peer.goodbye is reads
    await hall.close()

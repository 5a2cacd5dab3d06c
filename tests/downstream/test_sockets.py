"""A client behind TLS that has to go, on either layer of TLS."""

import pytest
import pytest_twisted
from twisted.internet import reactor

from mailproxy.downstream.connection import ClientConnection
from mailproxy.downstream.surroundings import Surroundings
from mailproxy.session.encryption import Encryption
from tests.sockets.hall import ISSUED, OURS, TWISTED, Hall, Way, until
from tests.tls.handshake import listener_tls, write_certificate


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


@pytest.mark.parametrize("layer", [OURS, TWISTED], ids=str)
@pytest_twisted.ensureDeferred
async def test_who_is_dismissed_does_not_keep_its_place_by_silence(tmp_path, layer):
    """It gets the words and the goodbye, and does not answer it."""
    certificate = write_certificate(tmp_path / "certificate", ISSUED)
    around = Surroundings(
        clock=reactor,
        upstreams=None,
        timeouts=Waiting(),
        stall_seconds=60.0,
        close_seconds=60.0,
        encryption=Encryption.IMPLICIT,
        server_tls=listener_tls(certificate),
    )
    hall = Hall(Way(layer, "server"), certificate)
    newcomer = Newcomer(around)
    peer = hall.peer(await hall.meet(newcomer))
    peer.go_on()
    await until(lambda: newcomer.is_ready and peer.shaken)
    newcomer.dismiss(b"421 no room\r\n")
    await until(lambda: newcomer.reason)
    await until(lambda: peer.goodbye)
    assert peer.heard == b"421 no room\r\n"
    await hall.close()

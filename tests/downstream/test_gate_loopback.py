"""The gate on real sockets and both layers of TLS: what stands behind a header reaches its reader."""

from ipaddress import ip_network

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString

from mailproxy.downstream.balancers import Balancers
from mailproxy.downstream.rooms import Rooms
from mailproxy.downstream.smtp import SMTPServerFactory
from mailproxy.observe.sessions import ListenerLog
from mailproxy.session.encryption import Encryption
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.sockets import serving
from mailproxy.wire.proxyprotocol import Addresses, Version, format_header
from tests.downstream.test_protocol_loopback import ANY_PORT, BYE, Client, gone, surroundings
from tests.tls.handshake import listener_tls, write_certificate
from tests.tls.loopback import AUTHORITY

CLIENT = Addresses("203.0.113.7", 51234, "198.51.100.1", 587)
KINDS = {
    "our socket": (ANY_PORT, serving),
    "Twisted's layer": (ANY_PORT, lambda port: port),
    "local socket": ("unix:{folder}/mail", serving),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", Version)
@pytest.mark.parametrize(
    ("encryption", "inside_tls"),
    [(Encryption.PLAINTEXT, False), (Encryption.IMPLICIT, False), (Encryption.IMPLICIT, True)],
)
@pytest_twisted.ensureDeferred
async def test_all_in_one_packet(tmp_path, encryption, inside_tls, version, kind):
    place, sockets = KINDS[kind]
    creator = listener_tls(write_certificate(tmp_path / "certificate", AUTHORITY.issue("mail.example.com")))
    balancers = Balancers(
        list(Version), (ip_network("127.0.0.1"),), local=True, inside_tls=inside_tls, seconds=5.0, most=10
    )
    around = attrs.evolve(surroundings(encryption, creator, 30.0, reactor), balancers=balancers)
    log = ListenerLog("dest", "acme")
    factory = SMTPServerFactory(SMTPPolicy("proxy.test", encryption=encryption), around, log, Rooms().door("acme"))
    port = sockets(await serverFromString(reactor, place.format(folder=tmp_path)).listen(factory))
    host = port.getHost()
    where = f"tcp:127.0.0.1:{host.port}" if hasattr(host, "port") else f"unix:{host.name.decode()}"
    try:
        client = await connectProtocol(clientFromString(reactor, where), Client())
        header = format_header(version, CLIENT)
        client.transport.write(b"" if inside_tls else header)
        if encryption is Encryption.IMPLICIT:
            client.secure()
        client.transport.write((header if inside_tls else b"") + b"NOOP\r\nQUIT\r\n")
        await client.hears(BYE)
        assert client.received.count(b"250 2.0.0 OK\r\n") == 1
        await gone(client)
        await factory.emptied().addTimeout(10, reactor)
        assert log.counters.outcomes == {"quit": 1}
    finally:
        await port.stopListening()
        await factory.stop().addTimeout(10, reactor)

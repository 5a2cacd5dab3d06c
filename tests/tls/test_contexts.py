"""Key exchange: little is prepared for every connection, and nothing is refused for that."""

import contextlib

import pytest
from OpenSSL import SSL
from OpenSSL._util import lib

from mailproxy.tls import contexts
from mailproxy.tls.contexts import new_context
from mailproxy.tls.resumption import Resumption
from tests.tls.loopback import AUTHORITY, HOST, SETTINGS, TLS, ServerTLS

MOST_STEPS = 10


class Judge:
    def failVerification(self, reason):
        raise reason.value


def handshake(client, server):
    """Both have finished it, in so many flights."""
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(MOST_STEPS):
        finished = []
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
                finished.append(one)
            except SSL.WantReadError:
                pass
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65_536))
        if len(finished) == 2:
            return
    raise AssertionError("no handshake")


def group_of(groups):
    client = SSL.Connection(new_context(SSL.TLS_CLIENT_METHOD, "TLSv1.2"), None)
    server = SSL.Connection(ServerTLS(AUTHORITY.issue(HOST), groups=groups).context, None)
    handshake(client, server)
    return client.get_group_name()


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        (b"X25519", "x25519"),
        (b"P-256", "secp256r1"),
        (b"P-521", "secp521r1"),
        (b"X25519MLKEM768", "X25519MLKEM768"),
        (b"X25519MLKEM768/X25519", "X25519MLKEM768"),
    ],
)
def test_a_server_gets_the_key_exchange_that_it_wants(offered, agreed):
    assert group_of(offered) == agreed


def test_only_the_small_key_is_in_the_first_message():
    client = SSL.Connection(new_context(SSL.TLS_CLIENT_METHOD, "TLSv1.2"), None)
    client.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    assert len(client.bio_read(65_536)) < 1000


def test_who_has_asked_for_the_large_key_gets_it_the_next_time():
    server = ServerTLS(AUTHORITY.issue(HOST), groups=b"X25519MLKEM768/X25519")
    resumption = Resumption(lambda: 0.0)
    hellos = []
    for _ in range(3):
        options = TLS.options(HOST, SETTINGS, resumption=resumption)
        client = options.clientConnectionForTLS(Judge())
        handshake(client, SSL.Connection(server.context, None))
        client.keep()
        hellos.append(len(server.names))
        server.names.clear()
    assert hellos == [2, 1, 1]
    server = ServerTLS(AUTHORITY.issue(HOST))
    client = TLS.options(HOST, SETTINGS, resumption=resumption).clientConnectionForTLS(Judge())
    handshake(client, SSL.Connection(server.context, None))
    client.keep()
    assert not resumption.wants_large_key


def test_an_openssl_that_does_not_know_the_groups_keeps_its_own(monkeypatch):
    monkeypatch.setattr(contexts, "_SMALL_KEY", b"nobody knows this one")
    assert group_of(b"X25519") == "x25519"
    assert lib.ERR_peek_error() == 0

"""Two tenants at one mail server, with one user name: what one has logged in with is never the other's to use."""

import json
from base64 import b64encode

import pytest

from tests.support.proxies import PROPERTIES, Site

PORTS = {"acme": 1587, "globex": 1588}
BOTH = '{ acme = "tcp:1587", globex = "tcp:1588" }'


def plain(password):
    return b64encode(f"\0robot\0{password}".encode())


class House:
    """The proxy, and a mail server's ends of its connections."""

    def __init__(self, folder):
        self.site = Site(folder)
        self.reactor = self.site.reactor
        for tenant in PORTS:
            self.set_password(tenant, f"of {tenant}")
        self.proxy = self.site.start("destination_services.local.directory = 'destinations'", head="", dest=BOTH)

    def set_password(self, tenant, password):
        path = self.site.folder / "destinations" / tenant / "dest.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"Name": "dest", **PROPERTIES, "mail.password": password}))

    def log_in(self, number):
        """The mail server lets us in; with what."""
        server = self.reactor.servers[number]
        ask = self.reactor.ask
        assert ask(server, b"220 mail.test ESMTP\r\n").startswith(b"EHLO ")
        shown = ask(server, b"250-mail.test\r\n250 AUTH PLAIN\r\n")
        server.say(b"235 2.7.0 ok\r\n")
        return shown.removeprefix(b"AUTH PLAIN ").strip()

    def send(self, tenant):
        """A client of the tenant has said MAIL."""
        client = self.reactor.visit(PORTS[tenant])
        self.reactor.ask(client, f"MAIL FROM:<{tenant}@x>\r\n".encode())
        return client

    def close(self):
        self.proxy.stopService()
        self.proxy.hurry()
        self.reactor.network.settle()
        assert not self.reactor.network.transports
        assert not self.reactor.getDelayedCalls()


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.close()


def mail_of(tenant):
    return f"MAIL FROM:<{tenant}@x>\r\n".encode()


def quit_after_refusal(house, client, server):
    """The mail server has said no to MAIL, and the client goes: the connection rests."""
    assert house.reactor.ask(server, b"550 no\r\n") == b""
    assert house.reactor.ask(client, b"QUIT\r\n").startswith(b"550 no\r\n221 ")
    assert house.reactor.ask(server) == b""


def test_each_tenant_has_its_own_connection_and_gets_it_again(house):
    for number, tenant in enumerate(PORTS):
        client = house.send(tenant)
        assert len(house.reactor.servers) == number + 1
        assert house.log_in(number) == plain(f"of {tenant}")
        server = house.reactor.servers[number]
        assert house.reactor.ask(server) == mail_of(tenant)
        quit_after_refusal(house, client, server)
    for _ in range(2):
        for number, tenant in enumerate(PORTS):
            client = house.send(tenant)
            assert house.reactor.ask(house.reactor.servers[1 - number]) == b""
            assert house.reactor.ask(house.reactor.servers[number]) == mail_of(tenant)
            quit_after_refusal(house, client, house.reactor.servers[number])
    assert len(house.reactor.servers) == 2


def test_passwords_that_are_exchanged_go_with_their_tenants(house):
    """Each tenant has the other's password now, and neither the other's connection nor its own from before."""
    for number, tenant in enumerate(PORTS):
        client = house.send(tenant)
        house.log_in(number)
        server = house.reactor.servers[number]
        house.reactor.ask(server)
        quit_after_refusal(house, client, server)
    house.set_password("acme", "of globex")
    house.set_password("globex", "of acme")
    house.reactor.advance(20)
    for number, (tenant, password) in enumerate({"acme": "of globex", "globex": "of acme"}.items()):
        house.send(tenant)
        assert house.reactor.ask(house.reactor.servers[number]) == b"QUIT\r\n"
        assert len(house.reactor.servers) == 3 + number
        assert house.log_in(2 + number) == plain(password)
        assert house.reactor.ask(house.reactor.servers[2 + number]) == mail_of(tenant)

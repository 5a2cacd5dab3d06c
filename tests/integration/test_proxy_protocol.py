"""
Where a client is, through real balancers and to real mail servers: HAProxy, nginx, Postfix and Dovecot.

Clients are at 127.0.0.2, balancers and mailproxy at 127.0.0.1; whoever writes a header by hand is somewhere else.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.integration.conftest import Launch, NewSetup
from tests.support.accounts import ACME
from tests.support.balancers import haproxy, nginx, placed
from tests.support.bed import MAIL_HOST, Bed, open_folder
from tests.support.letters import Letter, body_of
from tests.support.pages import page
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.routes import basic
from tests.support.setup import FILES, Setup
from tests.support.terminal import Terminal, bare_socket
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("_empty_mailboxes")]

CLIENT = "127.0.0.2"
PAGE = page("how-to/proxy-protocol.md")
ELSEWHERE = "203.0.113.7"
V1 = f"PROXY TCP4 {ELSEWHERE} 198.51.100.1 51234 587\r\n".encode()
V2 = bytes.fromhex("0d0a0d0a000d0a515549540a2111000c cb007107 c6336401 c822 024b".replace(" ", ""))
V6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 587\r\n"
LISTED = 'proxy_protocol_from = ["127.0.0.1"]\n'
TELLING = {
    "v1": ("proxied", 'send_proxy = "v1"'),
    "v2": ("proxied", 'send_proxy = "v2"'),
    "v2-tls": ("proxied-tls", 'send_proxy = "v2"'),
    "offered": ("xclient", 'xclient = "offered"'),
    "required": ("xclient", 'xclient = "required"'),
}


def block(name: str) -> str:
    """What the page shows as this file."""
    (found,) = (each.text for each in PAGE.blocks if each.name == name)
    return found


def of_the_page(number: int, name: str) -> str:
    """What the page's configuration says about PROXY headers, and TLS, in a destination."""
    whole = tomllib.loads([each.text for each in PAGE.blocks if each.language == "toml"][number])
    (entry,) = (each for each in whole["destinations"] if each["name"] == name)
    lines = [f'{key} = "{entry[key]}"' for key in ("proxy_protocol", "tls", "send_proxy") if key in entry]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def proxy(bed: Bed, new_setup: NewSetup, launch: Launch, request: pytest.FixtureRequest) -> Proxy:
    """Listeners with headers of all kinds, and destinations that are told of the client in all ways."""
    setup = new_setup(f"workers = {request.param}\n")
    certificate, key = bed.authority.issue(MAIL_HOST).write(setup.folder, "inside")
    setup.head += (
        f'[listener_tls.inside]\nmode = "implicit"\n'
        f'certificates = [{{ certificate = "{certificate}", key = "{key}" }}]\n'
    )
    add_listeners(setup, bed)
    for name, (listener, text) in TELLING.items():
        kind = "smtps" if listener.endswith("-tls") else "smtp"
        setup.add(ACME.tenant, basic(name, kind, bed.postfix.ports[listener], ACME), FILES)
        setup.more[name] = f'{text}\nproxy_protocol = "any"\n{LISTED}'
    for name, text in {"not-offered": 'xclient = "offered"', "not-there": 'xclient = "required"'}.items():
        setup.add(ACME.tenant, basic(name, "smtp", bed.postfix.ports["submission"], ACME), FILES)
        setup.more[name] = text
    for name, (kind, port) in {
        "pop3": ("pop3", bed.dovecot.proxied),
        "pop3s": ("pop3s", bed.dovecot.proxied_tls),
    }.items():
        setup.add(ACME.tenant, basic(name, kind, port, ACME), FILES)
        setup.more[name] = of_the_page(1, "company-pop").replace("v1", "v2" if kind == "pop3" else "v1")
    return launch(setup)


def add_listeners(setup: Setup, bed: Bed) -> None:
    smtp, pop3s = bed.postfix.ports["submission"], bed.dovecot.pop3s
    setup.add(ACME.tenant, basic("company-smtp", "smtp", smtp, ACME), FILES)
    setup.more["company-smtp"] = of_the_page(0, "company-smtp") + LISTED
    setup.add(ACME.tenant, basic("company-pop", "pop3s", pop3s, ACME), FILES)
    setup.more["company-pop"] = of_the_page(0, "company-pop") + LISTED
    setup.add(ACME.tenant, basic("tls", "smtp", smtp, ACME), FILES)
    setup.more["tls"] = f'tls = "inside"\nproxy_protocol = "any"\n{LISTED}'
    setup.add(ACME.tenant, basic("inside", "smtp", smtp, ACME), FILES)
    setup.more["inside"] = f'tls = "inside"\nproxy_protocol = "any"\nproxy_protocol_inside_tls = true\n{LISTED}'
    setup.add(ACME.tenant, basic("unlisted", "smtp", smtp, ACME), FILES)
    setup.more["unlisted"] = 'proxy_protocol = "any"\nproxy_protocol_from = ["192.0.2.0/24"]\n'


def trusting(bed: Bed) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(bed.ca_file))


@contextmanager
def secured(port: int, bed: Bed, *, before: bytes = b"", inside: bytes = b"", pieces: int = 0) -> Iterator[Terminal]:
    """
    A terminal behind TLS.  The header `before` it goes along with the first octets of the handshake, or in so many
    pieces; the one `inside` along with nothing.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting(bed).wrap_bio(incoming, outgoing, server_hostname=MAIL_HOST)
    near, far = socket.socketpair()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection, near, far:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ahead = before
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                send(connection, ahead + outgoing.read(), pieces)
                ahead = b""
                incoming.write(connection.recv(65536) or b"")
                assert incoming.pending, "closed in the handshake"
            else:
                break
        tls.write(inside or b"NOOP\r\n"[:0])
        send(connection, outgoing.read(), 0)
        yield TLSTerminal(connection, tls, incoming, outgoing)


def send(connection: socket.socket, octets: bytes, pieces: int) -> None:
    if not pieces:
        connection.sendall(octets)
        return
    for start in range(0, len(octets), pieces):
        connection.sendall(octets[start : start + pieces])


class TLSTerminal(Terminal):
    """Lines through TLS that the test itself does, in memory."""

    def __init__(
        self, connection: socket.socket, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        super().__init__(connection, b"\r\n")
        self._tls, self._incoming, self._outgoing = tls, incoming, outgoing
        self._seen = b""

    def type(self, line: str | bytes) -> None:
        self._tls.write((line.encode() if isinstance(line, str) else line) + b"\r\n")
        self.connection.sendall(self._outgoing.read())

    def read_line(self) -> bytes:
        while b"\n" not in self._seen:
            try:
                self._seen += self._tls.read(65536)
            except ssl.SSLWantReadError:
                more = self.connection.recv(65536)
                if not more:
                    return b""
                self._incoming.write(more)
        line, _, self._seen = self._seen.partition(b"\n")
        return line.rstrip(b"\r")


def mail_to_acme(terminal: Terminal, *, helo: str = "EHLO client.test") -> Letter:
    letter = Letter(ACME.address)
    assert terminal.read_reply().startswith(b"220 ")
    if helo:
        assert terminal.ask(helo).startswith(b"250 ")
    assert terminal.ask(f"MAIL FROM:<{letter.sender}>").startswith(b"250 ")
    assert terminal.ask(f"RCPT TO:<{letter.recipient}>").startswith(b"250 ")
    assert terminal.ask("DATA").startswith(b"354 ")
    terminal.type(f"Message-ID: <{letter.message_id}>\r\n\r\n{letter.marker}\r\n.")
    assert terminal.read_reply().startswith(b"250 ")
    assert terminal.ask("QUIT").startswith(b"221 ")
    return letter


def session_of(proxy: Proxy, name: str, client: str, place: int) -> str:
    return proxy.wait_for_log(rf"acme/{name}: session \S+ from {re.escape(client)}:\d+: ended: ", place)


# Balancers, as the page shows them


@pytest.fixture(params=["haproxy", "nginx"])
def balanced(proxy: Proxy, request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """A balancer before the listeners: its ports for sending and collecting."""
    run, name = {"haproxy": (haproxy, "haproxy.cfg"), "nginx": (nginx, "nginx.conf")}[request.param]
    smtp, pop3s = free_port(), free_port()
    places = {
        "192.0.2.10:587": smtp,
        "192.0.2.10:995": pop3s,
        "10.0.0.5:1587": proxy.ports[ACME.tenant, "company-smtp"],
        "10.0.0.5:1995": proxy.ports[ACME.tenant, "company-pop"],
    }
    text = placed(block(name), places)
    for asked, place in (("1587", "company-smtp"), ("1995", "company-pop")):
        text = text.replace(f"check port {asked}", f"check inter 100ms port {proxy.ports[ACME.tenant, place]}")
    with open_folder() as folder, run(folder, text, smtp, pop3s):
        yield smtp, pop3s


def test_mail_through_a_balancer_is_the_clients(bed: Bed, proxy: Proxy, balanced: tuple[int, int]) -> None:
    place = len(proxy.log)
    letter = Letter(ACME.address)
    with smtplib.SMTP("127.0.0.1", balanced[0], "client.test", source_address=(CLIENT, 0)) as client:
        client.sendmail(letter.sender, [letter.recipient], letter.raw)
    assert body_of(bed.mailbox(ACME).wait_for(letter.marker.encode())) == letter.body
    session_of(proxy, "company-smtp", CLIENT, place)
    assert "127.0.0.1" not in proxy.log_from(place), "a health check was logged"


def test_tls_through_a_balancer_is_the_clients(bed: Bed, proxy: Proxy, balanced: tuple[int, int]) -> None:
    letter = Letter(ACME.address)
    bed.mailbox(ACME).put(letter.octets)
    place = len(proxy.log)
    connection = socket.create_connection(("127.0.0.1", balanced[1]), timeout=30, source_address=(CLIENT, 0))
    with trusting(bed).wrap_socket(connection, server_hostname=MAIL_HOST) as through_tls:
        terminal = Terminal(through_tls, b"\r\n")
        assert terminal.read_line().startswith(b"+OK")
        assert terminal.ask("RETR 1").startswith(b"+OK")
        assert letter.marker.encode() in terminal.read_body()
        assert terminal.ask("QUIT").startswith(b"+OK")
        terminal.close()
    session_of(proxy, "company-pop", CLIENT, place)


# Headers by hand


@pytest.mark.parametrize("header", [V1, V2, V6], ids=["v1", "v2", "v1 of IPv6"])
@pytest.mark.parametrize("pieces", [0, 1])
def test_a_header_however_it_is_cut(proxy: Proxy, header: bytes, pieces: int) -> None:
    place = len(proxy.log)
    with bare_socket(proxy.ports[ACME.tenant, "company-smtp"]) as terminal:
        terminal.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send(terminal.connection, header + b"QUIT\r\n", pieces)
        assert terminal.read_line().startswith(b"220 ")
        assert terminal.read_line().startswith(b"221 ")
    client = "[2001:db8::7]" if header is V6 else ELSEWHERE
    assert f" from {client}:51234: ended: quit" in session_of(proxy, "company-smtp", client, place)


def test_the_header_of_a_balancer_of_a_cloud(proxy: Proxy) -> None:
    place = len(proxy.log)
    with bare_socket(proxy.ports[ACME.tenant, "company-smtp"]) as terminal:
        terminal.connection.sendall(bytes.fromhex(block("nlb-header.hex")))
        assert terminal.read_reply().startswith(b"220 ")
        assert terminal.ask("QUIT").startswith(b"221 ")
    session_of(proxy, "company-smtp", ELSEWHERE, place)


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("pieces", [0, 1, 60])
def test_a_header_in_front_of_tls(bed: Bed, proxy: Proxy, header: bytes, pieces: int) -> None:
    place = len(proxy.log)
    with secured(proxy.ports[ACME.tenant, "tls"], bed, before=header, pieces=pieces) as terminal:
        mail_to_acme(terminal)
    session_of(proxy, "tls", ELSEWHERE, place)


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_a_header_inside_tls(bed: Bed, proxy: Proxy, header: bytes) -> None:
    place = len(proxy.log)
    with secured(proxy.ports[ACME.tenant, "inside"], bed, inside=header) as terminal:
        mail_to_acme(terminal)
    session_of(proxy, "inside", ELSEWHERE, place)


def test_whoever_is_not_listed_hears_nothing(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.ports[ACME.tenant, "unlisted"]), timeout=30) as connection:
        connection.settimeout(30)
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    proxy.wait_for_log(
        "acme/unlisted: PROXY protocol: the connection from .* its address is not in proxy_protocol_from"
    )


@pytest.mark.parametrize("words", [b"EHLO client.test\r\n", b"PROXY TCP4 \x1b[31m 1.2.3.4 1 2\r\n"])
def test_whoever_has_no_good_header_hears_nothing(proxy: Proxy, words: bytes) -> None:
    with bare_socket(proxy.ports[ACME.tenant, "company-smtp"]) as terminal:
        terminal.connection.sendall(words)
        with suppress(ConnectionResetError):
            assert terminal.read_all() == b""
    assert "\x1b" not in proxy.log


# Mail servers


@pytest.mark.parametrize("name", TELLING)
@pytest.mark.parametrize(("header", "address"), [(V1, ELSEWHERE), (V6, "2001:db8::7")], ids=["IPv4", "IPv6"])
def test_postfix_is_told_where_the_client_is(bed: Bed, proxy: Proxy, name: str, header: bytes, address: str) -> None:
    with bare_socket(proxy.ports[ACME.tenant, name]) as terminal:
        terminal.connection.sendall(header)
        letter = mail_to_acme(terminal)
    assert bed.postfix.client_of(letter.message_id) == f"unknown[{address}]"
    assert bed.postfix.login_of(letter.message_id)[0] == TELLING[name][0]
    message = bed.mailbox(ACME).wait_for(letter.marker.encode())
    assert f"[{'IPv6:' if ':' in address else ''}{address}])".encode() in message


@pytest.mark.parametrize("name", TELLING)
def test_each_session_is_introduced_as_itself(bed: Bed, proxy: Proxy, name: str) -> None:
    """One after the other: no connection is used again."""
    for number in (8, 9):
        with bare_socket(proxy.ports[ACME.tenant, name]) as terminal:
            terminal.connection.sendall(V1.replace(b"113.7", b"113.%d" % number))
            letter = mail_to_acme(terminal, helo="")
        assert bed.postfix.client_of(letter.message_id) == f"unknown[203.0.113.{number}]"


def test_a_mail_server_that_does_not_offer_it_is_not_told(bed: Bed, proxy: Proxy) -> None:
    with bare_socket(proxy.ports[ACME.tenant, "not-offered"], source=CLIENT) as terminal:
        letter = mail_to_acme(terminal)
    assert "[127.0.0.1]" in bed.postfix.client_of(letter.message_id)


def test_a_mail_server_that_has_to_be_told_and_cannot_gets_no_login(proxy: Proxy) -> None:
    place = len(proxy.log)
    with bare_socket(proxy.ports[ACME.tenant, "not-there"]) as terminal:
        terminal.read_reply()
        assert terminal.ask("MAIL FROM:<a@b.test>") == b"451 4.3.3 Upstream lacks a required feature"
        assert terminal.ask("EHLO client.test") == b"421 4.3.3 Upstream lacks a required feature"
    proxy.wait_for_log("XCLIENT is required and the mail server does not offer it with ADDR", place)
    proxy.wait_for_log("ended: upstream_lacks_xclient", place)


@pytest.mark.parametrize("name", ["pop3", "pop3s"])
def test_dovecot_is_told_where_the_client_is(bed: Bed, proxy: Proxy, name: str) -> None:
    place = len(bed.dovecot.log)
    with bare_socket(proxy.ports[ACME.tenant, name], source=CLIENT) as terminal:
        assert terminal.read_line().startswith(b"+OK")
        assert terminal.ask("QUIT").startswith(b"+OK")
    login = f"Login: user=<{ACME.user}>, method=PLAIN, rip={CLIENT}, "
    until(lambda: login in bed.dovecot.log[place:], f"{login} in\n{bed.dovecot.log[place:]}")

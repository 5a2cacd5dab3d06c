"""Behind a balancer: nobody is talked to before a header, which comes from who is listed, whole, in time, and first."""

from ipaddress import ip_network

import pytest
from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import succeed
from twisted.internet.protocol import Protocol

from mailproxy.downstream.balancers import Balancers
from mailproxy.downstream.gate import AwaitingHeader
from mailproxy.downstream.rooms import Rooms
from mailproxy.downstream.turnedaway import FOLD_SECONDS
from mailproxy.session.actions import CloseDownstream, OpenUpstream, SendDownstream
from mailproxy.session.encryption import Encryption
from mailproxy.session.smtp import SMTPSession
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.introduction import Introduction
from mailproxy.wire.proxyprotocol import Addresses, Version, format_header
from tests.downstream.bench import CROWDED, HANDSHAKE, SHUTDOWN, BareStream, FakeSession, login
from tests.downstream.test_protocol_tls import Creator, surroundings

BALANCER, STRANGER = IPv4Address("TCP", "10.0.0.1", 4711), IPv4Address("TCP", "192.0.2.66", 6666)
CLIENT = Addresses("203.0.113.7", 51234, "198.51.100.1", 587)
V1, V2 = (format_header(version, CLIENT) for version in Version)
GREETING = b"220 proxy.test ESMTP mailproxy\r\n"
SECONDS, MOST = 5.0, 3
both_versions = pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])


def behind(*, versions=tuple(Version), inside_tls=False, encryption=Encryption.PLAINTEXT, **more):
    balancers = Balancers(
        versions, (ip_network("10.0.0.0/8"),), local=False, inside_tls=inside_tls, seconds=SECONDS, most=MOST
    )
    tls = {} if encryption is Encryption.PLAINTEXT else surroundings(encryption)
    return {"around": {"balancers": balancers, **tls, **more}}


def smtp(encryption=Encryption.PLAINTEXT):
    return lambda: SMTPSession(SMTPPolicy("proxy.test", encryption=encryption))


def connect(bench, *words, address=BALANCER):
    client, protocol = bench.connect(address)
    for each in words:
        client.say(each)
        bench.run()
    return client, protocol


def refusals(bench):
    return [line.partition(" was refused: ")[2] for line in bench.lines() if " was refused: " in line]


def quit_from(bench, client):
    client.say(b"QUIT\r\n")
    bench.run()
    assert client.hear().endswith(b"221 2.0.0 proxy.test closing connection\r\n")
    client.shutdown()
    bench.run()


# A good header


@both_versions
def test_the_session_begins_behind_the_header_and_is_the_clients(benches, header):
    bench = benches(smtp(), **behind())
    client, _ = connect(bench)
    assert client.hear() == b""
    assert bench.counters.sessions == 0
    client.say(header)
    bench.run()
    assert client.hear() == GREETING
    quit_from(bench, client)
    assert bench.outcomes() == {"quit": 1}
    assert bench.lines() == ["acme/dest: session {} from 203.0.113.7:51234: ended: quit".format(*numbers(bench))]


def numbers(bench):
    return [event["session"] for event in bench.events if "session" in event][:1]


@both_versions
def test_the_header_may_come_octet_by_octet(benches, header):
    bench = benches(smtp(), **behind())
    client, _ = connect(bench, *(header[place : place + 1] for place in range(len(header))))
    assert client.hear() == GREETING
    quit_from(bench, client)


@both_versions
def test_what_comes_along_with_the_header_is_the_clients(benches, header):
    bench = benches(smtp(), **behind())
    client, _ = connect(bench, header + b"QUIT\r\n")
    assert client.hear() == GREETING + b"221 2.0.0 proxy.test closing connection\r\n"
    client.shutdown()
    bench.run()
    assert bench.outcomes() == {"quit": 1}


@pytest.mark.parametrize("version", Version)
def test_where_the_header_says_nothing_of_the_client_the_connections_own_address_counts(benches, version):
    bench = benches(smtp(), **behind())
    client, _ = connect(bench, format_header(version, None))
    assert client.hear() == GREETING
    quit_from(bench, client)
    assert " from 10.0.0.1:4711: ended: quit" in bench.lines()[-1]


@pytest.mark.parametrize(
    ("tail", "reason"),
    [(b"", None), (b"x", b"500 "), (b"\x16\x03\x01", b"")],
)
def test_a_session_has_its_own_rules_for_what_is_behind(benches, tail, reason):
    bench = benches(smtp(), **behind())
    client, _ = connect(bench, V1, tail + b"\r\nQUIT\r\n")
    assert client.hear().startswith(GREETING)
    client.close()
    bench.run()
    assert sum(bench.outcomes().values()) == 1


# Limits


def test_the_limit_of_a_client_is_that_of_the_address_in_the_header(benches):
    bench = benches(smtp(), rooms=Rooms(per_client=1), **behind())
    first, _ = connect(bench, V1)
    other, _ = connect(bench, format_header(Version.V2, Addresses("203.0.113.8", 1, "198.51.100.1", 587)))
    late, _ = connect(bench, V2)
    assert (first.hear(), other.hear(), late.hear()) == (GREETING, GREETING, CROWDED)
    late.close()
    bench.run()
    assert bench.outcomes() == {"too_many_sessions": 1}
    assert "the client at 203.0.113.7:51234 was turned away" in bench.lines()[0]


def test_so_many_may_owe_their_header_and_no_more(benches):
    bench = benches(smtp(), **behind())
    waiting = [connect(bench) for _ in range(MOST)]
    assert bench.factory.buildProtocol(BALANCER) is None
    assert bench.outcomes() == {"too_many_sessions": 1}
    assert refusals(bench) == ["too many wait for their header already"]
    waiting[0][0].say(V1)
    bench.run()
    client, _ = connect(bench, V1)
    assert client.hear() == GREETING


def test_who_owes_its_header_has_no_place_yet(benches):
    bench = benches(smtp(), rooms=Rooms(sessions=1), **behind())
    for _ in range(MOST):
        connect(bench)
    assert not bench.rooms.taken


# No header


def test_who_is_not_listed_is_closed_at_once_and_never_taken_for_a_plain_client(benches):
    bench = benches(smtp(), **behind())
    assert bench.factory.buildProtocol(STRANGER) is None
    assert bench.factory.buildProtocol(UNIXAddress("/x")) is None
    assert bench.factory.buildProtocol(IPv6Address("TCP", "2001:db8::1", 1)) is None
    assert bench.outcomes() == {"proxy_peer_unlisted": 3}
    (line,) = bench.lines()
    expected = "PROXY protocol: the connection from 192.0.2.66:6666 was refused: its address is not in"
    assert line == f"acme/dest: {expected} proxy_protocol_from"
    bench.run(FOLD_SECONDS)
    last = bench.lines()[-1]
    expected = "PROXY protocol: more connections were refused, 2 from addresses that are not listed"
    assert last == f"acme/dest: {expected} (proxy_protocol_from)"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (b"EHLO me.test\r\n", "no PROXY header came first"),
        (b"\x16\x03\x01\x02\x00\x01", "no PROXY header came first, but TLS"),
        (b"PROXY TCP4 not-an-ip\x1b[31m 1.2.3.4 1 2\r\n", "a header of version 1 has something else where an address"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 smtp 2\r\n", "a header of version 1 has something else where a port"),
        (b"PROXY UNKNOWN" + b"x" * 200, "a header of version 1 is longer than 107 octets"),
        (V2[:12] + b"\x31" + V2[13:], "a binary header has another version than 2"),
    ],
)
def test_a_header_that_is_none_ends_the_connection_without_a_word(benches, words, reason):
    bench = benches(smtp(), **behind())
    client, _ = connect(bench, words)
    assert client.over
    assert client.incoming.reset
    (said,) = refusals(bench)
    assert said.startswith(reason)
    assert bench.outcomes() == {"proxy_header_refused": 1}
    assert not any("\x1b" in line or "not-an-ip" in line for line in bench.lines())


@pytest.mark.parametrize(("versions", "header"), [([Version.V1], V2), ([Version.V2], V1)])
def test_a_header_of_another_version_is_refused(benches, versions, header):
    bench = benches(smtp(), **behind(versions=versions))
    client, _ = connect(bench, header)
    assert client.over
    assert bench.outcomes() == {"proxy_header_refused": 1}


def test_who_says_nothing_in_time_is_cut_off_and_told_of(benches):
    """The balancer was not told to send a header: it waits for our greeting, and we for its header."""
    bench = benches(smtp(), **behind())
    client, _ = connect(bench)
    bench.run(SECONDS - 0.1)
    assert not client.over
    bench.run(0.2)
    assert client.over
    assert bench.outcomes() == {"proxy_header_missing": 1}
    assert refusals(bench) == ["no header within 5 s"]


@both_versions
def test_a_header_that_trickles_in_has_no_more_time(benches, header):
    bench = benches(smtp(), **behind())
    client, _ = connect(bench)
    for place in range(4):
        client.say(header[place : place + 1])
        bench.run(1.1)
    bench.run(1)
    assert client.over
    assert bench.outcomes() == {"proxy_header_refused": 1}


@pytest.mark.parametrize("end", ["close", "shutdown", "abort"])
def test_a_health_check_that_says_nothing_is_counted_and_not_logged(benches, end):
    bench = benches(smtp(), **behind())
    client, _ = connect(bench)
    getattr(client, end)()
    bench.run()
    assert bench.outcomes() == {"proxy_header_missing": 1}
    assert not bench.lines()
    assert not bench.clock.getDelayedCalls()


@pytest.mark.parametrize("end", ["close", "shutdown", "abort"])
def test_half_a_header_is_none(benches, end):
    bench = benches(smtp(), **behind())
    client, _ = connect(bench, V1[:20])
    getattr(client, end)()
    bench.run()
    assert bench.outcomes() == {"proxy_header_refused": 1}
    assert refusals(bench) == ["it ended inside its header"]


def test_many_that_are_refused_share_a_line(benches):
    bench = benches(smtp(), **behind())
    for _ in range(5):
        connect(bench, b"x")
    for _ in range(2):
        connect(bench)
    bench.run(SECONDS)
    bench.run(FOLD_SECONDS)
    first, late, more = bench.lines()
    assert first.endswith("no PROXY header came first")
    assert late.endswith(f"no header within {SECONDS:g} s")
    assert more.endswith("refused, 4 without a good header, 1 without a header in time (proxy_header_seconds)")


@pytest.mark.parametrize(
    ("ready", "outcome"),
    [(lambda self: 1 / 0, "internal_error"), (lambda self: self.cut_short("shutdown") or 1 / 0, "shutdown")],
)
def test_an_exception_that_nobody_foresaw_ends_that_connection_alone(benches, monkeypatch, ready, outcome):
    bench = benches(smtp(), **behind())
    monkeypatch.setattr(AwaitingHeader, "ready", ready)
    client, _ = connect(bench)
    assert client.over
    assert bench.outcomes() == {outcome: 1}
    assert bench.tracebacks()[0].check(ZeroDivisionError)
    bench.events.clear()


# TLS


class TLSClient(Protocol):
    """Begins TLS behind the words in plain text; what it says then goes through it."""

    def __init__(self, first=b"", words=b""):
        self.first, self.words = first, words
        self.received = b""

    def connectionMade(self):
        if self.first:
            self.transport.write(self.first)
        self.transport.startTLS(Creator(SSL.Context(SSL.TLS_CLIENT_METHOD)))
        self.transport.write(self.words)

    def dataReceived(self, data):
        self.received += data


def join(bench, client):
    protocol = bench.factory.buildProtocol(BALANCER)
    bench.network.join(client, protocol, as_tcp=True)
    bench.run()
    return client


@both_versions
@pytest.mark.parametrize("read_octets", [65536, 1, 7])
def test_the_header_in_front_of_implicit_tls(benches, header, read_octets):
    """It arrives together with the first octets of the handshake, which are not the gate's to read."""
    bench = benches(smtp(Encryption.IMPLICIT), **behind(encryption=Encryption.IMPLICIT))
    bench.network.read_octets = read_octets
    client = join(bench, TLSClient(header, b"QUIT\r\n"))
    assert client.received == GREETING + b"221 2.0.0 proxy.test closing connection\r\n"
    client.transport.loseConnection()
    bench.run()
    assert bench.outcomes() == {"quit": 1}
    assert "from 203.0.113.7:51234" in bench.lines()[-1]


@both_versions
def test_the_header_inside_implicit_tls(benches, header):
    bench = benches(smtp(Encryption.IMPLICIT), **behind(encryption=Encryption.IMPLICIT, inside_tls=True))
    client = join(bench, TLSClient(words=header + b"QUIT\r\n"))
    assert client.received == GREETING + b"221 2.0.0 proxy.test closing connection\r\n"
    client.transport.loseConnection()
    bench.run()
    assert bench.outcomes() == {"quit": 1}
    assert "from 203.0.113.7:51234" in bench.lines()[-1]


@pytest.mark.parametrize(
    ("inside_tls", "client", "reason"),
    [
        (False, TLSClient(words=V1), "no PROXY header came first, but TLS"),
        (True, TLSClient(V1), "no TLS in front of its header: "),
        (True, TLSClient(words=b"EHLO x\r\n"), "no PROXY header came first"),
    ],
)
def test_the_other_order_is_refused(benches, inside_tls, client, reason):
    bench = benches(smtp(Encryption.IMPLICIT), **behind(encryption=Encryption.IMPLICIT, inside_tls=inside_tls))
    join(bench, client)
    assert client.received == b""
    assert bench.outcomes() == {"proxy_header_refused": 1}
    assert refusals(bench)[0].startswith(reason)


def test_a_handshake_in_front_of_the_header_has_its_own_time(benches):
    bench = benches(smtp(Encryption.IMPLICIT), **behind(encryption=Encryption.IMPLICIT, inside_tls=True))
    client, _ = connect(bench)
    bench.run(HANDSHAKE - 1)
    assert not client.over
    bench.run(2)
    assert client.over
    assert bench.outcomes() == {"proxy_header_refused": 1}


@pytest.mark.parametrize("inside_tls", [False, True])
def test_whoever_finds_no_place_is_told_so_through_tls(benches, inside_tls):
    more = behind(encryption=Encryption.IMPLICIT, inside_tls=inside_tls)
    bench = benches(smtp(Encryption.IMPLICIT), rooms=Rooms(per_client=1), **more)
    first, second = (join(bench, TLSClient(words=V1) if inside_tls else TLSClient(V1)) for _ in range(2))
    assert (first.received, second.received) == (GREETING, CROWDED)
    for each in (first, second):
        each.transport.loseConnection()
    bench.run()


@pytest.mark.parametrize("seen_off", [0, 1000])
def test_a_crowd_that_is_turned_away_behind_tls_is_told_so(benches, seen_off):
    bench = benches(
        smtp(Encryption.IMPLICIT),
        rooms=Rooms(sessions=1),
        **behind(encryption=Encryption.IMPLICIT, inside_tls=True),
    )
    places = [bench.rooms.see_off() for _ in range(seen_off)]
    first, second = (join(bench, TLSClient(words=V1)) for _ in range(2))
    assert second.received == CROWDED
    for each in (first, second):
        each.transport.loseConnection()
    bench.run()
    for place in places:
        if place is not None:
            place.leave()


# The end


def test_whoever_has_its_header_coming_is_told_of_a_drain_behind_it(benches):
    bench = benches(smtp(), **behind())
    client, _ = connect(bench)
    drained = bench.factory.drain()
    bench.run()
    assert not drained.called
    client.say(V1)
    bench.run()
    assert client.hear() == SHUTDOWN
    client.close()
    bench.run()
    assert drained.called
    assert bench.outcomes() == {"shutdown": 1}


def test_a_drain_does_not_wait_for_who_says_nothing(benches):
    bench = benches(smtp(), **behind())
    connect(bench)
    drained = bench.factory.drain()
    bench.run(SECONDS + 0.1)
    assert drained.called


def test_a_drain_ends_handshakes_in_front_of_a_header(benches):
    bench = benches(smtp(Encryption.IMPLICIT), **behind(encryption=Encryption.IMPLICIT, inside_tls=True))
    connect(bench)
    drained = bench.factory.drain()
    bench.run()
    assert drained.called
    assert bench.outcomes() == {"shutdown": 1}


def test_who_comes_in_a_drain_and_is_not_let_in_leaves_nothing_behind(benches):
    bench = benches(smtp(), **behind())
    assert bench.factory.drain().called
    assert bench.factory.buildProtocol(STRANGER) is None
    connect(bench, b"x")
    assert bench.outcomes() == {"proxy_peer_unlisted": 1, "proxy_header_refused": 1}
    assert not bench.lines()
    assert not bench.clock.getDelayedCalls()


def test_a_stop_ends_all_that_wait(benches):
    bench = benches(smtp(), **behind())
    clients = [connect(bench)[0] for _ in range(MOST)]
    bench.factory.stop()
    stopped = bench.factory.stop()
    bench.run()
    assert stopped.called
    assert all(client.over for client in clients)
    assert bench.outcomes() == {"shutdown": MOST}


# What the mail server is told


@pytest.mark.parametrize(
    ("words", "balancers", "addresses"),
    [
        (V1, True, CLIENT),
        (b"", False, Addresses("127.0.0.1", 40001, "127.0.0.1", 2525)),
        (format_header(Version.V1, None), True, Addresses("127.0.0.1", 40001, "127.0.0.1", 2525)),
    ],
)
def test_whoever_is_to_be_told_of_the_client_is(benches, words, balancers, addresses):
    told = []
    session = FakeSession(
        receive_downstream=lambda chunk: [OpenUpstream()],
        upstream_opened=lambda capabilities: [SendDownstream(b"ready"), CloseDownstream("quit")],
    )
    session.helo = (b"me.test", True)

    def introduce(client):
        told.append(client)
        stream = BareStream(bench.clock, login(), over_tls=False)
        bench.network.plug(stream)
        return succeed(stream)

    around = behind(introduce=introduce)["around"]
    bench = benches(session, around=around if balancers else {"introduce": introduce})
    client, _ = connect(bench, words, b"x")
    assert client.hear() == b"ready"
    assert told == [Introduction(addresses, b"me.test", extended=True)]
    assert not bench.openings
    client.close()
    bench.run()

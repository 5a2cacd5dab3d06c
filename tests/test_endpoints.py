"""Endpoint strings: what may be listened on, and what gets in each other's way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.endpoints import _parseServer, serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor

from mailproxy.config import with_loopback_default
from mailproxy.config.endpoints import BACKLOG, KINDS, bound_endpoint, opened_endpoint, parse_endpoint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp:1587", "tcp:1587:interface=127.0.0.1"),
        ("tcp:port=1587", "tcp:port=1587:interface=127.0.0.1"),
        ("tcp:1587:backlog=9", "tcp:1587:backlog=9:interface=127.0.0.1"),
        ("tcp:1587:interface=0.0.0.0", "tcp:1587:interface=0.0.0.0"),
        ("tcp:1587:interface=\\:\\:1", "tcp:1587:interface=\\:\\:1"),
        ("tcp6:1587", "tcp6:1587:interface=\\:\\:1"),
        ("ssl:995:privateKey=/k.pem", "ssl:995:privateKey=/k.pem:interface=127.0.0.1"),
        ("unix:/run/mailproxy/smtp", "unix:/run/mailproxy/smtp"),
        ("systemd:INET:name=smtp", "systemd:INET:name=smtp"),
    ],
)
def test_nobody_but_this_machine_gets_in_unless_an_interface_is_named(text, expected):
    assert with_loopback_default(text) == expected
    assert parse_endpoint(text) == parse_endpoint(expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must begin with"),
        ("1587", "must begin with"),
        ("tcp=1587", "must begin with"),
        ("udp:1587", "must begin with"),
        ("haproxy:tcp:1587", "haproxy: greets before it knows whom; write what stands behind it, and proxy_protocol"),
        ("tls:/etc/certificates:tcp:1587", "must begin with"),
        ("tcp", "tcp needs port="),
        ("tcp:", "port must be a number from 0 to 65535"),
        ("tcp:smtp", "port must be a number from 0 to 65535"),
        ("tcp:-1", "port must be a number from 0 to 65535"),
        ("tcp:65536", "port must be a number from 0 to 65535"),
        ("tcp:\u0661", "port must be a number from 0 to 65535"),
        ("tcp:1:127.0.0.1", "must be tcp:PORT and then KEY=VALUE"),
        ("tcp:1:port=2", "port is given twice"),
        ("tcp:1:interfce=127.0.0.1", "tcp knows port, interface, backlog and nothing else"),
        ("tcp:1:interface=", "interface must be an IP address"),
        ("tcp:1:interface=192.0.2", "interface must be an IP address"),
        ("tcp:1:interface=localhost", "interface must be an IP address"),
        ("tcp:1:interface=::1", "must be tcp:PORT and then KEY=VALUE"),
        ("tcp6:1:interface=127.0.0.1", "interface must be an IP address"),
        ("tcp:1:backlog=0", "backlog must be a number from 1 to 99999"),
        ("tcp:1\\", "ends in a backslash"),
        ("ssl:1", "ssl needs privateKey="),
        ("ssl:1:privateKey=key.pem", "privateKey must be an absolute path"),
        ("unix:", "address must be an absolute path"),
        ("unix:run/smtp", "address must be an absolute path"),
        ("unix:/run/smtp:mode=abc", "mode must be an octal file mode"),
        ("systemd:INET", "systemd needs either name= or index="),
        ("systemd:INET:name=a:index=0", "systemd needs either name= or index="),
        ("systemd:IPX:index=0", "domain must be INET, INET6 or UNIX"),
    ],
)
def test_what_cannot_be_listened_on_is_refused_with_a_reason(text, reason):
    with pytest.raises(ValueError, match="^" + reason.replace("(", "\\(")):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("one", "other", "collides"),
    [
        ("tcp:25", "tcp:25:interface=127.0.0.1", True),
        ("tcp:25", "ssl:0025:privateKey=/k", True),
        ("tcp:25", "tcp:26", False),
        ("tcp:0", "tcp:0", False),
        ("tcp:25:interface=127.0.0.2", "tcp:25", False),
        ("tcp:25:interface=0.0.0.0", "tcp:25", True),
        ("tcp:25:interface=0.0.0.0", "tcp6:25", False),
        ("tcp6:25:interface=\\:\\:", "tcp:25", True),
        ("tcp6:25:interface=0\\:0\\:0\\:0\\:0\\:0\\:0\\:1", "tcp6:25", True),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
        ("unix:/a:mode=600", "unix:/a:mode=660", True),
        ("systemd:INET:name=a", "systemd:domain=INET:name=a", True),
        ("systemd:INET:name=a", "systemd:INET:name=b", False),
        ("unix:/a", "tcp:25", False),
    ],
)
def test_two_listeners_in_one_place_collide(one, other, collides):
    assert parse_endpoint(one).collides(parse_endpoint(other)) is collides
    assert parse_endpoint(other).collides(parse_endpoint(one)) is collides


@pytest.mark.parametrize(
    "text", ["tcp:1587:backlog=7", "tcp6:1587", "tcp:1:interface=\\:\\:1", "unix:/run/a\\:b:mode=600"]
)
def test_twisted_takes_what_we_let_pass(text):
    assert serverFromString(MemoryReactor(), with_loopback_default(text))


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("tcp:1587", f"tcp:1587:backlog={BACKLOG}"),
        ("tcp6:1587", f"tcp6:1587:backlog={BACKLOG}"),
        ("unix:/run/a\\:b:mode=600", f"unix:/run/a\\:b:mode=600:backlog={BACKLOG}"),
        ("unix:/run/smtp", f"unix:/run/smtp:mode=660:backlog={BACKLOG}"),
        ("unix:/run/smtp:backlog=5", "unix:/run/smtp:backlog=5:mode=660"),
        ("tcp:1587:backlog=7", "tcp:1587:backlog=7"),
        ("systemd:INET:name=smtp", "systemd:INET:name=smtp"),
        ("ssl:995:privateKey=/k", f"tcp:port=995:interface=127.0.0.1:backlog={BACKLOG}"),
        ("ssl:995:privateKey=/k:certKey=/c:backlog=7", "tcp:port=995:interface=127.0.0.1:backlog=7"),
        ("ssl:995:privateKey=/k:interface=\\:\\:1", f"tcp6:port=995:interface=\\:\\:1:backlog={BACKLOG}"),
    ],
)
def test_what_is_bound_has_a_long_queue_and_no_tls(text, bound):
    assert bound_endpoint(text) == bound
    assert parse_endpoint(bound).settings.items() >= {
        (key, value) for key, value in parse_endpoint(text).settings.items() if key in KINDS["tcp"]
    }


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("tcp:0", "tcp:1587"),
        ("tcp:00:interface=10.0.0.1:backlog=70", "tcp:1587:interface=10.0.0.1:backlog=70"),
        ("tcp6:interface=\\:\\:0:port=0", "tcp6:interface=\\:\\:0:port=1587"),
        ("tcp:25", "tcp:25"),
        ("unix:/run/a\\:0", "unix:/run/a\\:0"),
        ("systemd:INET:index=0", "systemd:INET:index=0"),
    ],
)
def test_where_any_port_would_do_the_one_it_got_is_told(text, opened):
    assert opened_endpoint(text, 1587) == opened


@pytest.mark.parametrize(
    "text",
    ["tcp:1587:backlog=7", "tcp6:1587", "ssl:0:privateKey=/k:interface=\\:\\:1", "unix:/run/a\\:b:mode=600"],
)
def test_twisted_takes_what_is_bound(text):
    reactor = MemoryReactor()
    serverFromString(reactor, bound_endpoint(with_loopback_default(text))).listen(Factory())
    (bound,) = reactor.tcpServers or reactor.unixServers
    assert bound[2] == (7 if "backlog" in text else BACKLOG)


PARTS = st.sampled_from(
    [*KINDS, *(key for keys in KINDS.values() for key in keys), ":", "=", "\\", "1", "127.0.0.1", "/a"]
)


@settings(max_examples=200)
@given(st.lists(PARTS, max_size=12).map("".join))
def test_what_we_let_pass_twisted_reads_as_we_do(text):
    try:
        endpoint = parse_endpoint(text)
    except ValueError:
        return
    if endpoint.kind in {"tcp", "unix"}:
        _, (first, _), keywords = _parseServer(with_loopback_default(text), None)
        tcp = endpoint.kind == "tcp"
        assert first == (int(endpoint.settings["port"]) if tcp else endpoint.settings["address"])
        assert keywords.get("interface") == endpoint.settings.get("interface")

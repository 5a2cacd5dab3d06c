"""XCLIENT: what is said of a client, in commands that a mail server takes, whatever the client calls itself."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.wire.introduction import Introduction
from mailproxy.wire.proxyprotocol import Addresses
from mailproxy.wire.xclient import MAX_COMMAND_OCTETS, MAX_HELO_OCTETS, format_commands, format_xtext, parse_attributes

ALL = parse_attributes(["NAME", "ADDR", "PROTO", "HELO", "REVERSE_NAME", "PORT", "LOGIN", "DESTADDR", "DESTPORT"])
V4 = Addresses("203.0.113.7", 51234, "198.51.100.1", 587)
V6 = Addresses("2001:db8::7", 51234, "2001:db8::1", 587)


@pytest.mark.parametrize(
    ("client", "offered", "commands"),
    [
        (
            Introduction(V4, b"me.test", extended=True),
            ALL,
            [
                b"XCLIENT NAME=[UNAVAILABLE] ADDR=203.0.113.7 PORT=51234 PROTO=ESMTP HELO=me.test %s"
                % b"DESTADDR=198.51.100.1 DESTPORT=587"
            ],
        ),
        (
            Introduction(V6, b"me.test"),
            {"NAME", "ADDR", "PROTO", "HELO"},
            [b"XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::7 PROTO=SMTP HELO=me.test"],
        ),
        (Introduction(Addresses("fe80::7%eth0", 1, "fe80::1", 2)), {"ADDR"}, [b"XCLIENT ADDR=IPV6:fe80::7"]),
        (
            Introduction(None),
            {"ADDR", "PORT", "HELO", "DESTADDR", "DESTPORT"},
            [b"XCLIENT ADDR=%s PORT=%s HELO=%s DESTADDR=%s DESTPORT=%s" % ((b"[UNAVAILABLE]",) * 5)],
        ),
        (Introduction(V4, b"x+y=z \r\nQUIT\xff"), {"HELO"}, [b"XCLIENT HELO=x+2By+3Dz+20+0D+0AQUIT+FF"]),
        (Introduction(V4, b"a" * MAX_HELO_OCTETS), {"HELO"}, [b"XCLIENT HELO=" + b"a" * MAX_HELO_OCTETS]),
        (Introduction(V4, b"a" * (MAX_HELO_OCTETS + 1)), {"HELO"}, [b"XCLIENT HELO=[UNAVAILABLE]"]),
        (Introduction(V4, b"\xff" * 200), {"HELO"}, [b"XCLIENT HELO=[UNAVAILABLE]"]),
        (Introduction(V4), {"LOGIN", "REVERSE_NAME", "X"}, []),
        (Introduction(V4), (), []),
    ],
)
def test_commands(client, offered, commands):
    assert format_commands(client, offered) == commands


def test_what_does_not_fit_into_one_command_comes_in_another():
    first, second = format_commands(Introduction(V6, b"+" * 150), ALL)
    assert b" ADDR=" in first
    assert b" HELO=+2B" in second
    assert b" DESTADDR=" in second
    longest = b"\xff" * ((MAX_COMMAND_OCTETS - len(b"XCLIENT HELO=\r\n")) // 3)
    assert format_commands(Introduction(V4, longest), {"HELO"}) == [b"XCLIENT HELO=" + b"+FF" * len(longest)]


@pytest.mark.parametrize(
    ("parameters", "names"), [(["name", "Addr"], {"NAME", "ADDR"}), ([], set()), (["ADDR", "ADDR"], {"ADDR"})]
)
def test_attributes(parameters, names):
    assert parse_attributes(parameters) == names


@settings(max_examples=200)
@given(st.binary(max_size=300), st.sets(st.sampled_from(sorted(ALL))))
def test_whatever_a_client_calls_itself_each_command_is_one_line_of_attributes(helo, offered):
    for command in format_commands(Introduction(V6, helo), offered):
        assert len(command) + 2 <= MAX_COMMAND_OCTETS
        assert re.fullmatch(rb"XCLIENT( [A-Z]+=[!-<>-~]+)+", command)
        names = re.findall(rb" ([A-Z]+)=", command)
        assert {name.decode() for name in names} <= offered


@settings(max_examples=200)
@given(st.binary(max_size=100))
def test_xtext_is_what_it_was(octets):
    text = format_xtext(octets)
    assert re.fullmatch(r"([!-*,-<>-~]|\+[0-9A-F]{2})*", text)
    decoded = re.sub(r"\+(..)", lambda found: chr(int(found[1], 16)), text).encode("latin-1")
    assert decoded == octets

"""
Targets: the PROXY header, and what a mail server is told of clients with XCLIENT.
"""

from __future__ import annotations

import re

from mailproxy.errors import BadProxyHeader
from mailproxy.wire.introduction import Introduction
from mailproxy.wire.proxyprotocol import MAX_V2_OCTETS, Addresses, HeaderParser, Version, format_header
from mailproxy.wire.xclient import MAX_COMMAND_OCTETS, format_commands
from tests.fuzz.target import options, target, the_same_for_every_cut

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
VERSIONS = ([Version.V1], [Version.V2], list(Version))
ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "DESTADDR", "DESTPORT")
CLIENT = Addresses("2001:db8::7", 51234, "198.51.100.1", 587)


def read_header(chunks, versions):
    """The header and what is behind it, or why there is none."""
    parser, found = HeaderParser(versions), None
    for chunk in chunks:
        parser.feed(chunk)
        try:
            found = found or parser.next_header()
        except BadProxyHeader as error:
            return str(error)
        if found is None:
            assert len(parser.beginning) < MAX_V2_OCTETS
            assert parser.wanted > 0
    return found, parser.take_all()


def read_no_more_than_wanted(octets, versions):
    """The same by who asks for no octet too many."""
    parser, rest = HeaderParser(versions), octets
    while rest:
        chunk, rest = rest[: parser.wanted], rest[parser.wanted :]
        parser.feed(chunk)
        try:
            found = parser.next_header()
        except BadProxyHeader:
            return None
        if found is not None:
            assert parser.take_all() == b"", "it asked for what is not the header's"
            return found, rest
    return None


@target(
    "proxy_header",
    b"PROXY ",
    b"TCP4 ",
    b"TCP6 ",
    b"UNKNOWN",
    b"1.2.3.4 ",
    b"::1 ",
    b"\r\n",
    SIGNATURE,
    b"\x21\x11\0\x0c",
)
def check_proxy_header(data):
    (choice,), octets = options(data, 1)
    versions = VERSIONS[choice % len(VERSIONS)]
    read = the_same_for_every_cut(octets, lambda chunks: read_header(chunks, versions))
    if isinstance(read, str):
        assert read.isprintable()
        return
    header, _ = read
    if header is not None:
        assert read_no_more_than_wanted(octets, versions) == read
        again = HeaderParser(versions)
        again.feed(format_header(header.version, header.addresses))
        assert again.next_header() == header


@target("xclient", b"+", b"=", b" ", b"\r\n", b"[UNAVAILABLE]")
def check_xclient(data):
    (choice,), octets = options(data, 1)
    offered = {name for place, name in enumerate(ATTRIBUTES) if choice >> place & 1}
    commands = format_commands(Introduction(CLIENT, octets, extended=bool(choice & 1)), offered)
    said = b"".join(commands)
    for command in commands:
        assert len(command) + 2 <= MAX_COMMAND_OCTETS
        assert re.fullmatch(rb"XCLIENT( [A-Z]+=[!-<>-~]+)+", command)
    assert [name for name in ATTRIBUTES if f" {name}=".encode() in said] == [
        name for name in ATTRIBUTES if name in offered
    ]

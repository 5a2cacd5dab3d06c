"""
XCLIENT, with which a mail server that trusts us takes our client for its own.

The command is sent as often as it takes for all that there is to say.  What is said was not chosen by us: values are
encoded, so that no octet of a client ends an attribute or the line.

Source: Postfix, `XCLIENT_README`; RFC 3461 §4 (xtext).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_address
from typing import Literal

from mailproxy.wire.introduction import Introduction

MAX_COMMAND_OCTETS = 512
"""Of one command, CRLF included; RFC 5321 §4.5.3.1.4."""

MAX_HELO_OCTETS = 255
"""A longer name is no name of a host, and is not passed on."""

Telling = Literal["off", "offered", "required"]
"""Whether a mail server is told of the client: never, if it offers to hear of it, or in any case."""

UNAVAILABLE = "[UNAVAILABLE]"
"""
What is said of a value that is not known.  `[TEMPUNAVAIL]`, for what may be known later, is never said: of a client's
name, which nobody here looks up, it would promise too much.
"""

_VERB = b"XCLIENT"
_ROOM = MAX_COMMAND_OCTETS - len(_VERB) - len(b"\r\n")


def parse_attributes(parameters: Iterable[str]) -> frozenset[str]:
    """The names of attributes that stand behind the keyword in a reply to EHLO."""
    return frozenset(name.upper() for name in parameters)


def format_commands(client: Introduction, offered: Collection[str]) -> list[bytes]:
    """
    The commands that say what is known of a client, without CRLF; none where nothing of it is wanted.

    Args:
        client: whom it is about.
        offered: the attributes that the mail server understands.
    """
    commands: list[bytes] = []
    for name, value in _attributes(client):
        if name not in offered:
            continue
        attribute = f" {name}={value}".encode("ascii")
        if not commands or len(commands[-1]) + len(attribute) + len(b"\r\n") > MAX_COMMAND_OCTETS:
            commands.append(_VERB)
        commands[-1] += attribute
    return commands


def format_xtext(octets: bytes) -> str:
    """The octets as xtext: whatever could end a value stands in it as `+XX`."""
    return "".join(chr(octet) if 33 <= octet <= 126 and octet not in b"+=" else f"+{octet:02X}" for octet in octets)


def _attributes(client: Introduction) -> Iterator[tuple[str, str]]:
    known = client.addresses
    yield "NAME", UNAVAILABLE
    yield "ADDR", UNAVAILABLE if known is None else _address(known.source)
    yield "PORT", UNAVAILABLE if known is None else str(known.source_port)
    yield "PROTO", "ESMTP" if client.extended else "SMTP"
    yield "HELO", _helo(client.helo)
    yield "DESTADDR", UNAVAILABLE if known is None else _address(known.destination)
    yield "DESTPORT", UNAVAILABLE if known is None else str(known.destination_port)


def _address(text: str) -> str:
    address = ip_address(text.partition("%")[0])
    return str(address) if address.version == 4 else f"IPV6:{address}"


def _helo(octets: bytes) -> str:
    value = format_xtext(octets)
    fits = 0 < len(octets) <= MAX_HELO_OCTETS and len(f" HELO={value}") <= _ROOM
    return value if fits else UNAVAILABLE

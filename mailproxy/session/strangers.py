"""
Other protocols on the port of a mail protocol: what their first words look like.

A web page can make a browser send any text it likes to a port of this machine, behind the first line of a request.
Whoever answers line by line would carry out the commands in it.
"""

from __future__ import annotations

import re

# Methods of HTTP, and the first line of SSH.
_FIRST_WORD = re.compile(
    rb"[ \t]*(?:(?:GET|POST|HEAD|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|PRI)(?!\S)|SSH-[0-9.])", re.IGNORECASE
)


def begins_other_protocol(line: bytes) -> bool:
    """Whether a line, or as much of it as there is, is the beginning of HTTP or SSH, and no command."""
    return _FIRST_WORD.match(line) is not None


def is_binary(octet: int) -> bool:
    """Whether no line of a mail protocol begins with this octet: a TLS or SOCKS hello does."""
    return octet >= 0x80 or (octet < 0x20 and octet not in b"\r\n\t")

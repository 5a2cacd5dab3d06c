"""
Mail data, made up and judged: where it ends, and what the documentation says becomes of stray newlines.

This is said a second time here, message by message, to be compared with what the proxy does chunk by chunk.
"""

from __future__ import annotations

import re

from attrs import define

_LINE = re.compile(rb"([^\r\n]*)(\r\n|\r|\n|\Z)")


def end_of_data(octets, known=0):
    """Where the final `.` CRLF begins; None where there is none, as in the first octets that are `known` already."""
    if octets[:3] == b".\r\n":
        return 0
    found = octets.find(b"\r\n.\r\n", max(0, known - 4))
    return None if found < 0 else found + 2


def normalized(body):
    """Every line ended by CRLF; a line that begins with a dot only because of that, or is a lone dot, has one more."""
    lines, before = [], b"\r\n"
    for found in _LINE.finditer(body):
        line, end = found.groups()
        if not line and not end:
            break
        lone = line == b"." and before == b"\r\n" and end in (b"\r", b"\n")
        if line.startswith(b".") and (before != b"\r\n" or lone):
            line = b"." + line
        lines.append(line + (b"\r\n" if end else b""))
        before = end
    return b"".join(lines)


def octets_of(body):
    """How large the message is: without stuffed dots."""
    return len(body) - body.count(b"\r\n.") - body.startswith(b".")


@define(eq=False)
class Message:
    """
    What a client sends as mail data, `body` up to its final dot.

    `said_until` is how much the client will have sent when the dot is through.
    """

    client: object
    path: bytes
    body: bytes
    said_until: int = 0

    @property
    def complete(self):
        """Whether the client has sent all of it."""
        return 0 < self.said_until <= self.client.sent

    @property
    def wire(self):
        return self.body + b".\r\n"


_WORDS = (b"Dear", b"colleague", b"the invoice", b"..", b".", b"1,50", b"\xc3\xa9t\xc3\xa9", b"=20", b"QUIT", b"DATA")
_EVIL = (
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r.\r", b"\n.\r", b"\r.\n", b"\r\n.\r", b".\n", b"\r", b"\n",
    b"\r\n..\r\n", b"\r\r\n", b"\n\n", b".", b"\r\n", b"\n..\r\n", b"\r.", b"\r\n.x\r\n",
)  # fmt: skip


def compose(random, client, path, *, wild, size, large=False):
    """Mail data of about this size, or a `large` lot; `wild` has stray newlines and would-be ends in it."""
    mark = f"Marker: {client.name} {path.decode()}\r\n".encode()
    pieces = [mark, b"some words\r\n" * (7000 if large else 0)]
    while size > 0:
        piece = _wild(random, client) if wild and random.random() < 0.5 else _line(random)
        pieces.append(piece)
        size -= len(piece)
    body = b"".join(pieces)
    end = end_of_data(body)
    if end is not None:
        body = body[:end]
    if wild and random.random() < 0.1:
        body += b"a\0b\r\n"
    if not body.endswith(b"\r\n"):
        body += b"x\r\n"
    return body


def _line(random):
    line = b" ".join(random.choices(_WORDS, k=random.randint(0, 8)))
    if line.startswith(b"."):
        line = b"." + line
    return line * (200 if random.random() < 0.01 else 1) + b"\r\n"


def _wild(random, client):
    if random.random() < 0.2:
        evil = f"MAIL FROM:<evil.{client.name}@evil.test>\r\nRCPT TO:<evil@evil.test>\r\nDATA\r\n".encode()
        return random.choice(_EVIL) + evil
    return b"".join(random.choices(_EVIL, k=random.randint(1, 4)))

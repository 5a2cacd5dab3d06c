"""
Messages that nobody can damage unseen: each has its own marker, size and text.
"""

from __future__ import annotations

import hashlib
import math
import random
import re

from attrs import frozen

_LINES = 4000
_SMALLEST, _LARGEST = 512, 2 << 20
_WORDS = ("order", "invoice", "Grüße", "delivery", "reminder", ".", "..", "naïve", "=20", "From ", "0123456789")
_BEGIN = b"X-Chaos: "


def digest_of(content: bytes) -> str:
    """What a message with LF line ends is told by."""
    return hashlib.sha256(content).hexdigest()


@frozen
class Letter:
    """A message with LF line ends."""

    marker: str
    content: bytes

    @property
    def digest(self) -> str:
        """What it is told by."""
        return digest_of(self.content)

    @property
    def wire(self) -> bytes:
        """As it goes over the wire: CRLF, dots doubled, without the end of mail data."""
        return re.sub(rb"(?m)^\.", b"..", self.content).replace(b"\n", b"\r\n")


class Stationery:
    """Makes letters out of a supply of lines; the same seed has the same supply."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._lines = [_line(chance) for _ in range(_LINES)]

    def letter(self, marker: str, sender: str, recipients: list[str]) -> Letter:
        """A letter of a size by chance, most of them small."""
        size = self._size()
        lines, length = [_header(marker, sender, recipients)], 0
        place = self._chance.randrange(_LINES)
        while length < size:
            line = self._lines[place % _LINES]
            lines.append(line)
            length += len(line)
            place += 1
        return Letter(marker, b"".join(lines))

    def _size(self) -> int:
        most = self._chance.choices((16 << 10, 256 << 10, _LARGEST), (85, 12, 3))[0]
        return int(math.exp(self._chance.uniform(math.log(_SMALLEST), math.log(most))))


@frozen
class Found:
    """A message that a mail server had: what it was sent as, and what the mail server noted about it."""

    marker: str
    queue_id: str
    login: str
    digest: str


def find(delivered: bytes) -> Found | None:
    """What a delivered message (LF line ends) tells; None for one that is none of ours."""
    start = delivered.find(_BEGIN)
    if start < 0:
        return None
    content, noted = delivered[start:], delivered[:start]
    marker = content[len(_BEGIN) : content.find(b"\n")].decode()
    queue_id = re.search(rb"\swith E?SMTP\w* id (\w+)", noted)
    login = re.search(rb"\(Authenticated sender: ([^)]*)\)", noted)
    return Found(marker, _text(queue_id), _text(login), digest_of(content))


def _text(match: re.Match[bytes] | None) -> str:
    return match[1].decode() if match else ""


def _line(chance: random.Random) -> bytes:
    """Most lines are short, some empty, some begin with a dot, a few are as long as a line may be."""
    length = chance.choices((0, 78, 990), (10, 80, 10))[0]
    text = ""
    while len(text) < length:
        text += chance.choice(_WORDS) + " "
    return text.encode()[:length].decode(errors="ignore").encode() + b"\n"


def _header(marker: str, sender: str, recipients: list[str]) -> bytes:
    lines = [
        f"X-Chaos: {marker}",
        f"Message-ID: <{marker}@chaos.test>",
        f"From: {sender}",
        f"To: {', '.join(recipients)}",
        f"Subject: {marker}",
        "Date: Mon, 03 Mar 2025 10:00:00 +0000",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
    ]
    return "\n".join([*lines, "", ""]).encode()

"""
Messages that can be told apart.
"""

from __future__ import annotations

import uuid

from attrs import field, frozen

SENDER = "sender@transparentproxy.test"

_BODY = """\
This is {marker}.
.one dot
..two dots
.

Grüße, and a line that is long: {long}

From here on it ends in empty lines.

"""


def _new_marker() -> str:
    return f"mark-{uuid.uuid4().hex}"


@frozen
class Letter:
    """One message for `recipient`; its marker is in its Message-ID and in its body, and nowhere else in the world."""

    recipient: str
    marker: str = field(factory=_new_marker)
    sender: str = SENDER

    @property
    def message_id(self) -> str:
        """What the mail server logs."""
        return f"{self.marker}@client.test"

    @property
    def body(self) -> bytes:
        """All after the header, with LF line ends: dots, 8-bit text, a long line, empty lines at the end."""
        return _BODY.format(marker=self.marker, long="x" * 900).encode()

    @property
    def octets(self) -> bytes:
        """The message with LF line ends, as programs read it from a file."""
        header = [
            f"Message-ID: <{self.message_id}>",
            f"From: {self.sender}",
            f"To: {self.recipient}",
            "Subject: integration test",
            "Date: Mon, 03 Mar 2025 10:00:00 +0000",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: 8bit",
        ]
        return "\n".join([*header, "", ""]).encode() + self.body

    @property
    def raw(self) -> bytes:
        """The message with CRLF line ends, as libraries take it."""
        return self.octets.replace(b"\n", b"\r\n")


def body_of(message: bytes) -> bytes:
    """What follows the header of a message with LF line ends."""
    return message.partition(b"\n\n")[2]

"""
A mailbox on disk: what arrived in it, and what the next client will find.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from tests.support.waiting import until


@frozen
class Mailbox:
    """A Maildir; its messages have LF line ends, as on disk."""

    folder: Path

    def messages(self) -> list[bytes]:
        """Every message in it, whether seen or not."""
        found = sorted(path for name in ("new", "cur") for path in (self.folder / name).iterdir())
        return [path.read_bytes() for path in found]

    def wait_for(self, marker: bytes) -> bytes:
        """The one message that contains the marker."""
        found = until(lambda: self.find(marker), f"a message with {marker!r} in {self.folder}")
        assert len(found) == 1, f"{marker!r} arrived {len(found)} times in {self.folder}"
        return found[0]

    def find(self, marker: bytes) -> list[bytes]:
        """The messages that contain the marker."""
        return [message for message in self.messages() if marker in message]

    def put(self, message: bytes) -> None:
        """A message, with LF line ends, has arrived."""
        self.put_written_by(lambda path: path.write_bytes(message))

    def put_written_by(self, write: Callable[[Path], object]) -> None:
        """As `put`, for messages too large to hold."""
        name = f"{uuid.uuid4().hex}.test"
        write(self.folder / "tmp" / name)
        owner = self.folder.stat()
        os.chown(self.folder / "tmp" / name, owner.st_uid, owner.st_gid)
        (self.folder / "tmp" / name).rename(self.folder / "new" / name)

    def clear(self) -> None:
        """No message is left."""
        for name in ("new", "cur"):
            for path in (self.folder / name).iterdir():
                path.unlink()

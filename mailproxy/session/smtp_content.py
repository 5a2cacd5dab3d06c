"""
The mail data of one transaction on its way from client to server.
"""

from __future__ import annotations

from copy import copy

from mailproxy.errors import BareNewline, NulOctet
from mailproxy.session.smtp_words import LOST
from mailproxy.wire.smtp import format_reply
from mailproxy.wire.transparency import BareNewlines, EndFinder, NewlineKeeper

_NUL = format_reply(550, "5.5.2", "Message contains NUL")
_BARE = format_reply(550, "5.5.2", "Message contains bare <CR> or <LF>")
_TOO_LARGE = format_reply(552, "5.3.4", "Message size exceeds limit")

NUL, BARE_NEWLINE = "NUL", "bare newline"
"""What must not be in mail data."""


class Content:
    """
    Hands on what may go upstream until the end is found, or until a verdict is known; then it only looks for the end.

    Args:
        policy: what becomes of bare newlines.
        max_octets: of the message; 0 is no limit.

    Source: RFC 5321 §4.1.1.4; RFC 1870 §6 for what SIZE counts.
    """

    __slots__ = (
        "_finder",
        "_keeper",
        "_max_octets",
        "discarded",
        "fault",
        "outcome",
        "sound",
        "upstream",
        "verdict",
    )

    def __init__(self, policy: BareNewlines, max_octets: int) -> None:
        self._finder = EndFinder()
        self._keeper = NewlineKeeper(policy)
        self._max_octets = max_octets
        self.verdict = b""
        """The reply that the end of data will get instead of the mail server's."""
        self.upstream = False
        """Whether the verdict has the mail server's own words."""
        self.outcome: str | None = None
        """The word that the session ends with after the verdict; None where it goes on."""
        self.fault: str | None = None
        """What must not be in mail data, and was."""
        self.sound = 0
        """Octets that came before the first one that a verdict is about."""
        self.discarded = 0
        """Octets thrown away from there on."""

    @property
    def ended(self) -> bool:
        """Whether the client's CRLF `.` CRLF was found."""
        return self._finder.ended

    @property
    def rest(self) -> bytes:
        """What came behind the end: the next commands."""
        return self._finder.rest

    @property
    def octets(self) -> int:
        """Of the message so far: CRLF included, stuffed dots and the final dot not."""
        return self._keeper.octets

    @property
    def mended(self) -> int:
        """How many bare CR and LF became CRLF."""
        return self._keeper.mended

    @property
    def last_word(self) -> tuple[bytes, str]:
        """Reply and outcome where the client is not heard to the end: what is refused for good, is not tried again."""
        if not self.verdict.startswith(b"5"):
            return LOST, "upstream_lost"
        return self.verdict, self.outcome or ("upstream_lost" if self.upstream else "bad_content")

    def feed(self, chunk: bytes) -> bytes:
        """The octets that may go upstream now; none once there is a verdict."""
        body = self._finder.feed(chunk)
        sound, clean = (0, b"") if self.verdict else self._checked(body)
        self.sound += sound
        self.discarded += len(body) - sound
        return clean

    def spoil(self, verdict: bytes, outcome: str | None = None, *, upstream: bool = False) -> None:
        """The message is lost: the client will be told `verdict` at its end.  The first verdict stays."""
        if not self.verdict:
            self.verdict, self.outcome, self.upstream = verdict, outcome, upstream

    def _checked(self, body: bytes) -> tuple[int, bytes]:
        """How many octets come before the first one that a verdict is about, and what may go upstream."""
        before = copy(self._keeper)
        try:
            clean = self._keeper.feed(body)
        except (NulOctet, BareNewline):
            return self._refuse(before, body), b""
        if self._too_large(self._keeper):
            return self._refuse(before, body), b""
        return len(body), clean

    def _refuse(self, before: NewlineKeeper, body: bytes) -> int:
        """The verdict is about the first octet that is wrong: which one is the first does not depend on the cut."""
        sound, wrong = 0, len(body)
        while wrong - sound > 1:
            middle = (sound + wrong) // 2
            if self._fault(copy(before), body[:middle]):
                wrong = middle
            else:
                sound = middle
        before.feed(body[:sound])
        fault = self._fault(before, body[sound:wrong])
        if fault == _TOO_LARGE:
            self.spoil(fault)
        else:
            self.fault = NUL if fault == _NUL else BARE_NEWLINE
            self.spoil(fault, "bad_content")
        return sound

    def _fault(self, keeper: NewlineKeeper, body: bytes) -> bytes:
        """What is wrong with the octets; nothing, if nothing is."""
        try:
            keeper.feed(body)
        except NulOctet:
            return _NUL
        except BareNewline:
            return _BARE
        return _TOO_LARGE if self._too_large(keeper) else b""

    def _too_large(self, keeper: NewlineKeeper) -> bool:
        return 0 < self._max_octets < keeper.octets

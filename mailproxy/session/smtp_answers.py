"""
What an SMTP client is told, in order, and for how long we bear with it.
"""

from __future__ import annotations

from collections import Counter

from mailproxy.session.reply_queue import ReplyQueue
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.smtp import format_reply


class Answers:
    """
    The replies of a session, and the count of errors and idle talk since the last message that was accepted.

    Args:
        policy: how much of that there may be.
        counts: where replies are counted.
    """

    __slots__ = ("_errors", "_junk", "_policy", "replies")

    def __init__(self, policy: SMTPPolicy, counts: Counter[str] | None = None) -> None:
        self._policy = policy
        self._errors = self._junk = 0
        self.replies = ReplyQueue(counts)

    def say(self, raw: bytes) -> None:
        """A reply of our own."""
        self.replies.say(raw)

    def complain(self, raw: bytes, *, outcome: str | None = None, upstream: bool = False) -> None:
        """
        A negative reply of our own; too many of them end the session, as `outcome` does at once.

        `upstream`: the words are the mail server's.
        """
        self.replies.say(raw, outcome, upstream=upstream)
        self._errors += 1
        if self._errors >= self._policy.max_errors:
            self._too_many()

    def count_junk(self) -> None:
        """The client's command led nowhere; too many of them end the session, too."""
        self._junk += 1
        if self._junk > self._policy.max_junk_commands:
            self._too_many()

    def end(self, raw: bytes, outcome: str) -> None:
        """The session ends behind this reply and those before it."""
        self.replies.say(raw, outcome)

    @property
    def tally(self) -> tuple[int, int]:
        """How many errors and how much idle talk there was; set back for what is carried out once more."""
        return self._errors, self._junk

    @tally.setter
    def tally(self, before: tuple[int, int]) -> None:
        self._errors, self._junk = before

    def forgive(self) -> None:
        """Errors and idle talk are counted anew."""
        self._errors = self._junk = 0

    def _too_many(self) -> None:
        self.end(format_reply(421, "4.7.0", "Too many errors"), "too_many_errors")

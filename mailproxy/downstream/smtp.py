"""
The SMTP server factory of one destination of one tenant.
"""

from __future__ import annotations

from mailproxy.downstream.factory import Room, SessionFactory
from mailproxy.downstream.protocol import Surroundings
from mailproxy.observe.sessions import ListenerLog
from mailproxy.session.smtp import SMTPSession
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.smtp import format_reply


class SMTPServerFactory(SessionFactory):
    """Sessions of SMTP, with the habits and bounds of `policy`."""

    crowded = format_reply(421, "4.3.2", "Too many sessions, try later")

    def __init__(
        self, policy: SMTPPolicy, around: Surroundings, log: ListenerLog, rooms: tuple[Room, ...] = ()
    ) -> None:
        super().__init__(around, log, rooms)
        self._policy = policy

    def make_session(self) -> SMTPSession:
        """A new session for a new client."""
        return SMTPSession(self._policy)

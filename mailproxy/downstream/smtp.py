"""
The SMTP server factory of one destination of one tenant.
"""

from __future__ import annotations

from mailproxy.downstream.factory import SessionFactory
from mailproxy.downstream.rooms import Door
from mailproxy.downstream.surroundings import Surroundings
from mailproxy.errors import LimitReached
from mailproxy.observe.sessions import ListenerLog
from mailproxy.session.smtp import SMTPSession
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.session.smtp_words import SHUTDOWN, failure_reply


class SMTPServerFactory(SessionFactory):
    """Sessions of SMTP, with the habits and bounds of `policy`."""

    crowded = failure_reply(421, LimitReached("too many sessions"))
    shutdown = SHUTDOWN

    def __init__(self, policy: SMTPPolicy, around: Surroundings, log: ListenerLog, door: Door) -> None:
        super().__init__(around, log, door)
        self._policy = policy
        self._known = around.upstreams.known

    def make_session(self) -> SMTPSession:
        """A new session for a new client."""
        around, counts = self._around, self.log.counters.replies
        return SMTPSession(self._policy, self._known, counts, may_record=around.may_record, recorder=around.recorder())

"""
The POP3 server factory of one destination of one tenant.
"""

from __future__ import annotations

from mailproxy.downstream.factory import SessionFactory
from mailproxy.downstream.rooms import Door
from mailproxy.downstream.surroundings import Surroundings
from mailproxy.errors import LimitReached
from mailproxy.observe.sessions import ListenerLog
from mailproxy.session.pop3 import POP3Session
from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.session.pop3_words import SHUTDOWN, failure_line


class POP3ServerFactory(SessionFactory):
    """Sessions of POP3, with the habits and bounds of `policy`."""

    crowded = failure_line(LimitReached("too many sessions"))
    shutdown = SHUTDOWN

    def __init__(self, policy: POP3Policy, around: Surroundings, log: ListenerLog, door: Door) -> None:
        super().__init__(around, log, door)
        self._policy = policy

    def make_session(self) -> POP3Session:
        """A new session for a new client."""
        around, counts = self._around, self.log.counters.replies
        return POP3Session(self._policy, counts, may_record=around.may_record, recorder=around.recorder())

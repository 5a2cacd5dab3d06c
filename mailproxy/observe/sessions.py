"""
What the log says of a session.  Every line names destination, tenant and session; whatever a peer said is escaped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import count

from attrs import define, field
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from mailproxy.errors import MailProxyError
from mailproxy.observe.counters import Counters
from mailproxy.observe.failures import Failures
from mailproxy.observe.text import printable

_WARNINGS = frozenset({"delivery_unknown", "upstream_desync", "upstream_dropped", "upstream_login_refused"})
_ONLY_COUNTED = frozenset({"bad_ehlo", "non_esmtp", "esmtp_unencrypted", "downstream_tls"})
"""Harmless habits of clients, and what is as it should be: each line of them would bury another."""


@define
class Numbers:
    """The numbers of a process's sessions; `worker` stands in front of each, where there are several processes."""

    worker: str = ""
    _count: count[int] = field(factory=lambda: count(1))

    def next(self) -> str:
        """Of a new session."""
        return f"{self.worker}{next(self._count):06x}"


numbers = Numbers()


class ListenerLog:
    """
    The log and the counters of one listener.

    Args:
        destination: its name in the destination service.
        tenant: its name, or None for the provider's own.
        label: what each line begins with; `tenant/destination` where that tells the listener from all others.
        seconds: the time, since 1970.
    """

    def __init__(
        self,
        destination: str,
        tenant: str | None,
        *,
        label: str = "",
        logger: Logger | None = None,
        seconds: Callable[[], float] = time.time,
    ) -> None:
        self.destination = destination
        self.tenant = tenant
        self.label = label or (f"{tenant}/{destination}" if tenant else destination)
        self.counters = Counters()
        self.failures = Failures()
        self._seconds = seconds
        self._logger = logger or Logger(namespace="mailproxy.session")

    def session(self, peer: str) -> SessionLog:
        """The log of a new session with the mail client at `peer`."""
        self.counters.began()
        return SessionLog(self, peer)

    def turned_away(self, limit: str) -> None:
        """A mail client found no place because of that limit; it counts as a session that ended at once."""
        self.counters.began()
        self.counters.turned_away[limit] += 1
        self.counters.ended("too_many_sessions")

    def note_failure(self, session: str, outcome: str, text: str) -> None:
        """A session of this number met a failure."""
        self.failures.note(self._seconds(), session, outcome, text)

    def emit(self, level: LogLevel, text: str, **fields: object) -> None:
        """One line; what is in it is filled in here, since Twisted takes long for that."""
        line = f"{self.label}: {text}".replace("{", "{{").replace("}", "}}")
        about = {"label": self.label, "destination": self.destination, "tenant": self.tenant}
        self._logger.emit(level, line, text=text, **about, **fields)

    def crashed(self, text: str, failure: Failure | None) -> None:
        """One line and a traceback."""
        self._logger.failure("{label}: {text}", failure, label=self.label, text=text)


class SessionLog:
    """The log of one session."""

    def __init__(self, listener: ListenerLog, peer: str) -> None:
        self._listener = listener
        self.peer = peer
        self._ended = False
        self.quote: Callable[[bytes], str] = printable
        """How words of a peer are shown; whoever knows a secret that must not be in them, replaces it."""
        self.id = numbers.next()

    def report(self, event: str, fields: Mapping[str, object]) -> None:
        """Something happened that an operator may count or read."""
        self._listener.counters.events[event] += 1
        if event in _ONLY_COUNTED:
            return
        level = LogLevel.warn if event in _WARNINGS else LogLevel.info
        words = ", ".join(f"{name} {self._shown(value)}" for name, value in fields.items())
        self._say(level, event.replace("_", " ") + (f": {words}" if words else ""))

    def failed(self, error: MailProxyError, doing: str) -> None:
        """Our side, or the mail server's, failed: the sentence says which."""
        text = f"{doing}: {error}"
        self._listener.note_failure(self.id, error.outcome, text)
        self._say(LogLevel.error if not error.temporary else LogLevel.warn, text, outcome=error.outcome)

    def tls_failed(self, sentence: str) -> None:
        """There was no TLS with the client, which is often nobody's fault: somebody only looks for open ports."""
        self._say(LogLevel.info, f"no TLS with the client: {sentence}", outcome="downstream_tls_failed")

    def crashed(self, failure: Failure | None = None) -> None:
        """Our own fault: the traceback goes to the log, the session ends.  None is the exception being handled."""
        self._listener.crashed(f"session {self.id} from {self.peer}: internal error", failure)

    def ended(self, outcome: str) -> None:
        """The session has ended; only the first word counts."""
        if not self._ended:
            self._ended = True
            self._listener.counters.ended(outcome)
            self._say(LogLevel.info, f"ended: {outcome}", outcome=outcome)

    def made_room(self) -> None:
        """The same for another client's sake.  There may be any number of these: the listener's log folds them."""
        if not self._ended:
            self._ended = True
            self._listener.counters.ended("made_room")

    def _say(self, level: LogLevel, text: str, **fields: object) -> None:
        self._listener.emit(level, f"session {self.id} from {self.peer}: {text}", session=self.id, **fields)

    def _shown(self, value: object) -> str:
        return self.quote(value) if isinstance(value, bytes) else printable(str(value))

"""
What the log says of a session.  Every line names destination, tenant and session; whatever a peer said is escaped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from mailproxy.errors import MailProxyError
from mailproxy.observe.counters import Counters
from mailproxy.observe.failures import Failures
from mailproxy.observe.folding import Folding
from mailproxy.observe.logs import settings
from mailproxy.observe.stats import SEEN
from mailproxy.observe.text import printable

_WARNINGS = frozenset({"delivery_unknown", "upstream_desync", "upstream_dropped", "upstream_login_refused"})
_ONLY_COUNTED = frozenset(
    {"bad_ehlo", "non_esmtp", "esmtp_unencrypted", "unencrypted", "downstream_tls", "transaction"}
)
"""Harmless habits of clients, and what is as it should be: each line of them would bury another."""
_STRANGERS = frozenset({"not_smtp", "not_pop3", "downstream_tls_failed"})
"""How sessions of those end that look for open ports, and do not want to send mail."""
_OF_TRANSACTIONS = frozenset({"transaction", "message", "delivery_unknown"})


_NAMESPACE = "mailproxy.session"


@frozen
class _Kind:
    """What a line says, whoever it is about."""

    event: str
    level: LogLevel
    text: str
    outcome: str


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
        logger: takes the lines.
        clock: tells the time; None where nothing is folded.
    """

    def __init__(
        self,
        destination: str,
        tenant: str | None,
        *,
        label: str = "",
        logger: Logger | None = None,
        clock: IReactorTime | None = None,
    ) -> None:
        self.destination = destination
        self.tenant = tenant
        self.label = label or (f"{tenant}/{destination}" if tenant else destination)
        self.counters = Counters()
        self.seconds = time.time if clock is None else clock.seconds
        self.failures = Failures()
        self._folding: Folding[_Kind] | None = None if clock is None else Folding(clock, self._tell_more)
        self._logger = logger or Logger(namespace=_NAMESPACE)

    def session(self, peer: str) -> SessionLog:
        """The log of a new session with the mail client at `peer`."""
        self.counters.began()
        return SessionLog(self, peer)

    def turned_away(self, limit: str) -> None:
        """A mail client found no place because of that limit; it counts as a session that ended at once."""
        self.counters.began()
        self.counters.turned_away[limit] += 1
        self.counters.ended("too_many_sessions")

    def settle(self) -> None:
        """What was folded is told, and no timer is left."""
        if self._folding is not None:
            self._folding.stop()

    def is_news(self, kind: _Kind) -> bool:
        """Whether a line has to be told, because it does not repeat what was just told."""
        return self._folding is None or self._folding.is_news(kind, settings.fold_seconds)

    def _tell_more(self, counts: Mapping[_Kind, int]) -> None:
        for kind, more in counts.items():
            text = f"{more} more within {settings.fold_seconds:g} s: {kind.text}"
            self.emit(kind.level, text, log_event=kind.event, outcome=kind.outcome, count=more)

    def refused_connection(self, outcome: str) -> None:
        """A connection ended before there was a client to talk to; it counts as a session that ended at once."""
        self.counters.began()
        self.counters.ended(outcome)

    def note_failure(self, session: str, outcome: str, text: str) -> None:
        """A session of this number met a failure."""
        self.counters.failures += 1
        self.failures.note(self.seconds(), session, outcome, text)

    def emit(self, level: LogLevel, text: str, *, log_event: str, **fields: object) -> None:
        """One line; what is in it is filled in here, since Twisted takes long for that."""
        if not settings.tells(_NAMESPACE, level):
            return
        line = f"{self.label}: {text}"
        escaped = line.replace("{", "{{").replace("}", "}}") if "{" in line or "}" in line else line
        about = {"label": self.label, "destination": self.destination, "tenant": self.tenant}
        self._logger.emit(level, escaped, text=text, log_sentence=line, log_event=log_event, **about, **fields)

    def crashed(self, text: str, failure: Failure | None) -> None:
        """One line and a traceback."""
        about: dict[str, Any] = {"label": self.label, "destination": self.destination, "tenant": self.tenant}
        self._logger.failure("{label}: {text}", failure, text=text, log_event="internal_error", **about)


class SessionLog:
    """The log of one session, and what it adds to the listener's counters."""

    __slots__ = (
        "_asked",
        "_began",
        "_ended",
        "_failure",
        "_listener",
        "_opening",
        "_seen",
        "_transaction",
        "_wanted",
        "counters",
        "id",
        "peer",
        "quote",
        "trouble",
    )

    def __init__(self, listener: ListenerLog, peer: str) -> None:
        self._listener = listener
        self.counters = listener.counters
        self._failure = ""
        """The outcome of what failed last."""
        self.trouble: str | None = None
        """What failed last, in words."""
        self._seen: tuple[str, ...] = ()
        self._began = listener.seconds()
        self._opening = self._asked = self._transaction = 0.0
        """When that began; 0 while there is none, or when it was measured."""
        self._wanted = False
        """Whether a connection to the mail server was ever asked for."""
        self.peer = peer
        self._ended = False
        self.quote: Callable[[bytes], str] = printable
        """How words of a peer are shown; whoever knows a secret that must not be in them, replaces it."""
        self.id = numbers.next()

    def report(self, event: str, fields: Mapping[str, object]) -> None:
        """Something happened that an operator may count or read."""
        self.counters.events[event] += 1
        if event in SEEN:
            self.saw(event)
        elif event in _OF_TRANSACTIONS:
            self._follow_transaction(event)
        if event in _ONLY_COUNTED:
            return
        level = LogLevel.warn if event in _WARNINGS else LogLevel.info
        if level is LogLevel.warn:
            self.trouble = event.replace("_", " ")
        shown = {name: value if isinstance(value, int) else self._shown(value) for name, value in fields.items()}
        words = ", ".join(f"{name} {value}" for name, value in shown.items())
        self._say(level, event, event.replace("_", " ") + (f": {words}" if words else ""), log_fields=shown)

    def saw(self, *what: str) -> None:
        """This is the case in this session, which counts once."""
        for each in what:
            if each not in self._seen:
                self._seen = (*self._seen, each)
                self.counters.seen[each] += 1

    def failed(self, error: MailProxyError, doing: str) -> None:
        """Our side, or the mail server's, failed: the sentence says which."""
        text = f"{doing}: {error}"
        self.saw(*error.seen)
        self._listener.note_failure(self.id, error.outcome, text)
        self._failure = error.outcome
        self.trouble = text
        self._say_once(_Kind("failed", LogLevel.warn if error.temporary else LogLevel.error, text, error.outcome))

    def tls_failed(self, sentence: str) -> None:
        """There was no TLS with the client, which is often nobody's fault: somebody only looks for open ports."""
        self.saw("downstream_tls_failed")
        outcome = self._failure = "downstream_tls_failed"
        self._say_once(_Kind(outcome, LogLevel.info, f"no TLS with the client: {sentence}", outcome))

    def crashed(self, failure: Failure | None = None) -> None:
        """Our own fault: the traceback goes to the log, the session ends.  None is the exception being handled."""
        self._listener.crashed(f"session {self.id} from {self.peer}: internal error", failure)

    def ended(self, outcome: str, *, spoken: bool = True) -> None:
        """
        The session has ended; only the first word counts.

        `spoken` is whether the client has ever said anything.  One that has not only looked whether we are there.  So
        has one that said goodbye before it needed the mail server, as health checks do.
        """
        if not self._ended:
            self._ended = True
            self._count_end(outcome)
            kind = _Kind("ended", LogLevel.info, f"ended: {outcome}", outcome)
            looked = not spoken or (outcome == "quit" and not self._wanted)
            if not looked and outcome != self._failure and outcome not in _STRANGERS:
                self._say(kind.level, kind.event, kind.text, outcome=outcome)
            else:
                self._say_once(kind)

    def made_room(self) -> None:
        """The same for another client's sake.  There may be any number of these: the listener's log folds them."""
        if not self._ended:
            self._ended = True
            self._count_end("made_room")

    # How long things take

    def opening(self) -> None:
        """A connection to the mail server is asked for."""
        self._wanted = True
        self._opening = self._listener.seconds()

    def opened(self, *, secured: bool) -> None:
        """It is there, and ready for the session's commands; `secured` says that it is behind TLS."""
        self.counters.durations.upstream_ready.observe(self._listener.seconds() - self._opening)
        if secured:
            self.saw("upstream_tls")

    def asked(self, octets: int) -> None:
        """Octets went to the mail server."""
        self.counters.octets.to_server += octets
        if not self._asked:
            self._asked = self._listener.seconds()

    def answered(self, octets: int) -> None:
        """Octets of the mail server came; the first ones are those of its first reply."""
        self.counters.octets.from_server += octets
        if self._asked > 0:
            self.counters.durations.first_reply.observe(self._listener.seconds() - self._asked)
            self._asked = -1.0

    def _follow_transaction(self, event: str) -> None:
        """From MAIL to the reply to the end of mail data, or to what stands in for it."""
        if event == "transaction":
            self._transaction = self._listener.seconds()
        elif self._transaction:
            self.counters.durations.transaction.observe(self._listener.seconds() - self._transaction)
            self._transaction = 0.0

    def _count_end(self, outcome: str) -> None:
        self.counters.ended(outcome)
        self.counters.durations.session.observe(self._listener.seconds() - self._began)

    def _say_once(self, kind: _Kind) -> None:
        """A line that other sessions may just have had, too."""
        if self._listener.is_news(kind):
            self._say(kind.level, kind.event, kind.text, outcome=kind.outcome)

    def _say(self, level: LogLevel, event: str, text: str, **fields: object) -> None:
        line = f"session {self.id} from {self.peer}: {text}"
        self._listener.emit(level, line, session=self.id, client=self.peer, log_event=event, **fields)

    def _shown(self, value: object) -> str:
        return self.quote(value) if isinstance(value, bytes) else printable(str(value))

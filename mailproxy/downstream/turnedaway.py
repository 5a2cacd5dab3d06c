"""
Clients that find no place: each is told so, and most are listened to until they have heard it.

Also what the log says of them.  How many there are is for them to say, and a line for each would be one more thing to
fill up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogLevel

from mailproxy.downstream.connection import ClientConnection
from mailproxy.downstream.rooms import Limit
from mailproxy.downstream.surroundings import Surroundings
from mailproxy.observe.folding import Folding
from mailproxy.observe.sessions import ListenerLog
from mailproxy.session.encryption import Encryption

FOLD_SECONDS = 60.0
"""Clients that are turned away within that time of a line in the log share the next one."""


class TurnedAway(ClientConnection):
    """
    Tells a client that there is no place for it, makes sure that it hears that, and closes.

    Args:
        raw: what it is told.
        around: of the listener.
        log: of the listener.
        done: called once, when the connection is gone.
    """

    def __init__(self, raw: bytes, around: Surroundings, log: ListenerLog, done: Callable[[TurnedAway], None]) -> None:
        super().__init__(around, hurried=True)
        self._raw = raw
        self._log = log
        self._done = done

    def ready(self) -> None:
        """The client is told, and that is all."""
        if self._over_tls:
            self._log.counters.seen["downstream_tls"] += 1
        self.transport.write(self._raw)
        self.see_off()

    def handshake_failed(self, sentence: str) -> None:  # noqa: ARG002 - who has no place is not worth a line
        """Whoever cannot be told, is not."""
        self._log.counters.seen["downstream_tls_failed"] += 1

    def client_gone(self) -> None:
        """Nothing is left."""
        self._done(self)

    def crashed(self) -> None:
        """The listener goes on."""
        self._log.crashed("internal error while a client was turned away", None)
        self.give_up()

    def drain(self) -> None:
        """The listener goes away: who is not talked to yet will not be."""
        if self._handshaking:
            self.give_up()


class Dismissed(TurnedAway):
    """
    The same without patience, for when many come at once: the words are on their way, or dropped, when it closes.
    """

    def connectionMade(self) -> None:
        """The client is told if that takes no handshake, and it is over."""
        self._connected = True
        told = self._over_tls or self._around.encryption is not Encryption.IMPLICIT
        self.dismiss(self._raw if told else b"")


class Crowd:
    """
    Lines about clients at the door: the first one for each reason at once, then one a minute with how many more.

    No setting makes it a line for each of them.

    Args:
        clock: measures the minute.
        log: of the listener.
        event: the name of all these lines.
        more: the line for many, with a place for their `counts`.
    """

    def __init__(self, clock: IReactorTime, log: ListenerLog, event: str, more: str) -> None:
        self._log = log
        self._event = event
        self._more = more
        self._folding: Folding[Enum] = Folding(clock, self._tell_more)

    def note(self, why: Enum, text: str) -> None:
        """It has happened once more, for that reason."""
        if self._folding.is_news(why, FOLD_SECONDS):
            self._log.emit(LogLevel.warn, text, log_event=self._event)

    def stop(self) -> None:
        """All is said, and no timer is left."""
        self._folding.stop()

    def _tell_more(self, counts: Mapping[Enum, int]) -> None:
        which = ", ".join(f"{count} {why.value}" for why, count in counts.items())
        self._log.emit(LogLevel.warn, self._more.format(counts=which), log_event=self._event)


class Refusals:
    """
    What the log says of clients that find no place, and of those that lose theirs to others because they say nothing.
    """

    def __init__(self, clock: IReactorTime, log: ListenerLog) -> None:
        self._log = log
        turned_away = "too many sessions: more clients were turned away, {counts}"
        self._turned_away = Crowd(clock, log, "turned_away", turned_away)
        self._made_room = Crowd(
            clock, log, "made_room", "too many sessions: more silent clients made room for others, {counts}"
        )

    def turned_away(self, peer: str, limit: Limit) -> None:
        """A client from there has met that limit."""
        self._log.turned_away(limit.name.lower())
        text = f"too many sessions {limit.value}: the client at {peer} was turned away"
        self._turned_away.note(limit, text)

    def made_room(self, peer: str, limit: Limit) -> None:
        """A client from there is not needed as much as another that has met that limit."""
        text = f"too many sessions {limit.value}: the client at {peer} said nothing and made room for another"
        self._made_room.note(limit, text)

    def stop(self) -> None:
        """All is said, and no timer is left."""
        self._turned_away.stop()
        self._made_room.stop()

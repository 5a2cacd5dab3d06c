"""
What mail clients of both kinds do, and what they may not be told.
"""

from __future__ import annotations

from collections import deque

from attrs import define

from tests.simulation.actors import Actor, Gone
from tests.simulation.secrets import owners
from tests.simulation.taps import TOKEN


@define(eq=False)
class Command:
    """What a client has said and awaits a reply to."""

    kind: str
    about: bytes = b""
    """The address, the message or the command line that the reply is about."""


@define(eq=False)
class Habits:
    """
    How a client is.  `vanish_after` steps it leaves without a word, in the way `vanishes`; `pause` is between steps.
    One that `lingers` does not close as soon as the proxy has.
    """

    pipelines: bool = False
    pause: float = 0.0
    long_pause: float = 0.0
    vanish_after: int | None = None
    vanishes: str = "abort"
    slow_reader: bool = False
    lingers: bool = False
    lawless: bool = False


class MailClient(Actor):
    """
    Args:
        place: the listener it talks to.
        number: its own; it stands in all that it sends.
        habits: how it is.
    """

    def __init__(self, world, wire, pace, place, number, habits):
        self.place = place
        self.number = number
        self.habits = habits
        self.owed = deque()
        self.said = 0
        self.everything = bytearray()
        self.goodbye = False
        self.dismissed = False
        self.sent_quit = False
        self.is_gone = False
        self._steps = 0
        super().__init__(world, wire, pace, f"client {number}")

    @property
    def sent(self):
        """How many octets have left."""
        return self.said - len(self._out)

    def say(self, octets):
        self.said += len(octets)
        super().say(octets)

    def heard(self, octets):
        self.everything += octets
        super().heard(octets)

    def step(self):
        """Between two things to do: a pause, or the end of it all."""
        self._steps += 1
        if self.habits.vanish_after is not None and self._steps > self.habits.vanish_after:
            yield from self.vanish()
        if self.habits.long_pause and self.random.random() < 0.1:
            yield self.random.uniform(0, self.habits.long_pause)
        elif self.habits.pause:
            yield self.random.uniform(0, self.habits.pause)

    def vanish(self):
        how = self.habits.vanishes
        self.note(f"vanishes: {how}")
        self.is_gone = True
        if how == "abort":
            self.abort()
        elif how == "close":
            self.close()
        elif how == "half":
            yield from self.drained()
            self.half_close()
            yield from self.ended()
        elif how == "deaf":
            yield from self.forever()
        else:
            yield from self.ended()
        raise Gone

    def in_pieces(self, octets):
        """Octets go out as this client types."""
        while octets:
            in_pieces = self.random.random() < (0.3 if self.habits.vanish_after is None else 0.9)
            size = self.random.randint(1, len(octets)) if in_pieces else len(octets)
            self.say(octets[:size])
            yield from self.drained()
            octets = octets[size:]
            if octets:
                yield from self.step()

    def leave(self):
        """Nothing more is to be said: the other side closes."""
        yield from self.ended()
        if self.habits.lingers:
            yield self.random.uniform(0, 10)
        raise Gone

    # What must not be

    def look_back(self):
        """When all is over: nothing was heard that is not for these ears."""
        found = owners(bytes(self.everything))
        if found:
            self.world.forbid(f"{self.name} was told secrets of {sorted(found)}")
        taps = {self.world.taps.get(int(number)) for number, _ in TOKEN.findall(bytes(self.everything))}
        for tap in taps - {None}:
            tap.belongs_to(self)
            if tap.owner is not None and tap.owner != self.place.owner:
                self.world.forbid(f"{self.name} of {self.place.owner} hears {tap.name}, which is {tap.owner}'s")

    def must_match(self, command, text, code):
        """The reply is the mail server's to this very command; each is given once."""
        found = TOKEN.search(text)
        answer = self.world.answers.get(found.group()) if found else None
        if answer is None or answer.command is None:
            self.world.forbid(f"{self.name}: {code} to {command.kind} that no mail server gave: {text!r}")
            return None
        if answer.code != code or answer.given or not self.is_about(command, answer):
            self.world.forbid(f"{self.name}: {code} to {command} is a mail server's reply to {answer.command!r}")
        answer.given = True
        return answer

    def is_about(self, command, answer):
        raise NotImplementedError

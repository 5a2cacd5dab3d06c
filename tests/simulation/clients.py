"""
What mail clients of both kinds do, and what they may not be told.
"""

from __future__ import annotations

from collections import deque

from attrs import define

from tests.simulation.actors import Actor, Gone
from tests.simulation.marker import FINISHED, HANDSHAKE, ClientSide, record
from tests.simulation.secrets import owners
from tests.simulation.taps import TOKEN, ClientTap


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
    One that `lingers` does not close as soon as the proxy has; one that `trickles` sends mail data so many octets at
    a time, with seconds in between.

    `tls` is what becomes of TLS where the listener has it: "use", "none" (it is left out), or one of `BAD_TLS`.
    """

    pipelines: bool = False
    pause: float = 0.0
    long_pause: float = 0.0
    vanish_after: int | None = None
    vanishes: str = "abort"
    slow_reader: bool = False
    lingers: bool = False
    lawless: bool = False
    trickles: int = 0
    tls: str = "use"

    @property
    def excused(self):
        """Whether this client may be left without a word."""
        return self.lawless or self.long_pause or self.slow_reader or self.trickles or self.tls in BAD_TLS


PATIENCE_SECONDS = 60.0
"""What the pauses and the way of a slow client add to a deadline of the proxy."""

BAD_TLS = ("inject", "garbage", "refuse", "lie", "mute", "vanish", "late")
"""
Clients that put octets behind the command, say nonsense in place of a handshake, do not like the certificate, finish
wrongly, say nothing, reset in the middle of it, or say plaintext in the middle of it.
"""


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
        self.config = world.config
        """What was in force when it came."""
        self.far_behind = False
        """Whether there was more on its way to it, when its listener went away, than it could read in time."""
        self.is_given_the_rest = False
        """Whether there was so much that only the system is still there to deliver it; it resets who speaks then."""
        self.came_at = world.reactor.seconds()
        self.owed = deque()
        self.said = self._sent = 0
        self._marks = deque()
        self.everything = bytearray()
        self.goodbye = False
        self.dismissed = False
        self.sent_quit = False
        self.is_gone = False
        self.wants_tls = False
        """It has asked for TLS."""
        self.drained_with = None
        """None, or how its listener went away: with patience or without."""
        self._steps = 0
        self.tap = ClientTap(place.encryption == "implicit")
        super().__init__(world, wire, pace, f"client {number}")

    @property
    def sent(self):
        """How many octets have left: of what was said, as it was before TLS made records of it."""
        while self._marks and self._marks[0][0] <= self.gone:
            _, self._sent = self._marks.popleft()
        return self._sent

    def say(self, octets):
        self.said += len(octets)
        self.far_behind = self.far_behind or self.is_given_the_rest
        super().say(octets)
        self._marks.append((self.gone + len(self._out), self.said))

    def heard(self, octets):
        if self.place.encryption == "implicit" and not self.secured:
            self.world.forbid(f"{self.name} was told something before TLS: {octets!r}")
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

    # TLS

    def enter(self):
        """The connection is there: TLS comes first where the listener wants that."""
        if self.place.encryption == "implicit":
            if self.habits.tls == "inject":  # there is no command to put octets behind
                self.say_raw(self.injection())
            elif self.habits.tls == "none":
                self.say_raw(b"EHLO plain.test\r\nUSER plain\r\n")
                yield from self.must_not_be_secured()
            yield from self.shake_hands()

    def injection(self):
        """Plaintext that a man in the middle would put in front of TLS; nobody may take it for the client's."""
        raise NotImplementedError

    def shake_hands(self):
        """The handshake, well or badly."""
        how = self.habits.tls
        if how in ("use", "inject"):
            yield from self.secure(ClientSide())
        elif how == "refuse":
            yield from self.secure(ClientSide(finishes=False))
        else:
            self._tls = ClientSide(finishes=False)
            yield from self.bungle(how)
        if how != "use":
            yield from self.must_not_be_secured()

    def bungle(self, how):
        """Something is said that is no handshake, or nothing is."""
        hello = record(HANDSHAKE, b"hello")
        if how == "garbage":
            self.say_raw(self.random.choice((b"EHLO plain.test\r\n", b"\x16\xff\xff", b"\0" * 100, b"CAPA\r\n")))
        elif how == "lie":
            self.say_raw(hello + record(HANDSHAKE, b"not " + FINISHED))
        elif how == "late":
            self.say_raw(hello)
            yield self.random.uniform(0, 2)
            self.say_raw(self.injection())
        elif how == "vanish":
            self.say_raw(hello[: self.random.randint(0, len(hello))])
            yield from self.drained()
            yield self.random.uniform(0, 2)
            self.abort()

    def must_not_be_secured(self):
        """Whatever comes of this handshake, the proxy must not take it for one."""
        yield from self.ended()
        if self.tap.is_secured:
            self.world.forbid(f"{self.name}: a TLS handshake that went wrong ({self.habits.tls}) counts")
        raise Gone

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
        began, whole = self.world.reactor.seconds(), len(octets)
        while octets and self.habits.trickles:
            self.say(octets[: self.habits.trickles])
            yield from self.drained()
            octets = octets[self.habits.trickles :]
            yield self.random.uniform(0, 20)
            self.must_be_fast_enough(self.world.reactor.seconds() - began, whole - len(octets))
        while octets:
            in_pieces = self.random.random() < (0.3 if self.habits.vanish_after is None else 0.9)
            size = self.random.randint(1, len(octets)) if in_pieces else len(octets)
            self.say(octets[:size])
            yield from self.drained()
            octets = octets[size:]
            if octets:
                yield from self.step()

    def must_be_fast_enough(self, seconds, octets):
        """So few octets in such a time are listened to only where there is no rule against it."""
        rate = self.config.limits.min_content_octets_per_second
        if rate and not (self.eof or self.lost or self.world.plan.trouble):
            allowed = self.config.timeouts.content_seconds + octets / rate
            if seconds > allowed + PATIENCE_SECONDS:
                self.world.forbid(f"{self.name}: {octets} octets in {seconds:.0f} s, and nobody minds")

    def drip(self, octets):
        """A line that never ends, one octet now and then, be it the first line or another one."""
        timeouts, allowed = self.config.timeouts, self.first_line_seconds + self.config.timeouts.login_seconds
        if self.random.random() < 0.5:
            allowed = timeouts.line_seconds + timeouts.login_seconds
            allowed += 0 if self.place.is_smtp else timeouts.reply_seconds  # which is the mail server's to answer
            self.say(b"NOOP\r\n")
            yield 1.0
        began = self.world.reactor.seconds()
        while not (self.eof or self.lost):
            self.say(octets[:1] or b"x")
            octets = octets[1:]
            yield self.random.uniform(1, 40)
        if self.world.reactor.seconds() - began > allowed + PATIENCE_SECONDS:
            self.world.forbid(f"{self.name}: a line that never ends was listened to for too long")

    def leave(self):
        """Nothing more is to be said: the other side closes."""
        yield from self.ended()
        if self.habits.lingers:
            yield self.random.uniform(0, 10)
        raise Gone

    # What must not be

    def expects_drain(self, *, patient):
        """The listener goes away; `patient` says that everybody may finish what he has begun."""
        if self.drained_with is None and not self.over and self.tap.is_here:
            self.drained_with = "patience" if patient else "haste"
            timeouts = self.config.timeouts
            self.is_given_the_rest = self.unread > self._pace.octets_within(timeouts.close_seconds / 2)
            longest = timeouts.stall_seconds if patient else timeouts.close_seconds
            self.far_behind = self.unread > self._pace.octets_within(longest / 2)
            self.promise()

    def promise(self):
        """Remember what has to be finished."""

    @property
    def kept_promise(self):
        """Whether there was something to be finished, and it was."""
        return False

    @property
    def may_expect_words(self):
        """Whether this client has done nothing that would excuse the proxy from a last word."""
        in_handshake = (self.place.encryption == "implicit" or self.wants_tls) and not self.tap.is_secured
        excused = self.habits.excused or self.far_behind or in_handshake
        return not (self.is_gone or excused or self.world.silent or self.world.hurried)

    def look_back(self):
        """When all is over: nothing was heard that is not for these ears."""
        found = owners(bytes(self.everything))
        if found:
            self.world.forbid(f"{self.name} was told secrets of {sorted(found)}")
        said = [(found.group(), int(found[1])) for found in TOKEN.finditer(bytes(self.everything))]
        for tap in {self.world.taps.get(number) for _, number in said} - {None}:
            tap.was_heard_by(self, [token for token, number in said if number == tap.number])
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

"""
Peers of the proxy: a script on one end of a connection.

A script is a generator.  A bare `yield` waits for something to happen on the connection, `yield seconds` for time to
go by; helpers are entered with `yield from`.
"""

from __future__ import annotations

from tests.simulation.marker import ALERT, CLOSE, DATA, NotTLS, record


class Gone(Exception):
    """The script ends here."""


class Actor:
    """
    Args:
        world: knows the time, chance, and what must not happen.
        wire: this end of the connection.
        pace: how fast it is.
        name: for the trace.
    """

    def __init__(self, world, wire, pace, name):
        self.world = world
        self.random = world.random
        self.name = name
        self.received = bytearray()
        self.eof = False
        self.lost = False
        self.over = False
        self.deaf = False
        self._wire = wire
        self._pace = pace
        self._out = bytearray()
        self.gone = 0
        """Octets that have left this end."""
        self._touched = False
        self._asleep = False
        self._tls = None
        self._ending = False
        self._script = self.script()
        wire.touch = self.touch
        self.touch()

    def script(self):
        raise NotImplementedError

    def note(self, what, octets=b""):
        self.world.note(self.name, what, octets)

    # What scripts say

    def say(self, octets):
        """Octets go out, in time."""
        self.note("says", octets)
        self.say_raw(record(DATA, octets) if self._tls is not None else octets)

    @property
    def unread(self):
        """How many octets are on their way to this end."""
        return len(self._wire.incoming.data)

    def say_raw(self, octets):
        """Octets go out as they are, beside TLS if there is any."""
        self._out += octets
        self.touch()

    def drained(self):
        """All that was said is on its way."""
        while self._out:
            if self.lost:
                raise Gone
            yield

    def line(self):
        """The next line, without its end; ends the script when there is none."""
        while (end := self.received.find(b"\n")) < 0:
            if self.eof or self.lost:
                raise Gone
            yield
        line = bytes(self.received[: end + 1])
        del self.received[: end + 1]
        return line.removesuffix(b"\n").removesuffix(b"\r")

    def ended(self):
        """The other end has closed."""
        while not (self.eof or self.lost):
            self.received.clear()
            yield

    def forever(self):
        """Nothing more is said or read."""
        self.deaf = True
        while not self.lost:
            yield

    def secure(self, side):
        """TLS begins on this end, as `side` has it (see `marker.py`); the handshake is awaited."""
        self._tls = side
        self.say_raw(side.begin())
        early, self.received = bytes(self.received), bytearray()
        self._take(early)
        while not side.up:
            if self.eof or self.lost or side.closed:
                raise Gone
            yield

    @property
    def secured(self):
        """Whether this end speaks through TLS."""
        return self._tls is not None and self._tls.up

    def finish(self):
        """This end is closed, or its sending half, once all is sent."""
        if self._tls is not None and not self.over:
            self._out += record(ALERT, CLOSE)
        self._ending = True
        self.touch()

    def abort(self):
        if not self.over:
            self.over = True
            self._wire.abort()
            self.note("resets")
        raise Gone

    def close(self):
        """The connection is closed at once, whatever is on its way."""
        if not self.over:
            self.over = True
            self._wire.close()
            self.note("closes")
        raise Gone

    def half_close(self):
        self._wire.shutdown()
        self.note("half-closes")

    # The machinery

    def touch(self):
        if not self._touched and not self.over:
            self._touched = True
            self.world.reactor.later(self._pace.delay(), self._act)

    def _act(self):
        self._touched = False
        if self.over or self.world.silent:
            return
        moved = self._move()
        if not self._asleep and self._script is not None:
            self._advance()
        if self._ending and not self._out and not self.over:
            self.over = True
            self._wire.close()
            self.note("closes")
        elif moved:
            self.touch()

    def _move(self):
        """Octets in and out; whether there may be more to do at once."""
        try:
            return bool(self._write()) | bool(self._read())
        except ConnectionResetError:
            if not self.lost:
                self.note("is reset")
            self.lost = True
            self._out.clear()
            return False

    def _write(self):
        if not self._out or self.lost:
            return 0
        sent = self._wire.send(bytes(self._out[: self._pace.limit() * 4]))
        del self._out[:sent]
        self.gone += sent
        return sent

    def _read(self):
        if self.deaf or self.lost or self.eof or not self._wire.readable:
            return 0
        octets = self._wire.receive(self._pace.limit())
        if octets:
            self._take(octets)
        else:
            self.eof = True
            self.note("hears the end")
        return len(octets) or 1

    def _take(self, octets):
        if self._tls is None:
            self.heard(octets)
            return
        try:
            plain, back = self._tls.feed(octets)
        except NotTLS:
            self.world.forbid(f"{self.name} was sent plaintext where TLS had begun: {octets[:80]!r}")
        self._out += back
        if plain and not self._tls.believed:
            self.world.forbid(f"{self.name} was sent octets although nobody could believe its certificate")
        if plain:
            self.heard(plain)

    def heard(self, octets):
        """Plaintext has come."""
        self.note("hears", octets)
        self.received += octets

    def _advance(self):
        try:
            pause = next(self._script)
        except (StopIteration, Gone):
            self._script = None
            self.finished()
            return
        if pause is not None:
            self._asleep = True
            self.world.reactor.later(pause, self._wake)

    def finished(self):
        """The script has ended: this end closes once all is sent."""
        self.finish()

    def _wake(self):
        self._asleep = False
        self.touch()

"""
What mail servers of both kinds do: they say who they are, begin TLS, let in who has the right secret, and err.
"""

from __future__ import annotations

import binascii
from base64 import b64decode

from tests.simulation.actors import Actor, Gone
from tests.simulation.marker import Certificate, ServerSide
from tests.simulation.secrets import owners
from tests.simulation.site import BY_OWNER
from tests.simulation.temper import GARBAGE


class MailServer(Actor):
    """
    One connection at a mail server.

    Args:
        place: how the server is reached.
        temper: how it behaves.
        number: of the connection, which stands in each reply.
    """

    def __init__(self, world, wire, pace, place, temper, number):
        self.place = place
        self.temper = temper
        self.number = number
        self._replies = 0
        self.user = None
        super().__init__(world, wire, pace, f"server {number}")

    def token(self):
        self._replies += 1
        return f"r{self.number}.{self._replies}"

    def certificate(self):
        if self.temper.happens(0.5):
            wrong = Certificate("elsewhere.test") if self.random.random() < 0.5 else Certificate(self.place.host, False)
            self.note("shows a wrong certificate")
            return wrong
        return Certificate(self.place.host)

    def script(self):
        if self.place.implicit:
            yield from self.secure(ServerSide(self.certificate()))
        yield from self.converse()

    def converse(self):
        raise NotImplementedError

    def let_in(self, shown):
        """Whether what was shown is a secret that opens this server."""
        for owner in owners(shown):
            place = BY_OWNER.get(owner)
            if place is not None and place.host == self.place.host and self.world.vault.opens(shown):
                self.user = owner
                return True
        return False

    def echo(self, line, shown):
        """What the client has shown, as servers repeat it that mean well."""
        return self.random.choice(
            (line.decode("latin-1"), shown.decode("latin-1").replace("\0", " ").replace("\1", " "))
        )

    def decoded(self, line):
        try:
            return b64decode(line)
        except binascii.Error:
            return b""

    def reply(self, good, *, bad, wrong):
        """
        A reply is given, or what this server does instead; whether it was the good one.

        `good`, `bad` and what is `wrong` are made into octets with `form`.
        """
        fault = self.temper.fault()
        if fault is None:
            return (yield from self.give(good))
        self.note(f"errs: {fault}")
        if fault in ("refuse", "wrong", "our login"):
            words = {"refuse": bad, "wrong": self.random.choice(wrong), "our login": self.login_refused()}
            yield from self.give(words[fault])
            return False
        yield from getattr(self, f"err_{fault.replace(' ', '_')}")(good)
        return fault != "garbage"

    def give(self, what):
        self.say(self.form(what))
        yield from self.drained()
        return True

    def err_slow(self, good):
        yield self.random.uniform(0.5, 25)
        yield from self.give(good)

    def err_very_slow(self, good):
        yield self.random.uniform(50, 700)
        yield from self.give(good)

    def err_stall(self, good):
        yield from self.forever()

    def err_close(self, good):
        self.close()
        yield

    def err_abort(self, good):
        self.abort()
        yield

    def err_bye(self, good):
        yield from self.give(self.farewell())
        raise Gone

    def err_garbage(self, good):
        self.say(self.random.choice(GARBAGE))
        yield from self.drained()

    def err_twice(self, good):
        """One reply, and one that nobody asked for."""
        yield from self.give(good)
        self.say(self.form(good if self.random.random() < 0.7 else self.farewell()))

    def err_half_again(self, good):
        """One reply, and the beginning of another, whose end comes when something is asked."""
        yield from self.give(good)
        again = self.form(good)
        half = self.random.randint(1, len(again) - 1)
        self.say(again[:half])
        yield from self.drained()
        yield self.random.uniform(0, 2)
        self.say(again[half:])

    def err_again_later(self, good):
        yield from self.give(good)
        yield self.random.uniform(0, 3)
        self.say(self.form(good if self.random.random() < 0.7 else self.farewell()))

    def err_endless(self, good):
        """A reply without an end."""
        for _ in range(100):
            self.say(self.babbling * 50)
            yield from self.drained()
        raise Gone

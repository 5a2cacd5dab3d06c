"""
SMTP servers.
"""

from __future__ import annotations

from tests.simulation.actors import Gone
from tests.simulation.mail import end_of_data
from tests.simulation.marker import ServerSide
from tests.simulation.servers import MailServer

_WRONG = ((354, "go on"), (334, "cGFzcw=="), (250, "fine"), (220, "hello"), (235, "let in"), (150, "no"), (530, "who"))
_ODD = (
    (250, "reset"),
    (251, "well"),
    (421, "closing"),
    (450, "not now"),
    (500, "what"),
    (220, "hello"),
    (354, "go on"),
)
"""What may be said to RSET."""
_UPSETS = ("early", "early yes", "close", "deaf", "nap", "bye")
"""What may happen in the middle of mail data."""


class SMTPServer(MailServer):
    """One connection at an SMTP server."""

    in_transaction = False
    babbling = b"250-and so on and so on and so on\r\n"

    def form(self, what):
        code, text = what
        token = self.token()
        if self.random.random() < 0.1:
            return f"{code}-{token} {text}\r\n{code} more of it\r\n".encode()
        status = f"{str(code)[0]}.0.0 " if self.random.random() < 0.5 else ""
        return f"{code} {status}{token} {text}\r\n".encode()

    def farewell(self):
        return 421, "closing"

    def login_refused(self):
        return self.random.choice(((530, "log in"), (535, "who are you"), (538, "encrypt")))

    def answer(self, code, text):
        bad = self.random.choice(((450, "not now"), (550, "never"), (451, "try later"), (554, "no")))
        return self.reply((code, text), bad=bad, wrong=_WRONG)

    def converse(self):
        if not (yield from self.answer(220, f"{self.place.host} ESMTP")):
            raise Gone
        while True:
            yield from self.idle()
            line = yield from self.line()
            verb = line.split(b" ")[0].upper()
            yield from getattr(self, f"on_{verb.decode('latin-1').lower()}", self.on_other)(line)

    def on_other(self, line):
        yield from self.answer(500, "what")

    def on_ehlo(self, line):
        fault = self.temper.fault()
        if fault not in (None, "slow"):
            yield from self.answer(250, "lonely")
            return
        keywords = ["PIPELINING", "8BITMIME", "SIZE 100000", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING", "XCLIENT NAME"]
        keywords = [each for each in keywords if self.random.random() < 0.8]
        if self.place.offers_tls and not self.secured and not self.temper.happens():
            keywords.append("STARTTLS")
        if self.secured or not self.place.offers_tls or self.random.random() < 0.5:
            keywords.append("AUTH PLAIN LOGIN XOAUTH2")
        self.random.shuffle(keywords)
        lines = [self.place.host, *keywords]
        text = "".join(f"250-{each}\r\n" for each in lines[:-1]) + f"250 {lines[-1]}\r\n"
        self.say(text.encode())
        yield from self.drained()

    def on_starttls(self, line):
        if self.temper.happens():
            self.say(b"220 go on\r\n250-injected\r\n250 AUTH PLAIN XOAUTH2\r\n" + b"235 let in\r\n" * 2)
        elif not (yield from self.answer(220, "go on")):
            return
        yield from self.drained()
        yield from self.secure(ServerSide(self.certificate()))

    def on_auth(self, line):
        words = line.split(b" ")
        shown = self.decoded(words[2]) if len(words) > 2 else b""
        for prompt in (b"VXNlcm5hbWU6", b"UGFzc3dvcmQ6") if words[1] == b"LOGIN" else (b"",) * (not shown):
            self.say(b"334 " + prompt + b"\r\n")
            shown += self.decoded((yield from self.line()))
        if self.temper.happens():
            self.say(self.form((self.random.choice((454, 535)), f"not {self.echo(words[-1], shown)}")))
        elif self.let_in(shown):
            yield from self.answer(235, "let in")
        else:
            yield from self.answer(535, "who are you")

    def on_mail(self, line):
        self.in_transaction = True
        yield from self.answer(250, "sender")

    def on_rcpt(self, line):
        yield from self.answer(250, "recipient")

    def idle(self):
        """Who has nothing to do may lose patience with a client that is let in."""
        if self.user is None or self.in_transaction or not self.temper.happens(2):
            return
        until = self.world.reactor.seconds() + self.random.choice((0, 0.1, 1, 10))
        while self.world.reactor.seconds() < until:
            if self.received or self.eof or self.lost:
                return
            yield 0.05
        self.note("loses patience")
        yield from self.lose_patience()

    def lose_patience(self):
        if self.random.random() < 0.3:
            self.close()
        self.say(self.form(self.random.choice((self.farewell(), (250, "still there?")))))
        yield from self.drained()
        if self.random.random() < 0.5:
            raise Gone

    def on_rset(self, line):
        self.in_transaction = False
        if not self.temper.happens(3):
            yield from self.answer(250, "reset")
            return
        self.note("is odd about RSET")
        yield from self.give(self.random.choice(_ODD))
        if self.random.random() < 0.3:
            yield from self.give((250, "once more"))

    def on_quit(self, line):
        yield from self.answer(221, "bye")
        if self.random.random() < 0.1:
            yield from self.forever()
        raise Gone

    def on_data(self, line):
        if (yield from self.answer(354, "go on")):
            yield from self.take_content()

    def take_content(self):
        upset = self.random.choice(_UPSETS) if self.temper.happens(4) else None
        after = self.random.randint(0, 4000)
        known = 0
        while (end := end_of_data(self.received, known)) is None:
            known = len(self.received)
            if self.eof or self.lost:
                raise Gone
            if upset is not None and len(self.received) >= after:
                yield from self.upset(upset)
                upset = None
            yield
        del self.received[: end + 3]
        self.in_transaction = False
        yield from self.answer(250, "queued")

    def upset(self, how):
        self.note(f"is upset: {how}")
        if how == "early":
            self.say(self.form((552, "too much")))
        elif how == "early yes":
            self.say(self.form((250, "queued already")))
        elif how == "bye":
            self.say(self.form(self.farewell()))
            raise Gone
        elif how == "close":
            self.close()
        elif how == "deaf":
            yield from self.forever()
        else:
            self.deaf = True
            yield self.random.choice((5, 100, 400))
            self.deaf = False

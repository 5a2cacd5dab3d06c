"""
POP3 servers.
"""

from __future__ import annotations

from tests.simulation.actors import Gone
from tests.simulation.mail import end_of_data
from tests.simulation.marker import ServerSide
from tests.simulation.servers import MailServer

_WRONG = (("+OKAY", ""), ("250", "fine"), ("+", ""), ("-ERROR", ""), ("+OK", "fine"))
_PIECES = (
    b"text ",
    b"\r\n..stuffed",
    b"\r\n",
    b"\n",
    b"\n.\n",
    b"\n.\r\n",
    b"\r",
    b"\xe9",
    b"\0",
    b"-ERR",
    b"\r\n+OK\r\n",
)


class POP3Server(MailServer):
    """One connection at a POP3 server, and the maildrop behind it."""

    babbling = b"+OK and so on and so on and so on "

    def form(self, what):
        status, text = what
        return f"{status} {self.token()} {text}\r\n".encode()

    def farewell(self):
        return "-ERR", "[SYS/TEMP] closing"

    def login_refused(self):
        return "-ERR", "[AUTH] who are you"

    def answer(self, status, text=""):
        bad = self.random.choice((("-ERR", "no"), ("-ERR", "[IN-USE] busy"), ("-ERR", "[SYS/TEMP] later")))
        return self.reply((status, text), bad=bad, wrong=_WRONG)

    def converse(self):
        self.mails = [self.body() for _ in range(self.random.randint(0, 4))]
        if not (yield from self.answer("+OK", "<1.2@pop.test>")):
            raise Gone
        while True:
            line = yield from self.line()
            words = line.decode("latin-1").split(" ")
            yield from getattr(self, f"on_{words[0].lower()}", self.on_other)(*words[1:])

    def body(self):
        pieces = self.random.choices(_PIECES, k=self.random.randint(0, 60))
        if self.random.random() < 0.03 and self.world.plan.pipe_octets > 1000:
            pieces += [b"x" * 70 + b"\r\n"] * 1000
        body = f"Marker: mailbox {self.number}\r\n".encode() + b"".join(pieces) + b"\r\n"
        end = end_of_data(body)
        return body if end is None else body[:end]

    def on_other(self, *words):
        yield from self.answer("-ERR", "what")

    def lines(self, *lines):
        if not (yield from self.answer("+OK", "follows")):
            return
        yield from self.many(b"".join(line.encode() + b"\r\n" for line in lines))

    def many(self, body):
        """A multi-line response, all of it or a part."""
        if self.temper.happens():
            how = self.random.choice(("cut", "stall", "slow", "more"))
            self.note(f"errs: {how}")
            part = body[: self.random.randint(0, len(body))]
            if how == "more":
                self.say(body + b".\r\n" + self.form(("+OK", "and more")))
                return
            self.say(part)
            yield from self.drained()
            if how == "cut":
                self.close()
            elif how == "stall":
                yield from self.forever()
            yield self.random.uniform(1, 300)
            body = body[len(part) :]
        self.say(body + b".\r\n")
        yield from self.drained()

    def on_capa(self):
        names = ["TOP", "UIDL", "USER", "SASL PLAIN XOAUTH2", "RESP-CODES", "PIPELINING"]
        names = [each for each in names if self.random.random() < 0.9]
        if self.place.offers_tls and not self.secured and not self.temper.happens():
            names.append("STLS")
        if not {"USER", "SASL PLAIN XOAUTH2"} & set(names):
            names.append("USER")
        yield from self.lines(*names)

    def on_stls(self):
        if self.temper.happens():
            self.say(b"+OK go on\r\n+OK injected\r\nUSER\r\nSASL PLAIN XOAUTH2\r\n.\r\n+OK let in\r\n")
        elif not (yield from self.answer("+OK", "go on")):
            return
        yield from self.drained()
        yield from self.secure(ServerSide(self.certificate()))

    def on_user(self, name=""):
        yield from self.answer("+OK")

    def on_pass(self, *words):
        yield from self.judge(" ".join(words).encode())

    def on_auth(self, mechanism="", initial=""):
        shown = self.decoded(initial)
        if not shown:
            self.say(b"+ \r\n")
            shown = self.decoded((yield from self.line()))
        yield from self.judge(shown)

    def judge(self, shown):
        if self.temper.happens():
            self.say(self.form(("-ERR", f"not {self.echo(b'you', shown)}")))
        elif self.let_in(shown):
            yield from self.answer("+OK", "let in")
        else:
            yield from self.answer("-ERR", "[AUTH] who are you")

    def on_stat(self):
        yield from self.answer("+OK", f"{len(self.mails)} {sum(map(len, self.mails))}")

    def on_list(self, number=None):
        if number is not None:
            yield from self.answer("+OK", f"{number} 120")
            return
        yield from self.lines(*(f"{each} {len(body)}" for each, body in enumerate(self.mails, 1)))

    def on_uidl(self, number=None):
        if number is not None:
            yield from self.answer("+OK", f"{number} uid{self.number}-{number}")
            return
        yield from self.lines(*(f"{each} uid{self.number}-{each}" for each in range(1, len(self.mails) + 1)))

    def on_retr(self, number="0"):
        if not 0 < int(number) <= len(self.mails):
            yield from self.answer("-ERR", "no such message")
        elif (yield from self.answer("+OK", "follows")):
            yield from self.many(self.mails[int(number) - 1])

    def on_top(self, number="0", lines="0"):
        yield from self.on_retr(number)

    def on_dele(self, number="0"):
        yield from self.answer("+OK", "marked")

    def on_noop(self):
        yield from self.answer("+OK")

    on_rset = on_noop

    def on_quit(self):
        yield from self.answer("+OK", "bye")
        raise Gone

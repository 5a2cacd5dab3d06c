"""
SMTP clients: correct ones, and some that are not.
"""

from __future__ import annotations

import re

from tests.simulation.actors import Gone
from tests.simulation.clients import Command, MailClient
from tests.simulation.mail import Message, compose
from tests.simulation.secrets import secret
from tests.simulation.taps import TOKEN, path_in

_LOCAL = {"NOOP": (250,), "VRFY": (252,), "HELP": (214,), "EXPN": (502,), "FOO": (500,), "QUIT": (221,)}
_IDLE = ("NOOP", "VRFY", "HELP", "EXPN", "FOO", "RSET", "EHLO")
_RELAYED = ("MAIL", "RCPT", "DOT")
_REPLY = re.compile(rb"[2-5][0-9][0-9](?:$|[ -])")
_WANT_TLS = ("MAIL", "RCPT", "DATA", "RSET", "VRFY", "HELP", "EXPN", "FOO")
"""What a listener that requires TLS does not do without it."""
_SIGNS = {"MAIL": b"MAIL ", "RCPT": b"RCPT "}


class SMTPClient(MailClient):
    """A correct client: it waits where it has to, and every reply it gets is the one to its next command."""

    size = 4000
    wild = False
    transactions = 0
    in_transaction = False
    done = promised = None
    """The last transaction that came to its end, and one that has to."""

    def script(self):
        yield from self.enter()
        self.owed.append(Command("greeting"))
        if (yield from self.reply()) != 220:
            yield from self.leave()
        if self.place.tls_by_command and self.habits.tls != "none":
            yield from self.start_tls()
        yield from self.hello()
        for _ in range(self.random.randint(1, 3)):
            yield from self.chat()
            yield from self.transaction()
        yield from self.step()
        self.sent_quit = True
        self.command("QUIT", b"QUIT")
        if (yield from self.reply()) == 221:
            self.goodbye = True
        yield from self.leave()

    def hello(self):
        """EHLO, HELO, or neither."""
        dice = self.random.random()
        if dice < 0.15:
            return
        verb = "HELO" if dice < 0.25 else "EHLO"
        yield from self.step()
        self.command(verb, f"{verb} {self.name.replace(' ', '-')}.test".encode())
        if (yield from self.reply()) != 250:
            yield from self.leave()

    @property
    def first_line_seconds(self):
        return self.config.timeouts.command_seconds

    def start_tls(self):
        """STARTTLS, most often behind EHLO."""
        if self.random.random() < 0.8:
            yield from self.hello()
        yield from self.step()
        self.owed.append(Command("STARTTLS"))
        self.wants_tls = True
        self.say(b"STARTTLS\r\n" + (self.injection() if self.habits.tls == "inject" else b""))
        if (yield from self.reply()) != 220:
            yield from self.leave()
        yield from self.shake_hands()

    def injection(self):
        return f"EHLO evil.test\r\nMAIL FROM:<evil.tls.{self.number}@evil.test>\r\nRSET\r\nNOOP\r\n".encode()

    def chat(self):
        """Commands that mean little."""
        while self.random.random() < 0.3:
            yield from self.step()
            kind = self.random.choice(_IDLE)
            self.envelope(kind, b"")
            yield from self.reply()

    def transaction(self):
        self.transactions += 1
        number = f"{self.number}.{self.transactions}"
        self.path = f"m{number}@{self.place.tenant}.test".encode()
        recipients = [f"t{number}.{each}@x.test".encode() for each in range(self.random.randint(1, 4))]
        commands = [("MAIL", self.path), *(("RCPT", each) for each in recipients)]
        dice = self.random.random()
        if dice < 0.85:
            commands.append(("DATA", self.path))
        elif dice < 0.93 and not self.habits.pipelines:
            commands.append(("EHLO", b""))  # which ends the transaction, as RSET does
        if self.random.random() < 0.2:
            commands.insert(self.random.randint(1, len(commands) - 1), ("NOOP", b""))
        codes = yield from (self.grouped(commands) if self.habits.pipelines else self.one_by_one(commands))
        if codes and codes[-1] == 354:
            yield from self.content(any(code // 100 == 2 for code in codes[1:-1]))
        elif commands[-1][0] != "EHLO" or codes[-1] != 250:
            self.command("RSET", b"RSET")
            yield from self.reply()
        self.in_transaction = False
        self.done = self.transactions

    def one_by_one(self, commands):
        codes = []
        for kind, path in commands:
            yield from self.step()
            self.envelope(kind, path)
            codes.append((yield from self.reply()))
            if kind == "MAIL" and codes[-1] // 100 != 2:
                break
        return codes

    def grouped(self, commands):
        yield from self.step()
        for kind, path in commands:
            self.envelope(kind, path)
        codes = []
        while len(codes) < len(commands):
            codes.append((yield from self.reply()))
        return codes

    def envelope(self, kind, path):
        if kind in ("MAIL", "RCPT"):
            self.world.paths[path] = self
            word = b"MAIL FROM:" if kind == "MAIL" else b"RCPT TO:"
            bare = kind == "MAIL" and self.random.random() < 0.1
            self.command(kind, word + (path if bare else b"<" + path + b">"), path)
        else:
            self.command(kind, kind.encode() + (b" again.test" if kind == "EHLO" else b""), path)
        if kind == "EHLO":
            self.done = self.transactions  # which is the client's own way to give a transaction up

    def content(self, wanted):
        body = b""
        if wanted:
            size = self.random.randint(0, min(self.size, 500) if self.habits.trickles else self.size)
            large = self.random.random() < 0.02 and self.world.plan.pipe_octets > 1000 and not self.habits.trickles
            body = compose(self.random, self, self.path, wild=self.wild, size=size, large=large)
        message = self.message(body)
        self.owed.append(Command("DOT", self.path))
        yield from self.in_pieces(message.wire)
        yield from self.reply()

    def message(self, body):
        """Mail data that will be said next."""
        message = Message(self, self.path, body, self.said + len(body) + 3)
        self.world.messages[self.path] = message
        return message

    def command(self, kind, line, about=b""):
        self.owed.append(Command(kind, about))
        self.say(line + b"\r\n")

    # Replies

    def reply(self):
        """The next reply's code; it has to be one that the command it answers can have."""
        if self.habits.slow_reader:
            self.deaf = True
            yield self.random.uniform(0, 2)
            self.deaf = False
        code, text = yield from self.read()
        if not self.owed:
            if code != 421:
                self.world.forbid(f"{self.name} was told what it did not ask for: {text!r}")
            self.dismissed = True
            yield from self.leave()
        self.judge(self.owed.popleft(), code, text)
        if self.dismissed:
            yield from self.leave()
        return code

    def read(self):
        """The octets of a whole reply, and its code."""
        lines = []
        while not lines or lines[-1][3:4] == b"-":
            lines.append((yield from self.line()))
            if not _REPLY.match(lines[-1]):
                self.world.forbid(f"{self.name} was told what is no reply: {lines[-1]!r}")
                raise Gone
        return int(lines[-1][:3]), b"\n".join(lines)

    def judge(self, command, code, text):
        if code == 421:
            self.dismissed = True
            return
        if self.is_wrong(command.kind, code):
            self.world.forbid(f"{self.name}: {command.kind} was answered {text!r}")
        elif command.kind in _RELAYED and code // 100 == 2:
            self.must_match(command, text, code)
        if command.kind == "MAIL" and code // 100 == 2:
            self.in_transaction = True
        if command.kind == "DOT" and code // 100 == 2:
            self.world.delivered += 1
            self.world.auditor.sees_success(command.about)

    def is_wrong(self, kind, code):
        """Whether no reply to such a command may have this code, wherever it comes from."""
        if self.place.encryption == "required" and not self.secured and kind in _WANT_TLS:
            return code != 530
        if kind == "STARTTLS":
            return code != 220 and self.habits.tls != "inject"
        if kind == "DATA":
            return code // 100 == 2
        return code not in _LOCAL.get(kind, (code,))

    def is_about(self, command, answer):
        if command.kind == "DOT":
            return answer.command == b"(end of data)" and answer.about == command.about
        return answer.command.startswith(_SIGNS[command.kind]) and path_in(answer.command) == command.about

    def look_back(self):
        super().look_back()
        if self.goodbye and self.owed:
            self.world.forbid(f"{self.name}: {len(self.owed)} commands without a reply")
        if not self.may_expect_words:
            return
        last_words = b"\n" + self.everything[-200:]
        told = self.goodbye or self.dismissed or b"\n5" in last_words or b"\n421" in last_words
        if not told and (self.drained_with or not self.world.stopped_early):
            self.world.forbid(f"{self.name} was left without a word")
        cut_off = self.promised is not None and not self.kept_promise
        if cut_off and self.drained_with == "patience" and not self.world.plan.trouble:
            self.world.forbid(f"{self.name}: its transaction was cut off when its listener went away")

    def promise(self):
        if self.in_transaction:
            self.promised = self.transactions

    @property
    def kept_promise(self):
        return self.promised is not None and (self.done or 0) >= self.promised


class LawlessSMTPClient(SMTPClient):
    """Whatever it does, it must not be told of a success that a mail server did not have."""

    def script(self):
        yield from self.enter()
        yield from getattr(self, self.random.choice(_CRIMES))()
        self.is_gone = True
        if self.random.random() < 0.5:
            yield from self.listen()
        yield from self.leave()

    def listen(self):
        """Read on, and look at each 2xx."""
        while True:
            code, text = yield from self.read()
            found = TOKEN.search(text)
            answer = self.world.answers.get(found.group()) if found else None
            if answer is not None and code // 100 == 2 and answer.command is None:
                self.world.forbid(f"{self.name}: {text!r} was a reply to nothing")

    def path_of(self, number):
        self.path = f"m{self.number}.{number}@{self.place.tenant}.test".encode()
        self.world.paths[self.path] = self
        return b"<" + self.path + b">"

    def crime_early(self):
        self.say(b"EHLO early.test\r\nMAIL FROM:" + self.path_of(1) + b"\r\n")
        yield from self.drained()

    def crime_data_at_once(self):
        self.say(b"MAIL FROM:" + self.path_of(1) + b"\r\nRCPT TO:" + self.path_of(1) + b"\r\n")
        yield from self.drained()
        yield self.random.choice((0.0, 5.0))
        self.say(b"DATA\r\n")
        if self.random.random() < 0.5:
            yield self.random.uniform(0, 0.2)
        message = self.message(compose(self.random, self, self.path, wild=True, size=500))
        self.say(message.wire)
        yield from self.drained()

    def crime_flood(self):
        self.say(b"MAIL FROM:" + self.path_of(1) + b"\r\n")  # behind which nothing is taken until there is a login
        for _ in range(60):
            self.say(b"NOOP\r\n" * 800)
            yield from self.drained()

    def crime_deaf_flood(self):
        self.deaf = True
        for _ in range(60):
            self.say(b"HELP\r\nRSET\r\n" * 400)
            yield from self.drained()

    def crime_bdat(self):
        sender, recipient = (f"{each}.{self.number}@evil.test".encode() for each in ("bdat", "to"))
        evil = b"MAIL FROM:<" + sender + b">\r\nRCPT TO:<" + recipient + b">\r\nDATA\r\n"
        said = self.random.choice((len(evil), len(evil) * 2, 0))
        self.say(b"EHLO b.test\r\n")
        yield 5.0
        if said == 0:  # an empty chunk: what follows is commands
            self.world.paths |= {sender: self, recipient: self}
        self.say(f"BDAT {said} LAST\r\n".encode() + evil)
        yield from self.drained()

    def crime_drip(self):
        yield from self.drip(b"MAIL FROM:<")

    def crime_babel(self):
        self.say(
            self.random.choice(
                (
                    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                    b"\x16\x03\x01\x02\x00\x01",
                    b"\x05\x01\x00",
                    b"SSH-2.0-x\r\n",
                    b"EHLO a\nMAIL FROM:<evil.lf@evil.test>\n",
                    b"x" * 70000 + b"\r\n",
                    b"NO\0OP\r\n",
                    b"AUTH PLAIN " + secret(f"client-{self.number}", "pw").encode() + b"\r\n",
                    b"MAIL FROM:<evil.two@evil.test> <evil.three@evil.test>\r\n",
                    b"\r\n" * 300,
                    b"FOO\r\n" * 30,
                    b"XCLIENT ADDR=1.2.3.4\r\nVRFY root\r\nETRN x\r\nDATA\r\nRCPT TO:<evil@x.test>\r\n",
                )
            )
        )
        yield from self.drained()


_CRIMES = [name for name in dir(LawlessSMTPClient) if name.startswith("crime_")]

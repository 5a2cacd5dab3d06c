"""
POP3 clients.
"""

from __future__ import annotations

import re

from tests.simulation.actors import Gone
from tests.simulation.clients import Command, MailClient
from tests.simulation.mail import end_of_data
from tests.simulation.secrets import secret
from tests.simulation.taps import TOKEN

_MULTILINE = re.compile(r"(?:LIST|UIDL|CAPA)|(?:RETR|TOP) .*")
_RELAYED = re.compile(r"STAT|LIST.*|UIDL.*|RETR .*|TOP .*|DELE .*|RSET|NOOP|QUIT")
_LOCAL = {"CAPA": True, "FOO": False, "RETR x": False, "XTND": False}
_COMMANDS = (
    "STAT", "LIST", "UIDL", "LIST 1", "UIDL 1", "RETR 1", "RETR 2", "RETR 1", "TOP 1 5", "DELE 1", "DELE 2", "NOOP",
    "RSET", "CAPA", "FOO", "RETR x", "XTND",
)  # fmt: skip


class POP3Client(MailClient):
    """It sends commands, one by one or several at a time, and knows what each response must look like."""

    def script(self):
        yield from self.enter()
        yield from self.response(Command("greeting"))
        if self.place.tls_by_command and self.habits.tls != "none":
            yield from self.start_tls()
        if self.random.random() < 0.5:
            yield from self.log_in()
        commands = self.random.choices(_COMMANDS, k=self.random.randint(0, 8))
        while commands:
            size = self.random.randint(1, 4) if self.habits.pipelines else 1
            group, commands = commands[:size], commands[size:]
            yield from self.step()
            yield from self.in_pieces("".join(f"{each}\r\n" for each in group).encode())
            for each in group:
                yield from self.response(Command(each))
        yield from self.step()
        if self.random.random() < 0.7:
            self.sent_quit = True
            babbles = self.random.random() < 0.1 and self.world.plan.mischief > 0
            self.say(b"QUIT\r\n" + b"NOOP\r\n" * babbles)
            yield from self.response(Command("QUIT"))
            self.goodbye = True
            yield from self.leave()
        self.is_gone = True

    @property
    def first_line_seconds(self):
        return self.config.timeouts.pop3_command_seconds

    def start_tls(self):
        """STLS, which is no command of the mail server's, and brings no other greeting."""
        if self.random.random() < 0.5:
            yield from self.in_pieces(b"CAPA\r\n")
            yield from self.response(Command("CAPA"))
        yield from self.step()
        self.wants_tls = True
        self.say(b"STLS\r\n" + (self.injection() if self.habits.tls == "inject" else b""))
        if not (yield from self.response(Command("STLS"))):
            yield from self.leave()
        yield from self.shake_hands()

    def injection(self):
        return b"DELE 1\r\nQUIT\r\n"

    def log_in(self):
        """As clients do that always log in; what they say means nothing."""
        password = secret(f"client-{self.number}", "pw")
        for line in (f"USER {self.number}", f"PASS {password}"):
            yield from self.step()
            self.say(line.encode() + b"\r\n")
            yield from self.response(Command(line[:4]))

    def response(self, command):
        """The response to a command; whether it was positive."""
        if self.habits.slow_reader:
            self.deaf = True
            yield self.random.uniform(0, 2)
            self.deaf = False
        line = yield from self.line()
        positive = line.startswith(b"+OK")
        if not positive and not line.startswith(b"-ERR"):
            self.world.forbid(f"{self.name} was told what is no response: {line!r}")
        if command.kind == "greeting" and not positive:
            yield from self.leave()
        answer = self.judge(command, line, positive=positive)
        if self.dismissed:
            yield from self.leave()
        if positive and _MULTILINE.fullmatch(command.kind):
            yield from self.body(command, answer)
        return positive

    def judge(self, command, line, *, positive):
        if line.startswith(b"-ERR [SYS/") and not TOKEN.search(line):
            self.dismissed = True  # whatever was asked: the proxy ends the session
        elif self.place.encryption == "required" and not self.secured:
            if positive and command.kind not in ("greeting", "CAPA", "STLS", "QUIT", "NOOP"):
                self.world.forbid(f"{self.name}: {command.kind} without TLS was answered {line!r}")
        elif command.kind in _LOCAL:
            if positive is not _LOCAL[command.kind]:
                self.world.forbid(f"{self.name}: {command.kind} was answered {line!r}")
        elif _RELAYED.fullmatch(command.kind) and (positive or TOKEN.search(line)):
            return self.must_match(command, line, 200 if positive else 500)
        return None

    def body(self, command, answer):
        known = 0
        while (end := end_of_data(self.received, known)) is None:
            known = len(self.received)
            if self.eof or self.lost:
                raise Gone
            yield
        body = bytes(self.received[:end])
        del self.received[: end + 3]
        if answer is None:
            return
        self.world.collected += 1
        if not answer.complete:
            self.world.forbid(f"{self.name}: the response to {command.kind} has an end that no mail server gave it")
        if body != bytes(answer.body) and not self.config.pop3.fix_newlines:
            self.world.forbid(f"{self.name}: the response to {command.kind} is not what the mail server said")

    def is_about(self, command, answer):
        return answer.command.decode("latin-1") == command.kind

    def look_back(self):
        super().look_back()
        told = self.goodbye or self.everything.rpartition(b"\r\n-ERR")[2].count(b"\n") == 1
        if self.drained_with == "patience" and self.may_expect_words and not told and not self.world.plan.trouble:
            self.world.forbid(f"{self.name} was left without a word when its listener went away")


class LawlessPOP3Client(POP3Client):
    """Whatever it says, nothing comes of it that it did not ask for."""

    def script(self):
        yield from self.enter()
        self.is_gone = True
        if self.random.random() < 0.5:
            yield from self.line()
        yield from getattr(self, self.random.choice(_CRIMES))()
        yield from self.leave()

    def crime_babel(self):
        self.say(
            self.random.choice(
                (
                    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                    b"\x16\x03\x01\x02\x00\x01",
                    b"x" * 9000 + b"\r\n",
                    b"RETR 1\rRETR 2\r\n",
                    b"RETR 1 2 3\r\nDELE -1\r\nTOP 1\r\nRETR \xd9\xa1\r\n",
                    b"NO\0OP\r\n",
                    b"AUTH PLAIN\r\n" + b"QUIT\r\n",
                    b"USER x\r\nPASS " + secret(f"client-{self.number}", "pw").encode() + b"\r\n",
                    b"XTND XMIT\r\nSTLS now\r\nAPOP a b\r\nUTF8\r\n",
                )
            )
        )
        yield from self.drained()

    def crime_flood(self):
        self.deaf = self.random.random() < 0.5
        for _ in range(40):
            self.say(b"NOOP" + b" " * 490 + b"\r\nLIST\r\n" + b"NOOP" + b" " * 500 + b"\r\n" * 8)
            yield from self.drained()

    def crime_drip(self):
        yield from self.drip(b"RETR ")


_CRIMES = [name for name in dir(LawlessPOP3Client) if name.startswith("crime_")]

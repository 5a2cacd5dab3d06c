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
        yield from self.response(Command("greeting"))
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
        if positive and _MULTILINE.fullmatch(command.kind):
            yield from self.body(command, answer)
        return positive

    def judge(self, command, line, *, positive):
        if command.kind in _LOCAL:
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
        if body != bytes(answer.body) and not self.world.fixes_newlines:
            self.world.forbid(f"{self.name}: the response to {command.kind} is not what the mail server said")

    def is_about(self, command, answer):
        return answer.command.decode("latin-1") == command.kind

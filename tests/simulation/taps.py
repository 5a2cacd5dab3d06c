"""
What the proxy says to others and hears from them, followed octet by octet from its own point of view.

A tap decides which command a reply answered, in the order in which the proxy wrote and read; what a mail server
thinks it answered does not matter, since mail servers lie.
"""

from __future__ import annotations

import re
from collections import deque

from attrs import define, field

from tests.simulation.mail import end_of_data
from tests.simulation.marker import HANDSHAKE
from tests.simulation.secrets import owners, secrets_in

TOKEN = re.compile(rb"\br([0-9]+)\.([0-9]+)\b")
"""A mark in every reply of a mail server: its connection, and a number that no other reply has."""

_REPLY_LINE = re.compile(rb"[2-5][0-5][0-9](?:$|[ -])")
_PATH = re.compile(rb"<([^>]*)>")


def path_in(line):
    """The address in a MAIL or RCPT command."""
    found = _PATH.search(line)
    return found.group(1) if found else b""


@define(eq=False)
class Answer:
    """A reply of a mail server: to which command of the proxy (None: to none), on which connection."""

    tap: object
    command: bytes | None
    code: int
    about: bytes
    """The reverse-path of the transaction."""
    session: object = None
    """Whose it is."""
    given: bool = False
    body: bytearray = field(factory=bytearray)
    """Of a multi-line response."""
    complete: bool = False


@define(eq=False)
class ClientTap:
    """
    A mail client's connection, which is the proxy's word against the client's: only a few moments are noted.

    `is_secured` once the proxy takes it for encrypted, `is_greeted` and `is_heard` once the proxy has said something to
    the client, and has heard a line of it; `is_here` until the proxy has lost it.
    """

    implicit: bool
    """TLS comes first."""
    is_secured: bool = False
    is_greeted: bool = False
    is_heard: bool = False
    is_here: bool = True

    def secured(self):
        """The proxy's side of the handshake is done."""
        self.is_secured = True

    def said(self, octets):
        """Octets that the proxy gave its transport."""
        self.is_greeted = self.is_greeted or octets[:1] not in (b"", bytes((HANDSHAKE,)))

    def heard(self, octets):
        """Octets that the transport will give the proxy."""
        self.is_heard = self.is_heard or (b"\n" in octets and not self.implicit)

    def said_encrypted(self, octets):
        """Plaintext that TLS was given."""
        self.is_greeted = True

    def heard_inside(self, octets):
        """Plaintext out of TLS."""
        self.is_heard = self.is_heard or b"\n" in octets

    def closed(self):
        """The connection is over."""
        self.is_here = False


class Tap:
    """
    Args:
        world: is told what must not be.
        number: of the connection.
        host: who was to be reached.
    """

    def __init__(self, world, number, host):
        self.world = world
        self.number = number
        self.host = host
        self.began = world.reactor.seconds()
        self.plain_out = bytearray()
        self.inside_out = bytearray()
        self._encrypted = False

    @property
    def name(self):
        return f"upstream {self.number}"

    def said(self, octets):
        """Octets that the proxy gave its transport: plaintext, or a part of TLS."""
        if not self._encrypted and octets[:1] == bytes((HANDSHAKE,)):
            self._encrypted = True
            self.begins_tls()
        if not self._encrypted:
            self.plain_out += octets
            self.said_inside(octets)

    def heard(self, octets):
        """Octets that the transport will give the proxy."""
        if not self._encrypted:
            self.heard_inside(octets)

    def said_encrypted(self, octets):
        """Plaintext that TLS was given."""
        self.inside_out += octets
        self.said_inside(octets)

    def closed(self):
        """The connection is over; whose secrets were on it is looked at."""
        if owners(bytes(self.plain_out)) and not self.world.may_be_open(self.host):
            self.world.forbid(f"{self.name}: credentials on a plaintext leg to {self.host}")
        whose = owners(bytes(self.inside_out)) | owners(bytes(self.plain_out))
        self.judge_owners(whose)

    def judge_owners(self, whose):
        """To an HTTP service a tenant's secrets go, or the service key's."""

    def begins_tls(self):
        """Everything learnt before is forgotten."""

    def said_inside(self, octets):
        """Plaintext of the proxy."""

    def heard_inside(self, octets):
        """Plaintext of the peer."""


class MailTap(Tap):
    """What SMTP and POP3 have in common."""

    def __init__(self, world, number, host):
        super().__init__(world, number, host)
        self.awaiting = deque([b"(connection)"])
        self.session = None
        """The mail client whose octets are on this connection."""
        self.owner = None
        self.quit = False
        self._out = bytearray()
        self._in = bytearray()
        self._stray = False
        self._shown = None
        self.logging_in = True
        """Whether it is open, and nobody was let in yet."""
        self.login_at = None
        """When the login proper began, with the first command that says who we are."""
        self.garbled = False

    def begins_tls(self):
        self._in.clear()
        self._out.clear()

    def belongs_to(self, session):
        if self.session is None:
            self.session = session
        elif self.session is not session:
            self.world.forbid(f"{self.name} carries octets of {self.session.name} and of {session.name}")

    def was_heard_by(self, session, tokens):
        """A mail client has heard these words."""
        self.belongs_to(session)

    def judge_owners(self, whose):
        if len(whose) > 1:
            self.world.forbid(f"{self.name} carries secrets of {sorted(whose)}")
        for owner in whose:
            self.owner = owner
            if self.session is not None and self.session.place.owner != owner:
                self.world.forbid(f"{self.name} logs in as {owner} for a client of {self.session.place.owner}")

    def said_inside(self, octets):
        self._out += octets
        while self._take_out():
            pass

    def _take_out(self):
        end = self._out.find(b"\r\n")
        if end < 0:
            return False
        line = bytes(self._out[:end])
        del self._out[: end + 2]
        if self.awaiting and not self.may_be_grouped(line):
            self.world.forbid(f"{self.name}: {line[:20]!r} before the reply to {self.awaiting[0][:20]!r}")
        if self.login_at is None and line[:5] in (b"USER ", b"AUTH "):
            self.login_at = self.world.reactor.seconds()
        for shown in secrets_in(line):
            self._shown = shown
            self.world.ledger.shows(self, shown)
        self.awaiting.append(line)
        self.command(line)
        return True

    def may_be_grouped(self, line):
        """Whether a command may follow others without a reply to them."""
        return False

    def heard_inside(self, octets):
        if not self._in:
            self._stray = not self.awaiting
        self._in += octets
        while not self.garbled and self._take_in():
            pass

    def _answered(self, line, code):
        command = None if self._stray or not self.awaiting else self.awaiting.popleft()
        found = TOKEN.search(line)
        answer = Answer(self, command, code, self.about(), self.session)
        if found:
            self.world.answers[found.group()] = answer
        self._stray = not self.awaiting
        if self._shown is not None and not self.goes_on(line):
            self._end_login(good=None if command in (None, b"*") else self.verdict(line))
        return answer

    def _end_login(self, *, good):
        if self._shown is not None:
            self.world.ledger.answered(self, self._shown, good=good)
            self._shown = None
            self.logging_in = not good
            self.world.ledger.is_through(self)

    def closed(self):
        super().closed()
        if self.logging_in:
            self.world.ledger.is_through(self)
        self._end_login(good=None)
        self.logging_in = False

    def goes_on(self, line):
        """Whether a reply asks for more of the login."""
        raise NotImplementedError

    def verdict(self, line):
        """What a reply says of a login: True, False for good, or None for neither."""
        raise NotImplementedError

    def about(self):
        return b""


class SMTPTap(MailTap):
    """A connection to an SMTP server."""

    def __init__(self, world, number, host):
        super().__init__(world, number, host)
        self._content = False
        self._known_out = 0
        self._open = False
        self._mail = b""
        self._mail_is_new = False
        self._strayed = False
        """The mail server has said something that nobody had asked for."""

    def about(self):
        return self._mail

    def belongs_to(self, session):
        """Others of the same login may have had it before, and left it between two transactions."""
        if self.session is None or self.session is session:
            self.session = session
            return
        if session.place.owner != self.session.place.owner or not self.world.config_of(session).pool.enabled:
            super().belongs_to(session)
        elif self._strayed or len(self.awaiting) != 1:
            self.world.forbid(f"{self.name} goes to {session.name} and is not sound")
        elif not self._mail_is_new:
            self.world.forbid(f"{self.name} goes to {session.name} in the middle of a transaction")
        self.session = session
        self.world.used_again += 1

    def _take_out(self):
        return self._take_content() if self._content else super()._take_out()

    def _take_content(self):
        end = end_of_data(self._out, self._known_out)
        self._known_out = 0 if end is not None else len(self._out)
        if end is None:
            return False
        body = bytes(self._out[:end])
        del self._out[: end + 3]
        self._content = False
        self.awaiting.append(b"(end of data)")
        self.world.final_dot(self, self._mail, body)
        return True

    def closed(self):
        super().closed()
        if self._content:
            self.world.no_dot(self, self._mail, bytes(self._out))

    def was_heard_by(self, session, tokens):
        for token in tokens:
            answer = self.world.answers.get(token)
            if answer is None or answer.session is not session:
                self.world.forbid(f"{session.name} hears {token!r} of {self.name}, which is not for it")

    def may_be_grouped(self, line):
        return line[:5] == b"RCPT " or line == b"DATA"

    def goes_on(self, line):
        return line.startswith(b"334")

    def verdict(self, line):
        return {b"2": True, b"5": False}.get(line[:1])

    def command(self, line):
        verb = line[:5].upper()
        if verb == b"MAIL ":
            if self._open:
                self.world.forbid(f"{self.name}: {line!r} inside of another transaction")
            self._mail = path_in(line)
            self._mail_is_new = True
            self.world.auditor.sees_mail(self._mail)
            self._known(self._mail, line)
        elif verb == b"RCPT ":
            self._mail_is_new = False
            self._known(path_in(line), line)
        elif verb == b"QUIT":
            self.quit = True

    def _heard_answer(self, answer):
        """Whether the mail server is in a transaction, which another MAIL would be nested in."""
        command = answer.command or b""
        self._strayed = self._strayed or answer.command is None
        if command.startswith(b"MAIL ") and answer.code // 100 == 2:
            self._open = True
        elif command == b"(end of data)" or (command == b"RSET" and answer.code // 100 == 2):
            self._open = False
            self.world.successes += command != b"RSET" and answer.code // 100 == 2
        elif command == b"DATA" and answer.code == 354:
            self._content = True

    def _known(self, path, line):
        session = self.world.paths.get(path)
        if session is None:
            self.world.forbid(f"{self.name}: a command that no client gave: {line!r}")
        else:
            self.belongs_to(session)

    def _take_in(self):
        lines = bytes(self._in).split(b"\n")
        for number, line in enumerate(lines[:-1]):
            if not _REPLY_LINE.match(line.rstrip(b"\r")):
                self.garbled = True
                return False
            if line[3:4] != b"-":
                del self._in[: len(b"\n".join(lines[: number + 1])) + 1]
                self._heard_answer(self._answered(b"\n".join(lines[: number + 1]), int(line[:3])))
                return True
        return False


_PASSING = re.compile(rb"\[(?:SYS/TEMP|IN-USE|LOGIN-DELAY)")
_MULTILINE = re.compile(rb"(?:LIST|UIDL|CAPA)|(?:RETR|TOP) .*")


class POP3Tap(MailTap):
    """A connection to a POP3 server."""

    def __init__(self, world, number, host):
        super().__init__(world, number, host)
        self._body = None
        self._known_in = 0

    def command(self, line):
        if line == b"QUIT":
            self.quit = True

    def goes_on(self, line):
        return line.startswith(b"+ ")

    def verdict(self, line):
        if _PASSING.search(line):
            return True if b"IN-USE" in line else None
        return {b"+OK": True, b"-ERR": False}.get(line.partition(b" ")[0].strip())

    def _take_in(self):
        if self._body is not None:
            return self._take_body()
        end = self._in.find(b"\n")
        if end < 0:
            return False
        line = bytes(self._in[: end + 1])
        del self._in[: end + 1]
        positive = line.startswith(b"+OK")
        answer = self._answered(line, 200 if positive else 500)
        if positive and answer.command and _MULTILINE.fullmatch(answer.command):
            self._body = answer
        return True

    def _take_body(self):
        answer = self._body
        end = end_of_data(self._in, self._known_in)
        self._known_in = 0 if end is not None else len(self._in)
        if end is None:
            return False
        answer.body[:] = self._in[:end]
        answer.complete = True
        del self._in[: end + 3]
        self._body = None
        self._stray = not self.awaiting
        return True

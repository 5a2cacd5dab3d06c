"""
Mail servers that keep to their protocol but for what a test wants them to say instead.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping

from attrs import define, field

from tests.support.scripted import Visit

Lie = bytes | Callable[[Visit], None]
"""Octets, or something that the server does, in place of the reply."""

_TRUTHS = {
    b"DATA": b"354 go on\r\n",
    b".": b"250 2.0.0 taken\r\n",
    b"QUIT": b"221 bye\r\n",
}
_LISTS = (b"LIST", b"UIDL")
_END = b"\r\n.\r\n"


def hang_up(_visit: Visit) -> None:
    """The connection is closed in place of a reply."""
    raise ConnectionResetError("the mail server hangs up")


def endless(octets: bytes) -> Lie:
    """The same octets again and again, until nobody takes them any more."""

    def talk(visit: Visit) -> None:
        while True:
            visit.send(octets * 1000)

    return talk


@define
class Heard:
    """All that came through one connection behind its login, and its commands."""

    octets: bytearray = field(factory=bytearray)
    commands: list[bytes] = field(factory=list)
    data: list[bytes] = field(factory=list)
    """Mail data, each up to its final dot."""
    begun: threading.Event = field(factory=threading.Event)
    """What follows the login at once has been said."""
    closed: threading.Event = field(factory=threading.Event)


@define
class Liar:
    """
    One server for a whole module; `lies` are told once each, by command, `.` for the end of mail data.

    `login` is the lie that follows the login at once.  `sessions` has what each connection said, the last one last.
    """

    lies: dict[bytes, Lie] = field(factory=dict)
    sessions: list[Heard] = field(factory=list)
    pop3_spoken: bool = False

    def tell(self, lies: Mapping[bytes, Lie]) -> None:
        """These lies, and no earlier ones; what was heard is forgotten."""
        self.lies = dict(lies)
        self.sessions = []

    @property
    def commands(self) -> list[bytes]:
        """Of all connections, without the QUIT that each SMTP session ends with anyway."""
        commands = [command for session in self.sessions for command in session.commands]
        return commands if self.pop3_spoken else [command for command in commands if command != b"QUIT"]

    def _say(self, visit: Visit, command: bytes, truth: bytes) -> bool:
        """Whether what was said was the truth."""
        lie = self.lies.pop(command, truth)
        if callable(lie):
            lie(visit)
        else:
            visit.send(lie)
        return lie == truth

    # SMTP

    def smtp(self, visit: Visit) -> None:
        """The script of one connection of SMTP."""
        visit.log_in_smtp()
        heard = self._begin(visit)
        try:
            while True:
                line = _read(visit, heard, b"\n").rstrip(b"\r\n")
                verb = line.split(b" ")[0].upper()
                heard.commands.append(line)
                told_truth = self._say(visit, verb, _TRUTHS.get(verb, b"250 2.0.0 ok\r\n"))
                if verb == b"QUIT":
                    return
                if verb == b"DATA" and told_truth:
                    self._take_data(visit, heard)
        finally:
            heard.closed.set()

    def _take_data(self, visit: Visit, heard: Heard) -> None:
        if b"content" in self.lies:
            # Not before some of it has come: the lie is told in the middle.
            _peek(visit)
            self._say(visit, b"content", b"")
        heard.data.append(_read(visit, heard, _END, behind=b"\r\n")[:-3])
        heard.commands.append(b".")
        self._say(visit, b".", _TRUTHS[b"."])

    # POP3

    def pop3(self, visit: Visit) -> None:
        """The script of one connection of POP3."""
        self.pop3_spoken = True
        visit.log_in_pop3()
        assert visit.read_line() == b"CAPA"
        visit.send_capabilities()
        heard = self._begin(visit)
        try:
            while True:
                line = _read(visit, heard, b"\n").rstrip(b"\r\n")
                heard.commands.append(line)
                verb, *arguments = line.split(b" ")
                many = verb in (b"RETR", b"TOP") or (verb in _LISTS and not arguments)
                self._say(visit, verb, b"+OK\r\n1 9\r\n.\r\n" if many else b"+OK\r\n")
                if verb == b"QUIT":
                    return
        finally:
            heard.closed.set()

    def _begin(self, visit: Visit) -> Heard:
        heard = Heard()
        self.sessions.append(heard)
        # Or the kernel holds the next words back until the last ones are acknowledged.
        visit.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if b"login" in self.lies:
            self._say(visit, b"login", b"")
        heard.begun.set()
        return heard


def _read(visit: Visit, heard: Heard, end: bytes, *, behind: bytes = b"") -> bytes:
    """Everything up to this end; `behind` is what is taken to stand before the first octet."""
    taken = bytearray(visit.take_unread())
    while (place := (behind + taken).find(end)) < 0:
        taken += visit.read_some(65536)
    size = place + len(end) - len(behind)
    visit.put_back(bytes(taken[size:]))
    heard.octets += taken[:size]
    return bytes(taken[:size])


def _peek(visit: Visit) -> None:
    """At least one octet has come."""
    visit.put_back(visit.take_unread() or visit.read_some(65536))

"""
A POP3 session, watched from both sides by somebody who believes nothing.

The witness is the session's owner: it hands events in, carries nothing out but writes everything down.  It knows by
itself which line of the client each response belongs to, and what the mail server has said to the command in it.
"""

import re
from collections import Counter

from attrs import define, field

from mailproxy.errors import ConnectionLost
from mailproxy.session.actions import (
    AbortDownstream,
    AbortUpstream,
    CloseDownstream,
    OpenUpstream,
    Report,
    SendDownstream,
    SendUpstream,
    StartTLS,
    Waiting,
)
from mailproxy.session.encryption import Encryption
from mailproxy.session.pop3 import POP3Session
from mailproxy.wire.pop3 import POP3Capabilities
from tests.wire.smuggling import CRLF, divided, normalized

MOST_SILENCES = 200
LARGEST_READ = 65536
CLIENTS_TURN = frozenset(
    {
        Waiting.DOWNSTREAM_FIRST_COMMAND,
        Waiting.DOWNSTREAM_COMMAND,
        Waiting.DOWNSTREAM_LINE,
        Waiting.DOWNSTREAM_HANDSHAKE,
    }
)
SERVERS_TURN = frozenset({Waiting.UPSTREAM_REPLY, Waiting.UPSTREAM_BODY, Waiting.UPSTREAM_QUIT_REPLY})
RELAYED = (b"STAT", b"LIST", b"RETR", b"DELE", b"NOOP", b"RSET", b"TOP", b"UIDL", b"QUIT", b"LANG")
VERBATIM = (b"USER", b"PASS")
TOO_LONG = None
_STATUS = re.compile(rb"(?:\+OK|-ERR)(?: [^\0\r\n]*)?")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_RELAYED = re.compile(
    rb"STAT|NOOP|RSET|QUIT|(?:LIST|UIDL)(?: [0-9]{1,10})?|(?:RETR|DELE) [0-9]{1,10}|TOP(?: [0-9]{1,10}){2}"
    rb"|LANG(?: (?:\*|[A-Za-z0-9-]{1,64}))?|(?:USER|PASS) [^\0-\x08\x0a-\x1f\x7f]+"
)
_LAST_WORDS = re.compile(rb"(?:-ERR [ -~]+\r\n)?")


@define(eq=False)
class Relay:
    """A command that went to the mail server, what that says to it, and what of it the client has got."""

    line: bytes
    fix_newlines: bool
    longest_status: int
    said: bytes = b""
    passed: bytes = b""

    @property
    def verb(self):
        return self.line.split(b" ")[0]

    @property
    def many_lines(self):
        arguments = len(self.line.split(b" ")) - 1
        return (self.verb in (b"RETR", b"TOP")) or (self.verb in (b"LIST", b"UIDL", b"LANG") and not arguments)

    def expected(self):
        """What may have been passed on, whether that is all of it, and what the mail server has said behind it."""
        status, newline, rest = self.said.partition(b"\n")
        if not newline:
            return b"", False, b""
        status = _CONTROL.sub(b"?", status.removesuffix(b"\r")) + b"\r\n"
        if not (status.startswith(b"+OK") and self.many_lines):
            return status, True, rest
        body, behind = divided(rest)
        whole = rest if body is None else body
        shown = normalized(whole) if self.fix_newlines else whole
        return status + shown + (b"" if body is None else b".\r\n"), body is not None, behind

    @property
    def lied(self):
        """Whether the status line is none."""
        status, newline, _ = self.said.partition(b"\n")
        if not newline:
            return len(status) >= self.longest_status
        if not status.endswith(b"\r") or len(status) >= self.longest_status:
            return True
        return _STATUS.fullmatch(status[:-1]) is None

    @property
    def over(self):
        """Whether the client has got a whole response."""
        shown, complete, _ = self.expected()
        return complete and not self.lied and self.passed == shown

    @property
    def in_body(self):
        """Whether the client has got the beginning of a response of many lines, and no more."""
        shown, complete, _ = self.expected()
        return bool(shown) and not self.lied and not complete


@define
class Lines:
    """The client's lines, of which too long ones have no words."""

    limit: int
    lines: list = field(factory=list)
    _rest: bytes = b""
    _skipping: bool = False

    def feed(self, octets):
        self._rest += octets
        while (end := self._rest.find(b"\n")) >= 0:
            line, self._rest = self._rest[:end], self._rest[end + 1 :]
            if not self._skipping:
                self.lines.append(TOO_LONG if end >= self.limit else line.removesuffix(b"\r"))
            self._skipping = False
        if len(self._rest) >= self.limit and not self._skipping:
            self.lines.append(TOO_LONG)
            self._skipping = True
        if self._skipping:
            self._rest = b""


class POP3Witness:
    """
    Args:
        policy: the session's.
        size: the client's octets are handed in in pieces of this size; None for as they come.
    """

    def __init__(self, policy, *, size=None):
        self.session = POP3Session(policy)
        self.policy = policy
        self.size = size
        self.said = b""
        self.asked = b""
        self.outcome = None
        self.reports = Counter()
        self.upstream = None
        self._lines = Lines(policy.max_line_octets)
        self._answered = 0
        """How many of the lines have their response."""
        self._heard = 0
        self.relay = None
        self._last_verb = b""
        self._local = b""
        self._greeted = False
        self._unread = []
        self._reading = False
        self._half_closed = False
        self._client_gone = False
        self._handshaking = False
        self._secure = policy.encryption is Encryption.IMPLICIT
        self._draining = False
        self._serial = 0
        self._do(self.session.start)

    # Events

    def client(self, octets):
        """The client sends; what is not read stays in its socket, and during a handshake it belongs to TLS."""
        if self._half_closed or self._client_gone or self._handshaking or self.outcome is not None:
            return
        size = self.size or len(octets) or 1
        self._unread += [octets[start : start + size] for start in range(0, len(octets), size)]
        self._read()

    def _read(self):
        if self._reading:
            return
        self._reading = True
        while self._unread and self.session.reading and not self._handshaking and self.outcome is None:
            chunk = self._unread.pop(0)
            self._heard += len(chunk)
            self._lines.feed(chunk)
            self._do(self.session.receive_downstream, chunk)
        self._reading = False
        if self._handshaking:
            self._unread.clear()

    def half_close(self):
        if not self._half_closed and not self._client_gone and self.outcome is None and not self._unread:
            self._half_closed = True
            self._do(self.session.downstream_ended)

    def vanish(self):
        if not self._client_gone and self.outcome is None:
            self._client_gone = True
            self._unread.clear()
            self._do(self.session.downstream_lost)

    def secure(self):
        """The client's TLS handshake is done."""
        if self._handshaking:
            self._handshaking = False
            self._secure = True
            self._lines = Lines(self.policy.max_line_octets)
            self._answered = 0
            self._do(self.session.downstream_secured)

    def open(self, listed, *, logged_in=True):
        """The login at the mail server has succeeded."""
        if self.upstream == "opening":
            self.upstream = "ready"
            self._do(self.session.upstream_opened, POP3Capabilities(listed, logged_in=logged_in))

    def refuse(self, error):
        """It has failed."""
        if self.upstream == "opening":
            self.upstream = None
            self._do(self.session.upstream_failed, error)
            assert self.outcome is not None

    def speak(self, octets):
        """The mail server sends."""
        if self.upstream != "ready" or not octets:
            return
        relay, said = self.relay, self.said
        if relay is None:
            self._do(self.session.receive_upstream, octets)
            assert self.outcome is not None, "words that nobody asked for were taken"
            assert self.said == said, "words that nobody asked for were passed on"
            return
        relay.said += octets
        self._do(self.session.receive_upstream, octets)
        if relay.lied or relay.expected()[2]:
            assert self.outcome is not None, "a server that has lied was kept"

    def hang_up(self):
        """The mail server's connection is lost."""
        if self.upstream == "ready":
            self.upstream = None
            self._do(self.session.upstream_lost, ConnectionLost("gone"))
            assert self.outcome is not None

    def expire(self):
        if self.outcome is None:
            self._do(self.session.expired)
            assert self.outcome is not None, "a deadline has no other end"

    def drain(self):
        if self.outcome is None:
            self._draining = True
            self._do(self.session.drain)
            assert self.outcome is not None or self.relay is not None, "nothing to wait for any more"

    def cut(self, *, last):
        if self.outcome is None:
            waits = not last and self.relay is not None and self.relay.verb == b"QUIT"
            self._do(lambda: self.session.cut(last=last))
            assert (self.outcome is None) == waits, "who may wait on and who may not"

    def silence(self):
        """Nobody says anything any more."""
        for _ in range(MOST_SILENCES):
            if self.outcome is not None:
                return
            self.expire()
        raise AssertionError(f"it still waits for {self.session.waiting}")

    def come_late(self):
        """Whatever is heard behind the end changes nothing."""
        session = self.session
        assert self.outcome is not None
        for event in (session.downstream_ended, session.downstream_lost, session.expired, session.drain):
            self._do(event)
        self._do(session.receive_downstream, b"NOOP\r\n")
        self._do(session.receive_upstream, b"250 late\r\n")
        self._do(session.upstream_failed, ConnectionLost("late"))
        self._do(session.upstream_lost, ConnectionLost("late"))
        self._do(session.downstream_secured)
        for last in (False, True):
            self._do(lambda last=last: session.cut(last=last))

    # Actions

    def _do(self, hear, *arguments):
        hear(*arguments)
        while (action := self.session.next_action()) is not None:
            assert self.outcome is None or isinstance(action, Report), f"{action} behind the end"
            self._let_go()
            _DEEDS[type(action)](self, action)
        self._let_go()
        self._look()
        self._read()

    def _let_go(self):
        """A response that is complete belongs to its line; behind that to QUIT there is no other."""
        if self.relay is not None and self.relay.over:
            self._last_verb, self.relay = self.relay.verb, None
            self._answered += 1

    def _send_downstream(self, action):
        assert action.raw
        self.said += action.raw
        if self.relay is not None:
            self.relay.passed += action.raw
        else:
            self._local += action.raw

    def _send_upstream(self, action):
        self.asked += action.raw
        assert self.upstream == "ready"
        assert not self._draining, "a new command although the listener goes away"
        assert self.relay is None, "a command before the response to the one before it"
        self._count_local()
        line = self._lines.lines[self._answered]
        command = as_relayed(line)
        assert command + CRLF == action.raw, f"{line} went out as {action.raw}"
        assert _RELAYED.fullmatch(command), command
        self.relay = Relay(command, self.policy.fix_newlines, self.policy.max_status_octets)

    def _open_upstream(self, _action):
        assert self.upstream is None
        assert self._secure or self.policy.encryption is not Encryption.REQUIRED, "a login before TLS"
        self.upstream = "opening"

    def _abort_upstream(self, _action):
        assert self.upstream is not None
        self.upstream = None

    def _start_tls(self, _action):
        assert self.policy.encryption.by_command
        assert not self._secure
        self._count_local()
        assert self._answered == len(self._lines.lines), "lines behind STLS were kept"
        assert not self._lines._rest
        self._handshaking = True

    def _end(self, action):
        self.outcome = action.outcome
        if self.relay is None:
            self._count_local(last_words=True)
        elif self.relay.in_body:
            assert isinstance(action, AbortDownstream) or self._client_gone, "half a mail looks like a whole one"
        else:
            assert _LAST_WORDS.fullmatch(self.relay.passed), self.relay.passed

    def _report(self, action):
        self.reports[action.event] += 1

    # What holds at any moment

    def _count_local(self, *, last_words=False):
        """Our own responses, each to the next line."""
        octets, self._local = self._local, b""
        if octets and not self._greeted:
            greeting, newline, octets = octets.partition(CRLF)
            assert newline
            assert greeting.startswith((b"+OK", b"-ERR"))
            self._greeted = True
        while octets:
            several = self._answered < len(self._lines.lines) and keyword(self._lines.lines[self._answered]) == b"CAPA"
            end = b"\r\n.\r\n" if several and octets.startswith(b"+OK capability list") else CRLF
            response, newline, octets = octets.partition(end)
            assert newline
            assert re.fullmatch(rb"(?:\+OK|-ERR|\+ ?)[^\0]*", response)
            self._answered += 1
        # A session that ends may have one word more.
        assert self._answered <= len(self._lines.lines) + last_words, "a response to nothing"

    def _look(self):
        if self.outcome is None:
            self._count_local()
        relay, waiting = self.relay, self.session.waiting
        if relay is not None and self.outcome is None:
            shown, complete, _ = relay.expected()
            assert shown.startswith(relay.passed)
            assert len(shown) - len(relay.passed) <= (4 if not complete else 0), "octets were held back"
        assert self.session.wait_serial >= self._serial
        self._serial = self.session.wait_serial
        assert (waiting is Waiting.NOBODY) == (self.outcome is not None)
        assert self._last_verb != b"QUIT" or self.outcome == "quit"
        if waiting in CLIENTS_TURN:
            assert self.session.reading, "it waits for octets that it does not read"
            assert not self._client_gone
            assert not self._half_closed or waiting is Waiting.DOWNSTREAM_HANDSHAKE, "who is gone is not talked to"
            assert self._answered == len(self._lines.lines), "a line without a response"
            assert relay is None
        if waiting is Waiting.UPSTREAM_LOGIN:
            assert self.upstream == "opening"
        if waiting in SERVERS_TURN:
            assert relay is not None
        if self.outcome is not None:
            assert self.upstream is None, "the mail server's connection was forgotten"


def keyword(line):
    return b"" if line is TOO_LONG else line.strip(b" \t").replace(b"\t", b" ").split(b" ")[0].upper()


def as_relayed(line):
    """How a line of the client goes out, if it does."""
    assert line is not TOO_LONG
    verb = keyword(line)
    assert verb in RELAYED + VERBATIM, line
    if verb in VERBATIM:
        return verb + b" " + line.lstrip(b" \t")[len(verb) + 1 :]
    return b" ".join([verb, *line.split()[1:]])


_DEEDS = {
    SendDownstream: POP3Witness._send_downstream,
    SendUpstream: POP3Witness._send_upstream,
    OpenUpstream: POP3Witness._open_upstream,
    AbortUpstream: POP3Witness._abort_upstream,
    StartTLS: POP3Witness._start_tls,
    CloseDownstream: POP3Witness._end,
    AbortDownstream: POP3Witness._end,
    Report: POP3Witness._report,
}

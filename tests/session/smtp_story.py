"""
An SMTP session in any order of events, watched from both sides.

The mail server numbers its replies.  In the end each reply that the client got is laid beside the client's command, and
where it carries a number, beside the command that the mail server answered with that number.
"""

from mailproxy.errors import ConnectionLost, Unreachable
from mailproxy.session.actions import AbortUpstream, CloseDownstream, OpenUpstream, ReleaseUpstream
from mailproxy.wire.smtp import ReplyParser
from tests.session.smtp_script import Script, extensions

TRANSACTION = (b"MAIL", b"RCPT", b"DATA", b"RSET")
EARLY = b"mail data that has not ended"


class MailServer:
    """What the mail server was asked, on all of its connections, and what it answered."""

    def __init__(self):
        self.answered = {}
        self.completed = self.transactions = 0
        self.reset()

    def reset(self):
        """There is another connection."""
        self.unanswered = []
        self._content = None

    def hear(self, octets):
        """Commands and mail data; nothing else may come."""
        while octets:
            if self._content is None:
                line, newline, octets = octets.partition(b"\r\n")
                assert newline
                assert line.split(b" ")[0] in TRANSACTION, line
                self.unanswered.append(line)
                self.transactions += line.startswith(b"MAIL")
            else:
                whole = self._content + octets
                end = 0 if whole.startswith(b".\r\n") else whole.find(b"\r\n.\r\n") + 2
                if not whole.startswith(b".\r\n") and end < 2:
                    self._content = whole
                    return
                self.unanswered.append(b".")
                self.completed += 1
                self._content, octets = None, whole[end + 3 :]

    def answer(self, code):
        """A reply with the next number."""
        number = len(self.answered)
        nothing = b"" if self._content is None else EARLY
        command = self.unanswered.pop(0) if self.unanswered else nothing
        self.answered[number] = command
        if code == 354 and command == b"DATA":
            self._content = b""
        return b"%d upstream %d\r\n" % (code, number)


class Story:
    """
    Args:
        policy: the session's.
        known: what the mail server has offered lately, or None.
    """

    def __init__(self, policy=None, known=None):
        self.script = Script(policy, known=known)
        self.server_side = MailServer()
        self.client_octets = b""
        self.replies = b""
        self.outcome = None
        self.upstream = None
        self._watch()

    def play(self, events):
        """Everything happens, until the session is over."""
        for kind, detail in events:
            if self.outcome is None:
                getattr(self, kind)(detail)
                self._watch()
        return self

    def _watch(self):
        script = self.script
        script._collect()
        self.replies += script.down
        self.server_side.hear(script.up)
        script.down = script.up = b""
        for deed in script.deeds:
            assert self.outcome is None, f"{deed} behind the end"
            if isinstance(deed, OpenUpstream):
                assert self.upstream is None
                self.upstream = "opening"
                self.server_side.reset()
            elif isinstance(deed, AbortUpstream | ReleaseUpstream):
                self.upstream = None
            elif isinstance(deed, CloseDownstream):
                self.outcome = deed.outcome
        script.deeds.clear()

    # Events

    def client(self, octets):
        self.client_octets += octets
        self.script.client(octets)

    def server(self, code):
        if self.upstream == "ready":
            self.script.server(self.server_side.answer(code))

    def garbage(self, octets):
        if self.upstream == "ready":
            self.script.server(octets)

    def lose(self, _):
        if self.upstream == "ready":
            self.upstream = None
            self.script.session.upstream_lost(ConnectionLost("gone"))

    def open(self, reused):
        if self.upstream == "opening":
            self.upstream = "ready"
            self.script.session.upstream_opened(extensions("PIPELINING", "8BITMIME"), reused=bool(reused))

    def want(self, _):
        self.script.session.upstream_wanted()

    def fail(self, _):
        if self.upstream == "opening":
            self.upstream = None
            self.script.session.upstream_failed(Unreachable("no"))

    def expire(self, _):
        self.script.session.expired()

    def half_close(self, _):
        self.script.session.downstream_ended()

    def drain(self, _):
        self.script.session.drain()

    def cut(self, last):
        self.script.session.cut(last=last)

    # What must be true

    def check(self):
        """Every command has one reply, in order, and no promise is ours that only the mail server can give."""
        parser = ReplyParser()
        parser.feed(self.replies)
        replies = []
        while (reply := parser.next_reply()) is not None:
            replies.append(reply)
        assert not parser.pending
        assert replies.pop(0).code == 220
        rest, accepted, dots = self.client_octets, 0, 0
        while replies:
            line, complete, rest = rest.partition(b"\r\n")
            reply = replies.pop(0)
            if not complete or (reply.code in (421, 554) and not replies):
                break  # the session's last words, which may answer anything
            self._match(line, reply)
            if line == b"DATA" and reply.code == 354:
                _, complete, rest = (b"\r\n" + rest).partition(b"\r\n.\r\n")
                dots += bool(complete)
                if not replies:
                    continue
                reply = replies.pop(0)
                if not complete:
                    break
                self._match(b".", reply)
                accepted += reply.positive
            elif line == b"BDAT 3":
                rest = rest[3:]
        else:
            reply = None
        assert not replies, f"{replies} answer nothing"
        assert reply is None or self.outcome is not None, f"{reply} answers nothing"
        assert accepted <= self.server_side.completed <= dots

    def _match(self, command, reply):
        text = reply.text
        if b"upstream " in text:
            asked = self.server_side.answered[int(text.rsplit(b" ", 1)[1])]
            early = asked == EARLY and command == b"." and reply.negative
            assert asked == command or early, f"{reply} was about {asked}, not {command}"
        elif command[:4] in (b"MAIL", b"RCPT", b"DATA") or command == b".":
            assert reply.negative, f"{reply} to {command} is not ours to give"

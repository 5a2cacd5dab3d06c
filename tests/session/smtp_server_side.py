"""
A mail server that knows its protocol, whatever it answers: what it was asked, and what its words mean.
"""

import re

from attrs import define, field

from mailproxy.errors import MalformedReply
from mailproxy.wire.smtp import Reply, ReplyParser
from tests.wire.smuggling import CRLF, END

RELAYED = (b"MAIL", b"RCPT", b"DATA", b"RSET")
_STRAY = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_UNSENDABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


@define(eq=False)
class MailData:
    """What one mail server got behind its 354; `ended_at` is how much the client had said when the end came."""

    octets: bytes = b""
    ended_at: int | None = None
    claimed: bool = False


@define(eq=False)
class Answer:
    """A command as the mail server heard it, and what it said to that."""

    command: bytes
    reply: Reply
    data: MailData | None = None

    @property
    def verb(self):
        return self.command[:4].upper()


@define(eq=False)
class Server:
    """
    One connection of it; every answer also goes into `answers`, which all connections share.
    """

    answers: list[Answer]
    pipelining: bool
    reused: bool = False
    """Whether others have had it before."""
    unanswered: list[bytes] = field(factory=list)
    data: MailData | None = None
    last_data: MailData | None = None
    believable: bool = True
    open: bool = False
    """Whether there is a transaction, as far as the server was told."""
    taken: bool = False
    """Whether it has taken a message."""
    refusals: int = 0
    """How often it has said no, since it last did."""
    begun: int = 0
    """How many transactions it was asked for."""
    log: list[bytes] = field(factory=list)
    """The commands, and the mail data that has an end."""
    _parser: ReplyParser = field(factory=ReplyParser)
    _heard: bytes = b""

    @property
    def half_said(self):
        """Whether it has begun to say something."""
        return self._parser.pending

    def hear(self, octets, client_has_said):
        """We say something."""
        assert self.believable, f"{octets} to a server that has lied"
        if self.data is None:
            self._hear_commands(octets)
        else:
            self._hear_data(octets, client_has_said)

    def _hear_commands(self, octets):
        assert self.unanswered or not self._parser.pending, f"{octets} behind words that nobody asked for"
        assert b"DATA" not in self.unanswered, f"{octets} before the reply to DATA"
        assert octets.endswith(CRLF)
        assert self.pipelining or not self.unanswered
        for line in octets.split(CRLF)[:-1]:
            assert line[:4] in RELAYED, line
            assert not _UNSENDABLE.search(line)
            self.open = line[:4] != b"RSET"
            self.begun += line[:4] == b"MAIL"
            self.unanswered.append(line)
            self.log.append(line)

    def _hear_data(self, octets, client_has_said):
        data = self.data
        data.octets += octets
        end = (CRLF + data.octets).find(END)
        assert not _STRAY.search(data.octets.removesuffix(b"\r"))
        assert b"\0" not in data.octets
        if end >= 0:
            assert end + 3 == len(data.octets), "octets behind the end of data"
            assert not self._parser.pending, "an end of data behind words that nobody asked for"
            data.octets, data.ended_at = data.octets[:end], client_has_said
            self.data, self.last_data, self.open = None, data, False
            self.unanswered.append(b".")
            self.log.append(data.octets)

    def say(self, octets):
        """The server says something; whether it keeps to its turn."""
        self._parser.feed(octets)
        try:
            while self.believable and (reply := self._parser.next_reply()) is not None:
                self._answer(reply)
        except MalformedReply:
            self.believable = False
        return self.believable

    def _answer(self, reply):
        if not self.unanswered:
            self.believable = False
            if self.data is not None:
                self.answers.append(Answer(b"early", reply, self.data))
            return
        command = self.unanswered.pop(0)
        answer = Answer(command, reply)
        self.answers.append(answer)
        self.refusals += reply.negative
        if command == b"." and reply.positive:
            self.taken, self.refusals = True, 0
        intermediate = reply.code // 100 == 3
        if command == b".":
            answer.data = self.last_data
        elif command == b"DATA" and reply.code == 354:
            answer.data = self.data = MailData()
        elif command[:4] == b"MAIL" and not reply.positive:
            self.open = False
        if (intermediate and reply.code != 354) or (intermediate and command != b"DATA"):
            self.believable = False
        if command == b"DATA" and reply.positive:
            self.believable = False

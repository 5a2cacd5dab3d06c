"""
A conversation of SMTP as its client knows it, gone through once more from its beginning.
"""

import re

from mailproxy.session.actions import Waiting
from mailproxy.session.encryption import Encryption
from mailproxy.wire.smtp import ReplyParser
from mailproxy.wire.transparency import BareNewlines
from tests.wire.smuggling import CRLF, END, normalized

BEFORE_TLS = (b"EHLO", b"HELO", b"NOOP", b"STARTTLS", b"QUIT")
LAST_WORDS = (421, 554)
LARGEST_READ = 65536
FOR_A_COMMAND = (Waiting.DOWNSTREAM_FIRST_COMMAND, Waiting.DOWNSTREAM_COMMAND, Waiting.DOWNSTREAM_LINE)
_NO_COMMAND = b"\0 no command"
_STRAY = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_UNSENDABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def parse_replies(octets):
    """Replies as a strict client reads them."""
    parser, replies = ReplyParser(), []
    parser.feed(octets)
    while (reply := parser.next_reply()) is not None:
        replies.append(reply)
    assert not parser.pending, "half a reply"
    return replies


def passes_for(reply, original):
    """Whether a reply that the client got is this one of a mail server's, passed on."""
    return b"".join(each + CRLF for each in reply.lines) in (original.format(utf8=True), original.format())


def unstuffed(body):
    """The message as its author wrote it."""
    return re.sub(rb"(?:^|(?<=\r\n))\.", b"", body)


class Walk:
    """From one end of the client's octets to the other, with the replies beside them."""

    def __init__(self, witness):
        self._witness = witness
        self._policy = witness.policy
        self._octets = witness.heard
        self._place = 0
        self._answers = iter(witness.answers)
        self._secure = witness.policy.encryption is Encryption.IMPLICIT
        for line in witness.said.split(CRLF):
            assert not _UNSENDABLE.search(line), line
        self._replies = parse_replies(witness.said)
        self._requests = 0
        self._bare = False
        """Whether the line ends in a LF alone, and may not."""

    def go(self):
        replies = self._replies
        if replies:
            assert replies.pop(0).code in (220, 421)
        while replies and self._next():
            pass
        if replies:
            assert self._witness.outcome is not None, f"{replies} answer nothing"
            assert len(replies) == 1, f"{replies} answer nothing"
            assert replies[0].code in LAST_WORDS, f"{replies} answers nothing"
        assert all(
            each.data is None or each.data.ended_at is None or each.data.claimed for each in self._witness.answers
        ), "an end of data that the client did not send"
        if self._witness.outcome is None:
            assert len(self._octets) - self._place <= self._policy.max_buffered_octets + LARGEST_READ
            if self._witness.session.waiting in FOR_A_COMMAND:
                assert self._take_line() is None, "a command without a reply"
        longest = 400 * (self._requests + 4) + 2 * self._witness.server_octets
        assert len(self._witness.said) <= longest, "too many words"

    def _next(self):
        """The next request and its reply; False when the client has sent no more."""
        line = self._take_line()
        if line is None:
            return False
        self._requests += 1
        verb = b"" if line is _NO_COMMAND else line.strip(b" \t").replace(b"\t", b" ").split(b" ")[0].upper()
        if verb == b"BDAT" and not self._swallow(line):
            return False
        reply = self._replies.pop(0)
        if self._witness.outcome is not None and not self._replies and reply.code in LAST_WORDS:
            return False
        assert not self._bare or reply.code == 500
        assert not self._bare or line is _NO_COMMAND or self._witness.outcome == "bad_line"
        if self._policy.encryption is Encryption.REQUIRED and not self._secure:
            assert verb in BEFORE_TLS or reply.negative
        if verb in (b"MAIL", b"RCPT") and reply.positive:
            self._find(verb, reply, line)
        elif verb == b"DATA" and not reply.negative:
            assert reply.code == 354
            self._take_data(self._find(verb, reply, line).data)
        elif verb == b"STARTTLS" and reply.positive:
            assert self._place == self._witness.tls_at, "plain text behind STARTTLS was kept"
            self._secure = self._witness.secure_now
        elif verb not in (b"MAIL", b"RCPT", b"DATA"):
            assert reply.code != 354
        return True

    def _take_line(self):
        """The next line without its end; None when it is not complete."""
        end = self._octets.find(b"\n", self._place)
        limit = self._policy.max_line_octets
        if end < 0 and len(self._octets) - self._place < limit:
            return None
        line = self._octets[self._place : end] if end >= 0 else self._octets[self._place :]
        self._place = end + 1 if end >= 0 else len(self._octets)
        too_long = len(line) >= limit
        self._bare = end >= 0 and not (line.endswith(b"\r") or self._policy.lone_lf_ends_command)
        if too_long and self._bare:
            # It is complained about twice: it is too long, and its end is not one.
            self._octets = self._octets[: self._place] + b"\n"
        return _NO_COMMAND if too_long else line.removesuffix(b"\r")

    def _swallow(self, line):
        """The octets of a chunk are no commands; whether all of them have come."""
        found = re.fullmatch(rb" *BDAT +([0-9]{1,18})(?: +LAST)? *", line.replace(b"\t", b" "), re.IGNORECASE)
        if found is not None:
            self._place += int(found[1])
        return self._place <= len(self._octets) or self._witness.outcome is not None

    def _find(self, verb, reply, line):
        """The mail server's own answer that was passed on; those before it never reached the client."""
        for answer in self._answers:
            if answer.verb == verb and passes_for(reply, answer.reply):
                path = answer.command.partition(b":")[2].partition(b">")[0].strip(b"<")
                assert path in line, f"{answer.command} was not {line}"
                return answer
        raise AssertionError(f"{reply} to {line} is not the mail server's")

    def _take_data(self, data):
        """The content behind a 354, and the reply to its end."""
        rest = CRLF + self._octets[self._place :]
        end = rest.find(END)
        if end < 0:
            body = rest[2:]
            assert data.ended_at is None, "an end of data that has not come"
            assert normalized(body).startswith(data.octets)
            self._place = len(self._octets)
            if len(self._replies) == 1 and self._witness.outcome is not None:
                # Too much of it came behind what had spoilt it.
                assert self._replies.pop().negative
            return
        body = rest[2:][:end]
        self._place += end + 3
        if data.ended_at is not None:
            assert data.ended_at >= self._place, "an end of data before the client's"
            assert data.octets == normalized(body)
            assert b"\0" not in body
            assert self._policy.bare_newline is BareNewlines.NORMALIZE or not _STRAY.search(body)
            assert len(unstuffed(body)) <= (self._policy.max_message_octets or len(body))
            data.claimed = True
        else:
            assert normalized(body).startswith(data.octets)
        self._requests += 1
        if self._replies and self._replies[0].positive:
            reply = self._replies.pop(0)
            assert data.claimed
            answer = next(each for each in self._answers if each.command == b".")
            assert answer.data is data
            assert passes_for(reply, answer.reply)
        elif self._replies:
            self._replies.pop(0)

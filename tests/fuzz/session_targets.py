"""
Targets: whole sessions, with clients and mail servers that do anything in any order.

The input is a conversation, one event a line.  `C` and `S` are followed by a line that the client or the mail server
sends, `c` and `s` by octets as they are (`\\r`, `\\n`, `\\0`, `\\\\`, `\\xff`); `C*9` is nine times that.

    o KEYWORD ...   the login succeeds            t   the client's TLS handshake is done
    f ERROR         the login fails               x   the deadline of the current wait passes
    h               the mail server is lost       d   the listener goes away
    e               the client half-closes        k   the time for that is over
    v               the client is gone            K   the last of it is over
    P word ...      at the very beginning: settings of the session
"""

from __future__ import annotations

import re

from mailproxy import errors
from mailproxy.session.encryption import Encryption
from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.transparency import BareNewlines
from tests.fuzz.target import target
from tests.session.pop3_witness import POP3Witness
from tests.session.smtp_witness import SMTPWitness

MOST_EVENTS = 300
MOST_TIMES = 2000
MOST_OCTETS = 200_000
"""Of both sides together: an input that means more than that is cut short, to keep the pace."""

_LINE = re.compile(rb"([A-Za-z])(?:\*([0-9]{1,4}))?(?: (.*))?", re.DOTALL)
_ESCAPE = re.compile(rb"\\([rn0\\]|x[0-9a-fA-F]{2})")
_MEANING = {b"r": b"\r", b"n": b"\n", b"0": b"\0", b"\\": b"\\"}
_FAILURES = (
    *(errors.Unreachable, errors.LacksTLS, errors.LimitReached, errors.DestinationUnavailable, errors.RefusedSession),
    lambda text: errors.RefusedLogin(text, temporary=False),
    lambda text: errors.RefusedLogin(text, temporary=True, response_code="IN-USE"),
)

SMTP_SETTINGS = {
    b"lax": {"strict_sync": False},
    b"reject": {"bare_newline": BareNewlines.REJECT},
    b"lf": {"lone_lf_ends_command": True},
    b"helo": {"require_helo": True},
    b"small": {"max_message_octets": 40, "max_recipients": 2, "max_discarded_octets": 100, "max_line_octets": 80},
    b"few": {"max_errors": 2, "max_junk_commands": 2, "max_failed_logins": 1, "max_pipelined_commands": 3},
    b"narrow": {"max_line_octets": 80, "max_skipped_octets": 100, "max_buffered_octets": 200},
    b"offered": {"encryption": Encryption.OFFERED},
    b"required": {"encryption": Encryption.REQUIRED},
    b"implicit": {"encryption": Encryption.IMPLICIT},
}


def events_of(octets):
    """Each event: its letter, and the octets that go with it, unescaped and repeated."""
    total = 0
    for line in octets.split(b"\n")[:MOST_EVENTS]:
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        letter, times, text = found[1].decode(), int(found[2] or 1), found[3] or b""
        if letter in "CScs":
            raw = _ESCAPE.sub(_unescape, text) + (b"\r\n" if letter.isupper() else b"")
            text = raw * min(times, MOST_TIMES)
            total += len(text)
            if total > MOST_OCTETS:
                return
        yield letter, text


def _unescape(found):
    code = found[1]
    return _MEANING.get(code) or bytes([int(code[1:], 16)])


def settings_of(events, known):
    """What a first event `P` asks for."""
    words = events[0][1].split() if events and events[0][0] == "P" else []
    chosen = {}
    for word in words:
        chosen |= known.get(word, {})
    return chosen, 1 if b"octets" in words else None


def play(witness, events, opened):
    """Everything happens, and the end is looked at as well."""
    deeds = {
        "C": witness.client,
        "c": witness.client,
        "S": witness.speak,
        "s": witness.speak,
        "o": opened,
        "f": lambda text: witness.refuse(_FAILURES[sum(text) % len(_FAILURES)]("no")),
        "h": lambda _: witness.hang_up(),
        "e": lambda _: witness.half_close(),
        "v": lambda _: witness.vanish(),
        "t": lambda _: witness.secure(),
        "x": lambda _: witness.expire(),
        "d": lambda _: witness.drain(),
        "k": lambda _: witness.cut(last=False),
        "K": lambda _: witness.cut(last=True),
    }
    for letter, text in events:
        if letter in deeds:
            deeds[letter](text)
    witness.silence()


EITHER = (b"h", b"e", b"v", b"t", b"x", b"d", b"k", b"K", b"f 1", b"f 2", b"f 3", b"S 421 bye", b"s 25")
TRANSACTION = b"C MAIL FROM:<a@b>\nS 250 ok\nC RCPT TO:<c@d>\nS 250 ok\nC DATA\nS 354 go"


@target(
    "smtp_session",
    *(
        b"o PIPELINING 8BITMIME SMTPUTF8 DSN SIZE",
        b"o",
        b"C EHLO x",
        b"C HELO x",
        b"C MAIL FROM:<a@b>",
        b"C RCPT TO:<c@d>",
    ),
    *(
        b"C DATA",
        b"C .",
        b"C RSET",
        b"C NOOP",
        b"C QUIT",
        b"C STARTTLS",
        b"C BDAT 5",
        b"C x",
        b"c x\\n.\\r\\n",
        b"c \\0",
    ),
    *(
        b"S 250 ok",
        b"S 250-ok",
        b"S 354 go",
        b"S 550 no",
        b"S 451 later",
        b"S 530 login",
        b"S 220 hi",
        b"s \\n",
        b"C*50 NOOP",
    ),
    *(
        b"P lax",
        b"P reject octets",
        b"P small few narrow",
        b"P required",
        b"P offered lf helo",
        b"c \\r\\n",
        TRANSACTION,
    ),
    b"c MAIL FROM:<a@b>\\r\\nRCPT TO:<c@d>\\r\\nDATA\\r\\n",
    *EITHER,
    by_line=True,
    longest=2048,
    share=8,
)
def check_smtp_session(octets):
    events = list(events_of(octets))
    chosen, size = settings_of(events, SMTP_SETTINGS)
    witness = SMTPWitness(SMTPPolicy("proxy.test", **chosen), size=size)
    play(witness, events, lambda text: witness.open(*text.decode("latin-1").split()[:20]))
    witness.settle()


POP3_SETTINGS = {
    b"strict": {"accept_any_login": False},
    b"fix": {"fix_newlines": True},
    b"small": {"max_line_octets": 40, "max_skipped_octets": 100, "max_status_octets": 60},
    b"narrow": {"max_line_octets": 40, "max_queued_octets": 50},
    b"offered": {"encryption": Encryption.OFFERED},
    b"required": {"encryption": Encryption.REQUIRED},
    b"implicit": {"encryption": Encryption.IMPLICIT},
}


@target(
    "pop3_session",
    *(
        b"o TOP UIDL LANG",
        b"o -",
        b"o ?",
        b"C STAT",
        b"C LIST",
        b"C LIST 1",
        b"C RETR 1",
        b"C TOP 1 0",
        b"C UIDL",
        b"C DELE 1",
    ),
    *(
        b"C NOOP",
        b"C RSET",
        b"C QUIT",
        b"C CAPA",
        b"C STLS",
        b"C USER u",
        b"C PASS p",
        b"C AUTH PLAIN",
        b"C AUTH LOGIN",
        b"C *",
    ),
    *(
        b"C LANG",
        b"C APOP x y",
        b"C =",
        b"c \\n",
        b"c *99 x",
        b"S +OK",
        b"S -ERR",
        b"S -ERR [IN-USE] no",
        b"S .",
        b"S ..",
        b"S x",
    ),
    *(
        b"s +OK\\r\\n.\\r\\n",
        b"s +OK\\r\\na\\n.\\nb\\r\\n.\\r\\n",
        b"s .\\r",
        b"P fix",
        b"P small narrow octets",
        b"P offered",
    ),
    *(b"P required", b"P strict", b"c STAT\\r\\nLIST\\r\\nRETR 1\\r\\nQUIT\\r\\n", b"s \\r\\n.\\r\\n"),
    *EITHER,
    by_line=True,
    longest=2048,
    share=6,
)
def check_pop3_session(octets):
    events = list(events_of(octets))
    chosen, size = settings_of(events, POP3_SETTINGS)
    witness = POP3Witness(POP3Policy(**chosen), size=size)

    def opened(text):
        """`-` is a mail server that has no list, `?` one where the client brings its own login."""
        names = text.decode("latin-1").upper().split()[:20]
        listed = None if "-" in names else dict.fromkeys(names, ())
        witness.open(listed, logged_in="?" not in names)

    play(witness, events, opened)

"""
Guards of the wire: what is a line, a reply, a path, the end of a message.
"""

from __future__ import annotations

from tests.mutants.guard import Guard

WIRE = (
    Guard(
        "only CRLF . CRLF ends mail data",
        "wire/transparency.py",
        before="""
if data.rfind(_STOP) >= 0:
    return self._end(data, data.find(_STOP) + 2)
""",
        after="""
if data.rfind(_STOP[1:]) >= 0:
    return self._end(data, data.find(_STOP[1:]) + 1)
""",
        tests=("wire/test_transparency.py",),
        seeds=200,
    ),
    Guard(
        "a stray CR or LF leaves us as CRLF",
        "wire/transparency.py",
        before="""
if self._behind_mended or not _is_clean(data):
    return self._mend(data)
""",
        after="",
        tests=("wire/test_transparency.py",),
        seeds=100,
    ),
    Guard(
        "a dot that only mending has put first in a line is stuffed",
        "wire/transparency.py",
        before='.replace(b"\\n.", b"\\n..")',
        after="",
        tests=("wire/test_transparency.py", "wire/test_smuggling.py"),
        seeds=100,
    ),
    Guard(
        "a lone dot whose line only mending has ended is stuffed",
        "wire/transparency.py",
        before='.replace(b"\\0.\\n", b"\\0..\\n")',
        after="",
        tests=("wire/test_transparency.py", "wire/test_smuggling.py"),
        seeds=200,
    ),
    Guard(
        "NUL in mail data is refused",
        "wire/transparency.py",
        before="""
if b"\\0" in chunk:
    raise NulOctet("mail data contains NUL")
""",
        after="",
        tests=("wire/test_transparency.py",),
        seeds=200,
    ),
    Guard(
        "stray newlines are refused where the operator says so",
        "wire/transparency.py",
        before="if bare and self._policy is BareNewlines.REJECT:",
        after="if False:",
        tests=("wire/test_transparency.py",),
        seeds=200,
    ),
    Guard(
        "a line has a limit",
        "wire/lines.py",
        before="if end >= self._limit or (end < 0 and len(self._data) >= self._limit):",
        after="if False:",
        tests=("wire/test_lines.py", "session/test_smtp.py"),
    ),
    Guard(
        "a lone LF ends no command",
        "wire/lines.py",
        before="""
if not self._lone_lf_ends_line:
""",
        after="""
if False:
""",
        tests=("wire/test_lines.py", "session/test_smtp.py"),
    ),
    Guard(
        "control octets get into no command",
        "wire/smtp.py",
        before="""
if _CONTROL_OCTET.search(line):
""",
        after="""
if False:
""",
        tests=("wire/test_smtp.py",),
    ),
    Guard(
        "a path is one address and nothing behind it",
        "wire/smtp.py",
        before='if match is None or rest[match.end() : match.end() + 1] not in (b"", b" "):',
        after="if match is None:",
        tests=("wire/test_smtp.py",),
    ),
    Guard(
        "a reply begins with a code",
        "wire/smtp.py",
        before="if not _REPLY_LINE.fullmatch(line):",
        after="if not line[:3].isdigit():",
        tests=("wire/test_smtp.py",),
    ),
    Guard(
        "all lines of a reply have one code",
        "wire/smtp.py",
        before="if self._lines and self._lines[0][:3] != line[:3]:",
        after="if False:",
        tests=("wire/test_smtp.py",),
    ),
    Guard(
        "a reply has a limit",
        "wire/smtp.py",
        before="if len(self._lines) >= MAX_REPLY_LINES or self._octets > MAX_REPLY_OCTETS:",
        after="if False:",
        tests=("wire/test_smtp.py",),
    ),
    Guard(
        "control octets of a mail server's reply do not reach its client",
        "wire/smtp.py",
        before="if not any(map(_STRANGE.search, self.lines)):",
        after="if True:",
        tests=("wire/test_smtp.py",),
    ),
    Guard(
        "a POP3 response begins with +OK or -ERR",
        "wire/pop3.py",
        before="""
if match is None:
    raise MalformedReply("no POP3 status line")
indicator, text = match.groups(default=b"")
""",
        after="""
if match is None:
    return Status(line.startswith(b"+"), line)
indicator, text = match.groups(default=b"")
""",
        tests=("wire/test_pop3.py",),
    ),
    Guard(
        "a capability list has a limit",
        "wire/pop3.py",
        before="""
if number == MAX_CAPABILITIES:
""",
        after="""
if False:
""",
        tests=("wire/test_pop3.py",),
    ),
)

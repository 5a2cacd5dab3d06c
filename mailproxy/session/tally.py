"""
The key under which a reply to a client is counted: whose words it has, what it answers, and its class.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

SMTP_STAGES: Mapping[bytes, str] = {
    verb: verb.decode("ascii").lower() for verb in b"AUTH BDAT DATA EHLO HELO MAIL NOOP QUIT RCPT RSET STARTTLS".split()
}
"""What a command of SMTP is counted as."""

GREETING, CONTENT, OTHER = "greeting", "content", "other"
"""Before the first command; the end of mail data; any other command."""

POP3_STAGES: Mapping[str, str] = {
    keyword: keyword.lower()
    for keyword in [
        "APOP",
        "AUTH",
        "CAPA",
        "DELE",
        "LANG",
        "LIST",
        "NOOP",
        "PASS",
        "QUIT",
        "RETR",
        "RSET",
        "STAT",
        "STLS",
        "TOP",
        "UIDL",
        "USER",
    ]
}
"""What a command of POP3 is counted as."""


@cache
def key(stage: str, first: int, *, upstream: bool) -> str:
    """
    `upstream.rcpt.5xx`: the words are the mail server's, or `proxy.rcpt.5xx`: they are ours.

    Args:
        stage: what it answers.
        first: its first octet: a digit of SMTP, `+` or `-` of POP3.
        upstream: whether the mail server said it.
    """
    kinds = {ord("+"): "ok", ord("-"): "err"}
    return f"{'upstream' if upstream else 'proxy'}.{stage}.{kinds.get(first) or chr(first) + 'xx'}"

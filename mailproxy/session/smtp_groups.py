"""
Which commands of SMTP may stand together in a group, and what a client has to wait for.

Source: RFC 2920 §3.1 (pipelining), RFC 3207 §4 (STARTTLS), RFC 4954 §4 (AUTH).
"""

from __future__ import annotations

from mailproxy.session.reply_queue import Awaited, ReplyQueue
from mailproxy.wire.smtp import Command

LAST_OF_A_GROUP = frozenset({b"EHLO", b"HELO", b"STARTTLS", b"AUTH"})
"""What a client sends behind them ahead of the reply may be meant otherwise."""

_JOINING = frozenset({b"RCPT", b"DATA"})
"""They go out to the mail server behind their MAIL, before its reply."""

_WAITING = LAST_OF_A_GROUP | {b"MAIL", b"RSET", b"QUIT", b"BDAT"}
"""They are carried out when every earlier reply is there."""


def may_run(command: Command, replies: ReplyQueue, *, pipelining: bool, maybe_again: bool) -> bool:
    """
    Whether a command can be carried out while replies to earlier ones are awaited.

    `maybe_again`: all of them may have to be carried out again, so that nothing else may come in between.
    """
    if not replies.awaited:
        return True
    if command.verb in _JOINING:
        return pipelining and all(owed.awaited in (Awaited.MAIL, Awaited.RCPT) for owed in replies.awaited)
    return not maybe_again and command.verb not in _WAITING


def must_be_silent(held: Command | None, replies: ReplyQueue, *, strict: bool) -> bool:
    """
    Whether the client has sent a command that must be the last of a group, and has no reply to it yet.

    `held` is what was taken and not carried out.  DATA counts only where the policy is strict about it.
    """
    if held is not None and held.verb in LAST_OF_A_GROUP:
        return True
    return replies.awaits_last(Awaited.EHLO) or (strict and replies.awaits_last(Awaited.DATA))

"""
The commands of an SMTP client that never leave us, and what each is answered with.

Nothing but MAIL, RCPT, DATA, RSET and mail data goes upstream because a client sent it; what is not listed here or
there is unknown.
"""

from __future__ import annotations

import re

from attrs import frozen

from mailproxy.wire.smtp import Command, format_reply


@frozen
class LocalReply:
    """
    A fixed reply; `error` counts it towards too many errors, otherwise it counts as idle talk.
    """

    raw: bytes
    error: bool = False


OK = format_reply(250, "2.0.0", "OK")

_NOT_IMPLEMENTED = LocalReply(format_reply(502, "5.5.1", "Command not implemented"), error=True)
_UNKNOWN = LocalReply(format_reply(500, "5.5.1", "Command not recognized"), error=True)

_REPLIES = {
    b"NOOP": LocalReply(OK),
    b"VRFY": LocalReply(format_reply(252, "2.0.0", "Cannot VRFY user, send a message and see")),
    b"HELP": LocalReply(format_reply(214, "2.0.0", "This is mailproxy; see RFC 5321")),
} | dict.fromkeys(b"EXPN AUTH ETRN TURN ATRN SEND SOML SAML BURL XCLIENT XFORWARD VERB ONEX".split(), _NOT_IMPLEMENTED)

_BDAT = re.compile(rb"([0-9]{1,18})(?: +LAST)?", re.IGNORECASE)


def local_reply(verb: bytes) -> LocalReply:
    """The reply to a command that is none of the relayed ones."""
    return _REPLIES.get(verb, _UNKNOWN)


def bdat_octets(command: Command) -> int | None:
    """How many octets a BDAT announces; None when it does not say (RFC 3030 §2)."""
    match = _BDAT.fullmatch(command.argument)
    return int(match.group(1)) if match else None

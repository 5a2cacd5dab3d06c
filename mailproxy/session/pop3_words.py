"""
What a POP3 client is told in our own words: the failures, one row per error, and the capabilities that pass.

The texts are fixed: no host, no name, no word of the mail server is in them.  `[AUTH]` is never among the codes: it
makes mail clients throw away, or ask their user for, a password that has nothing to do with ours.

Source: RFC 2449 §6 (capabilities), §8 (response codes IN-USE, LOGIN-DELAY), RFC 3206 §4 (SYS/TEMP, SYS/PERM).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mailproxy.errors import (
    DestinationError,
    DestinationUnavailable,
    LacksMechanism,
    LacksTLS,
    LimitReached,
    LoopDetected,
    MailProxyError,
    RefusedLogin,
    TLSFailed,
    UpstreamError,
)
from mailproxy.wire.pop3 import POP3Capabilities

LOST = b"-ERR [SYS/TEMP] connection to mail server lost\r\n"
NO_ANSWER = b"-ERR [SYS/TEMP] mail server did not answer in time\r\n"
CONFUSED = b"-ERR [SYS/TEMP] mail server protocol error\r\n"
QUIT_LOST = b"-ERR [SYS/TEMP] connection lost, some deleted messages may remain\r\n"
SHUTDOWN = b"-ERR [SYS/TEMP] service shutting down\r\n"
UNRECORDED = b"-ERR [SYS/TEMP] audit ledger not available, try later\r\n"
TLS_FIRST = b"-ERR [SYS/PERM] TLS required\r\n"

_NOT_POSSIBLE = "[SYS/PERM] mail server login not possible"

_WORDS: Mapping[type[MailProxyError], str] = {
    UpstreamError: "[SYS/TEMP] mail server not reachable",
    LacksTLS: _NOT_POSSIBLE,
    TLSFailed: _NOT_POSSIBLE,
    LacksMechanism: _NOT_POSSIBLE,
    RefusedLogin: _NOT_POSSIBLE,
    LoopDetected: _NOT_POSSIBLE,
    DestinationError: _NOT_POSSIBLE,
    DestinationUnavailable: "[SYS/TEMP] credentials currently unavailable",
    LimitReached: "[SYS/TEMP] too many sessions, try later",
    MailProxyError: "[SYS/TEMP] local error",
}
"""The row of an error's class, or of the nearest class above it."""

_LATER = "[SYS/TEMP] mail server refuses the login for now"

_MAILDROP = {
    "IN-USE": "[IN-USE] mailbox is in use by another session",
    "LOGIN-DELAY": "[LOGIN-DELAY] too soon after the last session",
}
"""The codes of the mail server that tell a client something it can act upon."""


def failure_line(error: MailProxyError) -> bytes:
    """The one line in place of a greeting."""
    if isinstance(error, RefusedLogin) and error.temporary:
        words = _MAILDROP.get(error.response_code or "", _LATER)
    else:
        words = next(_WORDS[kind] for kind in type(error).__mro__ if kind in _WORDS)
    return b"-ERR " + words.encode("ascii") + b"\r\n"


_PASSED = ("TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "EXPIRE", "LOGIN-DELAY", "LANG")
"""
Announced if, and as, the mail server does.

All others end here: SASL and STLS are between the mail server and us, UTF8 has to be asked for before the login, and
IMPLEMENTATION concerns nobody.
"""

_ASSUMED = ("TOP", "UIDL")
"""Announced where the mail server has no CAPA: practically all have them, and their refusal is relayed."""

_WITH_ARGUMENTS = re.compile(r"(?:NEVER|USER|[0-9]{1,10})(?: USER)?", re.IGNORECASE)
# EXPIRE = (NEVER / days) [USER], LOGIN-DELAY = seconds [USER]; RFC 2449 §6.5, §6.7.  No other one has any.


BEFORE_TLS: Mapping[str, tuple[str, ...]] = {"USER": (), "PIPELINING": (), "STLS": ()}
"""All that is announced where TLS has to come first: the mail server is not asked before that."""


def announced(offered: POP3Capabilities, *, stls: bool = False) -> dict[str, tuple[str, ...]]:
    """Our own capabilities: what may pass of the mail server's, and what we add."""
    ours: dict[str, tuple[str, ...]] = {"USER": (), "PIPELINING": ()}
    if stls:
        ours["STLS"] = ()
    if offered.listed is None:
        return ours | dict.fromkeys(_ASSUMED, ())
    for name in _PASSED:
        arguments = offered.listed.get(name)
        if arguments is not None:
            ours[name] = arguments if _WITH_ARGUMENTS.fullmatch(" ".join(arguments)) else ()
    return ours

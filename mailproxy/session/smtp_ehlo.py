"""
What we announce to an SMTP client, and the parameters that follow from it.

An allow-list: a keyword that has no row here is not passed on, whatever the mail server offers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from mailproxy.errors import BadCommand
from mailproxy.wire.smtp import Extensions, Parameter, format_reply, number

_PASSED = ("8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")
"""Announced if and only if the mail server does."""

_MAIL_PARAMETERS = {"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8", "RET": "DSN", "ENVID": "DSN"}
_RCPT_PARAMETERS = {"NOTIFY": "DSN", "ORCPT": "DSN"}
_KEYWORDS = _MAIL_PARAMETERS | _RCPT_PARAMETERS
_BODIES = (b"7BIT", b"8BITMIME")

BEFORE_TLS: Mapping[str, str] = {"PIPELINING": "", "STARTTLS": ""}
"""All that is announced where TLS has to come first: the mail server is not asked before that."""


@lru_cache(maxsize=64)  # the same for nearly all sessions of a listener
def announced(
    offered: Extensions, *, max_message_octets: int, max_recipients: int, starttls: bool = False
) -> Mapping[str, str]:
    """
    The keywords that a client sees, in order, each with its parameters.

    Limits are the smaller one of the mail server's and ours; 0 is none.
    """
    keywords = dict(BEFORE_TLS) if starttls else {"PIPELINING": ""}
    if "SIZE" in offered or max_message_octets:
        size = _smaller(number(" ".join(offered.get("SIZE")[:1])), max_message_octets)
        keywords["SIZE"] = str(size) if size else ""
    for keyword in _PASSED:
        if keyword in offered and (keyword != "SMTPUTF8" or "8BITMIME" in offered):
            keywords[keyword] = ""
    limits = _limits(offered, max_recipients)
    if limits:
        keywords["LIMITS"] = limits
    return keywords


def format_ehlo(server_name: str, keywords: Mapping[str, str]) -> bytes:
    """The positive reply to EHLO; the client's argument is not repeated."""
    lines = [f"{keyword} {parameters}".strip() for keyword, parameters in keywords.items()]
    return format_reply(250, "", server_name, *lines)


def mail_parameters(parameters: Iterable[Parameter], keywords: Iterable[str], max_octets: int) -> tuple[Parameter, ...]:
    """
    The parameters of MAIL that go on; AUTH= never does, it is the client's claim about somebody else's login.

    Raises:
        BadCommand: a parameter that we did not announce, a value that none allows, or a declared size over ours.
    """
    kept = tuple(each for each in parameters if each.keyword != "AUTH")
    _refuse_unknown(kept, _MAIL_PARAMETERS, set(keywords))
    for each in kept:
        if each.keyword == "BODY":
            _check_body(each.value)
        elif each.keyword == "SIZE":
            _check_size(each.value, max_octets)
        elif each.keyword == "SMTPUTF8" and each.value is not None:
            raise BadCommand(501, "5.5.4", "SMTPUTF8 takes no value")
    return kept


def rcpt_parameters(parameters: tuple[Parameter, ...], keywords: Iterable[str]) -> tuple[Parameter, ...]:
    """
    The parameters of RCPT that go on.

    Raises:
        BadCommand: a parameter that we did not announce.
    """
    _refuse_unknown(parameters, _RCPT_PARAMETERS, set(keywords))
    return parameters


def without_size(parameters: Iterable[Parameter]) -> tuple[Parameter, ...]:
    """The parameters without SIZE: where only we announced it, only we are told."""
    return tuple(each for each in parameters if each.keyword != "SIZE")


def needed(parameters: Iterable[Parameter]) -> set[str]:
    """The EHLO keywords that a mail server must offer to understand these parameters of MAIL or RCPT."""
    return {_KEYWORDS[each.keyword] for each in parameters}


def _refuse_unknown(parameters: Iterable[Parameter], known: dict[str, str], keywords: set[str]) -> None:
    for each in parameters:
        if each.keyword == "BODY" and (each.value or b"").upper() == b"BINARYMIME":
            raise BadCommand(554, "5.6.3", "BINARYMIME needs CHUNKING, which is not offered")
        if known.get(each.keyword) not in keywords:
            raise BadCommand(555, "5.5.4", "Unsupported parameter")


def _check_body(value: bytes | None) -> None:
    if (value or b"").upper() not in _BODIES:
        raise BadCommand(501, "5.5.4", "BODY is 7BIT or 8BITMIME")


def _check_size(value: bytes | None, max_octets: int) -> None:
    if value is None or not value.isdigit() or len(value) > 20:
        raise BadCommand(501, "5.5.4", "SIZE takes a number of octets")
    if max_octets and int(value) > max_octets:
        raise BadCommand(552, "5.3.4", "Message size exceeds limit")


def _smaller(one: int, other: int) -> int:
    return min(one, other) if one and other else one or other


def _limits(offered: Extensions, max_recipients: int) -> str:
    """RFC 9422: what the mail server says of recipients; MAILMAX is about its connection, not the client's."""
    recipients = _smaller(offered.limit("RCPTMAX"), max_recipients)
    shown = {"RCPTMAX": recipients, "RCPTDOMAINMAX": offered.limit("RCPTDOMAINMAX")}
    return " ".join(f"{name}={most}" for name, most in shown.items() if most)

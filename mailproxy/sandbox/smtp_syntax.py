"""
MAIL and RCPT as a strict server reads them: brackets, no blank behind the colon, known parameters only.
"""

from __future__ import annotations

import re

from attrs import frozen

from mailproxy.sandbox.conversation import Refusal

# Path = "<" [ A-d-l ":" ] Mailbox ">", the source route is read over (RFC 5321 §4.1.2, RFC 6531 §3.3).
_PATH = re.compile(
    rb'<(?:@[^\s<>:"]+:)?(?P<address>(?:"(?:[^"\\]|\\.)*"|[^\s<>@"]+)@(?:[^\s<>@"\[\]]+|\[[^\s<>\[\]]+\]))>'
    rb"(?P<rest>(?: .*)?)"
)
_NULL_PATH = re.compile(rb"<>(?P<rest>(?: .*)?)")
_POSTMASTER = re.compile(rb"<(?P<address>postmaster)>(?P<rest>(?: .*)?)", re.IGNORECASE)
_PARAMETER = re.compile(rb"(?P<keyword>[A-Za-z0-9][A-Za-z0-9-]*)(?:=(?P<value>[^\x00-\x20=\x7f]+))?")

MAIL_PARAMETERS = frozenset({b"SIZE", b"BODY", b"SMTPUTF8", b"RET", b"ENVID", b"AUTH"})
RCPT_PARAMETERS = frozenset({b"NOTIFY", b"ORCPT"})


@frozen
class Path:
    """An address, empty for the null reverse-path, and the parameters behind it."""

    address: bytes
    parameters: dict[bytes, bytes | None]


def parse_mail(argument: bytes) -> Path:
    """
    What stands behind `MAIL `.

    Raises:
        Refusal: it is no reverse-path, or a parameter is unknown.
    """
    rest = _after(b"FROM:", argument)
    found = _NULL_PATH.fullmatch(rest) or _PATH.fullmatch(rest)
    if found is None:
        raise Refusal("501 5.1.7 Bad sender address syntax")
    return Path(found.groupdict().get("address") or b"", _parameters(found["rest"], MAIL_PARAMETERS))


def parse_rcpt(argument: bytes) -> Path:
    """
    What stands behind `RCPT `.

    Raises:
        Refusal: it is no forward-path, or a parameter is unknown.
    """
    rest = _after(b"TO:", argument)
    found = _POSTMASTER.fullmatch(rest) or _PATH.fullmatch(rest)
    if found is None:
        raise Refusal("501 5.1.3 Bad recipient address syntax")
    return Path(found["address"], _parameters(found["rest"], RCPT_PARAMETERS))


def _after(prefix: bytes, argument: bytes) -> bytes:
    if argument[: len(prefix)].upper() != prefix:
        raise Refusal("501 5.5.4 Syntax error in parameters")
    return argument[len(prefix) :]


def _parameters(text: bytes, known: frozenset[bytes]) -> dict[bytes, bytes | None]:
    parameters: dict[bytes, bytes | None] = {}
    for word in text.split():
        found = _PARAMETER.fullmatch(word)
        if found is None:
            raise Refusal("501 5.5.4 Syntax error in parameters")
        keyword = found["keyword"].upper()
        if keyword not in known:
            raise Refusal("555 5.5.4 Parameter not recognized")
        if keyword in parameters:
            raise Refusal("501 5.5.4 Parameter given twice")
        parameters[keyword] = found["value"]
    return parameters

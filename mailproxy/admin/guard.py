"""
Who may ask.

A browser runs programs of strangers, and one of them may have a name of its own lead to our address, so as to read
what we answer.  It cannot lie about the name, though: the host that is asked for has to be an address, this machine,
or a name that the configuration knows.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Collection
from ipaddress import ip_address
from pathlib import Path

from mailproxy.config.values import AdminConfig
from mailproxy.destination.files import read_small
from mailproxy.errors import ConfigError
from mailproxy.tls.files import MadeOfFiles

MIN_TOKEN_CHARACTERS = 16
MAX_TOKEN_CHARACTERS = 512

# RFC 6750 §2.1: credentials = "Bearer" 1*SP b64token
_BEARER = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")
_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
# RFC 9112 §3.2: Host = uri-host [ ":" port ]
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::[0-9]*)?")


class Guard:
    """
    Judges who asks.

    Args:
        host_names: by which we may be asked, besides addresses and this machine's own.
        token: what has to be shown now; None where nothing has to.
    """

    def __init__(self, host_names: Collection[str], token: Callable[[], str] | None) -> None:
        self._host_names = frozenset(name.lower() for name in host_names)
        self._token = token

    @property
    def wants_token(self) -> bool:
        """Whether a token has to be shown."""
        return self._token is not None

    def knows_host(self, host: str | None) -> bool:
        """Whether the question was meant for us; who names no host is no browser."""
        if host is None:
            return True
        found = _HOST.fullmatch(host)
        return found is not None and self._is_ours(found[1].lower().removesuffix("."))

    def admits(self, authorization: str | None) -> bool:
        """Whether the answer may be given."""
        if self._token is None:
            return True
        shown = _BEARER.fullmatch(authorization or "")
        return shown is not None and hmac.compare_digest(shown[1].encode(), self._token().encode())

    def _is_ours(self, name: str) -> bool:
        if name == "localhost" or name.endswith(".localhost") or name in self._host_names:
            return True
        try:
            ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


def make_guard(config: AdminConfig, where: str, seconds: Callable[[], float]) -> Guard:
    """
    The guard that the configuration asks for; its token is read again when the file changes.

    Args:
        config: the table.
        where: what a problem begins with, `FILE: admin.`.
        seconds: the time.

    Raises:
        ConfigError: the file holds no token.
    """
    path = config.token_file
    if path is None:
        return Guard(config.host_names, None)
    return Guard(config.host_names, MadeOfFiles([path], lambda: read_token(path, where), seconds).current)


def read_token(path: Path, where: str) -> str:
    """
    The one line of a file, without blanks around it.

    Raises:
        ConfigError: it is none that a client could show, or it is easily guessed; the text does not quote it.
    """
    try:
        text = read_small(path).decode("ascii", "replace").strip()
    except ValueError as error:
        raise ConfigError([f"{where}token_file: {path}: {error}"]) from None
    if not _B64TOKEN.fullmatch(text) or not MIN_TOKEN_CHARACTERS <= len(text) <= MAX_TOKEN_CHARACTERS:
        wanted = f"{MIN_TOKEN_CHARACTERS} to {MAX_TOKEN_CHARACTERS} letters, digits and ._~+/-"
        raise ConfigError([f"{where}token_file: {path}: must hold a token of {wanted}"])
    return text

"""
Logins for one destination of one tenant.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from mailproxy.backoff import LONGEST_PAUSE_SECONDS, Backoff
from mailproxy.destination.access import Access, TokenLogin
from mailproxy.destination.model import Destination, Login, MailProtocol, Token
from mailproxy.destination.properties import parse_login
from mailproxy.destination.report import Reporter
from mailproxy.destination.source import Found, Reference, Source
from mailproxy.observe.observation import SourceFigures

_FIRST_REPLACEMENT_PAUSE_SECONDS = 30.0

FORGET_SECONDS = 5.0
"""A destination whose password is refused is asked for anew so often at most, however many sessions want it."""


class DestinationLogins:
    """
    Hands out logins: a `LoginSource`.

    Args:
        source: knows the tenant's destinations; it belongs to this tenant alone.
        reference: which destination.
        listener_protocol: what the listener speaks.
        clock: tells the time.
        random: gives numbers from 0 to 1.
        reporter: tells the operator about the destination.
        figures: of the source and what it keeps.
    """

    def __init__(
        self,
        source: Source,
        reference: Reference,
        *,
        listener_protocol: MailProtocol,
        clock: IReactorTime,
        random: Callable[[], float],
        reporter: Reporter,
        figures: Callable[[], SourceFigures | None] = lambda: None,
    ) -> None:
        self._source = source
        self._reference = reference
        self._listener_protocol = listener_protocol
        self._clock = clock
        self._reporter = reporter
        self._replacements = Backoff(random)
        self._next_forget = 0.0
        self._parsed: tuple[Found, Destination, Access] | None = None
        self._last: Login | None = None
        self.figures = figures

    @property
    def token_expires_at(self) -> float | None:
        """When the token that was used last will end, in seconds of the clock; None where there is none."""
        credentials = None if self._last is None else self._last.credentials
        return credentials.expires_at if isinstance(credentials, Token) else None

    async def login(self) -> Login:
        """
        The current destination with credentials that are valid now.

        Raises:
            DestinationError: there is none.
        """
        login, _ = await self._login()
        return login

    async def replace(self, refused: Login) -> Login | None:
        """
        A login to try once after the mail server refused this one; None when there is nothing new to try.

        A token that is refused again and again is fetched anew at growing intervals only.  A password is never tried
        again, but the next login asks for the destination anew, in case it was changed there.

        Raises:
            DestinationError: a new token could not be fetched.
        """
        if not isinstance(refused.credentials, Token):
            self._forget()
            return None
        current, found = await self._login()
        if not isinstance(current.credentials, Token):
            return None
        if not _is_other_token(current, refused):
            now = self._clock.seconds()
            if now < self._replacements.until:
                return None
            if now > self._replacements.until + LONGEST_PAUSE_SECONDS:
                self._replacements.reset()
            self._replacements.fail(now, _FIRST_REPLACEMENT_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
            self._source.drop(self._reference, found, refused.credentials.token)
            current, _ = await self._login()
        return current if _is_other_token(current, refused) else None

    def _forget(self) -> None:
        now = self._clock.seconds()
        if now >= self._next_forget:
            self._next_forget = now + FORGET_SECONDS
            self._source.forget(self._reference)

    async def _login(self) -> tuple[Login, Found]:
        found = await self._source.find(self._reference)
        destination, access = self._parse(found)
        if not isinstance(access, TokenLogin):
            return self._same(Login(destination, access)), found
        token = await self._source.token(self._reference, found)
        return self._same(Login(destination, Token(access.user, token.value, token.expires_at))), found

    def _same(self, login: Login) -> Login:
        """The very login that was handed out last if this one equals it, so that comparing them costs nothing."""
        if self._last != login:
            self._last = login
        return self._last

    def _parse(self, found: Found) -> tuple[Destination, Access]:
        """The meaning of the properties, worked out once for as long as they stay the same."""
        if self._parsed is None or self._parsed[0].properties != found.properties:
            destination, access = parse_login(found.properties, listener_protocol=self._listener_protocol)
            self._reporter.described(destination)
            self._parsed = found, destination, access
        return self._parsed[1:]


def _is_other_token(login: Login, refused: Login) -> bool:
    """Whether the login is by a token that was not the one refused."""
    assert isinstance(refused.credentials, Token)
    return isinstance(login.credentials, Token) and login.credentials.token != refused.credentials.token

"""
The Destination service of SAP BTP, asked for one tenant.
"""

from __future__ import annotations

from collections.abc import Callable

from mailproxy.destination.answer import DestinationAnswer, parse_destination_answer
from mailproxy.destination.binding import Binding, BindingFile
from mailproxy.destination.cache import Cache, Fetched
from mailproxy.destination.http import Answer, Question, Web
from mailproxy.destination.jsontext import peer_words
from mailproxy.destination.pauses import pauses_after
from mailproxy.destination.report import Reporter
from mailproxy.destination.servicetoken import ServiceTokens
from mailproxy.destination.source import AccessToken, Found, Reference, Tenant
from mailproxy.destination.tokens import usable_seconds
from mailproxy.destination.url import ServiceURL
from mailproxy.errors import (
    DestinationError,
    DestinationUnavailable,
    DestinationUnknown,
    DestinationUnusable,
    TokenRefused,
)
from mailproxy.observe.observation import CacheFigures

DESTINATION_SECONDS = 120.0
"""How long a destination is taken for unchanged."""

STALE_SECONDS = 24 * 3600.0
"""How much longer it is used while the service cannot be asked; one with a token, as long as the token lives."""

_PATH = "/destination-configuration"

_Key = tuple[Tenant, ServiceURL, str, Reference]


class DestinationService:
    """
    Finds destinations in the service that a service key leads to, together with their tokens.

    Args:
        binding: the service key.
        tenant: whose destinations.
        web: asks.
        random: gives numbers from 0 to 1.
        reporter: tells the operator when the service fails and when it works again.
        timeout: for one question, in seconds.
    """

    def __init__(
        self,
        binding: BindingFile,
        tenant: Tenant,
        *,
        web: Web,
        random: Callable[[], float],
        reporter: Reporter,
        timeout: float = 10.0,
    ) -> None:
        self._binding = binding
        self._tenant = tenant
        self._web = web
        self._timeout = timeout
        self._tokens = ServiceTokens(
            tenant, web, random, timeout, lambda error: reporter.fetched("(service token)", error)
        )
        self._cache: Cache[_Key, Found] = Cache(
            web.clock, random, observe=lambda key, error: reporter.fetched(str(key[3]), error), pauses=_pauses_after
        )

    async def find(self, reference: Reference) -> Found:
        """
        The destination with its token, if it wants one.

        Raises:
            DestinationError: it could not be found.
        """
        binding = self._binding.current()
        key = self._key(binding, reference)
        return await self._cache.get(key, lambda: self._fetch(binding, key))

    async def token(self, reference: Reference, found: Found) -> AccessToken:
        """
        The token that came with the destination.

        Raises:
            DestinationUnavailable: none came.
        """
        if found.token is None:
            raise DestinationUnavailable(f"the destination service gave no token for {reference.name}")
        return found.token

    def drop(self, reference: Reference, found: Found, token: str) -> None:
        """The destination with this token is asked for anew."""
        del found
        key = self._key(self._binding.current(), reference)
        self._cache.drop(key, lambda held: held.token is not None and held.token.value == token)

    def forget(self, reference: Reference) -> None:
        """The destination is asked for anew."""
        self._cache.drop(self._key(self._binding.current(), reference), lambda _: True)

    def figures(self) -> CacheFigures:
        """What is kept of destinations."""
        return self._cache.figures()

    def close(self) -> None:
        """Nothing is in flight any more."""
        self._cache.close()
        self._tokens.close()

    def _key(self, binding: Binding, reference: Reference) -> _Key:
        return self._tenant, binding.uri, binding.clientid, reference

    async def _fetch(self, binding: Binding, key: _Key) -> Fetched[Found]:
        reference = key[3]
        answer = await self._ask(binding, reference)
        if answer.token_for_tenant:
            # Only now is it known that the tenant has to be named; for others the service does not permit it.
            answer = await self._ask(binding, reference, for_tenant=True)
        found = Found(answer.properties, answer.token)
        now = self._web.clock.seconds()
        if answer.token_error is not None:
            held = self._cache.peek(key)
            if held is not None and held.properties == found.properties:
                # The destination is as it was: its last token may be used as long as it lives.
                raise DestinationUnavailable(str(answer.token_error))
            raise answer.token_error
        if found.token is None:
            return Fetched(found, DESTINATION_SECONDS, STALE_SECONDS)
        usable = usable_seconds(found.token.expires_at - now)
        lifetime = min(DESTINATION_SECONDS, usable)
        return Fetched(found, lifetime, usable - lifetime)

    async def _ask(self, binding: Binding, reference: Reference, *, for_tenant: bool = False) -> DestinationAnswer:
        """Ask, and once more with a new service token if the first one is refused."""
        headers = _headers(reference)
        if for_tenant:
            headers.append(("X-tenant", self._subdomain()))
        for last_try in (False, True):
            token = await self._tokens.get(binding)
            question = Question(
                service="the destination service",
                url=binding.uri.below(_path(reference)),
                headers=(("Authorization", f"Bearer {token.value}"), *headers),
                timeout=self._timeout,
            )
            asked_at = self._web.clock.seconds()
            answer = await self._web.ask(question)
            if answer.status == 200:
                return parse_destination_answer(answer, asked_at, reference, self._tenant)
            if answer.status == 401:
                self._tokens.drop(binding, token)
            if answer.status != 401 or last_try:
                break
        raise _failure(answer, reference, self._tenant, (token.value, binding.clientsecret or ""))

    def _subdomain(self) -> str:
        if self._tenant.subdomain is None:
            raise DestinationUnusable(
                "tokenServiceURLType", "is Common, but whose token it is to be is not known: there is no subdomain"
            )
        return self._tenant.subdomain


def _path(reference: Reference) -> str:
    """Version 2 looks at one level, version 1 at all of them in turn."""
    if reference.level is None:
        return f"{_PATH}/v1/destinations/{reference.name}"
    return f"{_PATH}/v2/destinations/{reference.name}@{reference.level}"


def _headers(reference: Reference) -> list[tuple[str, str]]:
    """Fragments: with a level, each one says its own, which is the destination's if nothing else was said."""
    if reference.fragment is None:
        return []
    names = [name.strip() for name in reference.fragment.split(",")]
    if reference.level is not None:
        names = [name if "@" in name else f"{name}@{reference.level}" for name in names]
    headers = [("X-fragment-name", ",".join(names))]
    return [*headers, ("X-fragment-optional", "true")] if reference.fragment_optional else headers


def _failure(answer: Answer, reference: Reference, tenant: Tenant, secrets: tuple[str, ...]) -> DestinationError:
    """The error for an answer without a destination."""
    try:
        message = answer.json_object().get("ErrorMessage")
    except DestinationUnavailable:
        message = None
    words = peer_words(message, secrets=secrets) if isinstance(message, str) else ""
    more = f": {words}" if words else ""
    if answer.status == 404:
        return DestinationUnknown(f"{answer.place} knows no destination {reference} for tenant {tenant.name}{more}")
    if answer.status in (401, 403):
        return TokenRefused(f"{answer.place} refused our service token with status {answer.status}{more}")
    return answer.unavailable(words)


def _pauses_after(error: DestinationError) -> tuple[float, float, float]:
    """As usual, but shorter for a refused token: the service asks for it, and somebody may mend the destination."""
    return (5.0, 60.0, 0.0) if isinstance(error, TokenRefused) else pauses_after(error)

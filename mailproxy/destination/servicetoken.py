"""
The token that the Destination service wants to see, for one tenant.
"""

from __future__ import annotations

from collections.abc import Callable

from mailproxy.destination.binding import Binding
from mailproxy.destination.cache import Cache, Fetched
from mailproxy.destination.http import Question, Web
from mailproxy.destination.source import AccessToken, Tenant
from mailproxy.destination.tokens import LEAD_SECONDS, parse_token_answer, usable_seconds
from mailproxy.destination.url import ServiceURL
from mailproxy.errors import DestinationError, DestinationUnknown, DestinationUnusable, TokenRefused


class ServiceTokens:
    """
    Fetches and keeps the tenant's service token.

    Args:
        tenant: whose token.
        web: asks.
        random: gives numbers from 0 to 1.
        timeout: for one question, in seconds.
        observe: is told how each fetch went.
    """

    def __init__(
        self,
        tenant: Tenant,
        web: Web,
        random: Callable[[], float],
        timeout: float,
        observe: Callable[[DestinationError | None], None],
    ) -> None:
        self._tenant = tenant
        self._web = web
        self._timeout = timeout
        self._cache: Cache[tuple[Tenant, Binding], AccessToken] = Cache(
            web.clock, random, observe=lambda _key, error: observe(error), lead_seconds=LEAD_SECONDS
        )

    async def get(self, binding: Binding) -> AccessToken:
        """
        A token that is valid now.

        Raises:
            DestinationError: there is none.
        """
        return await self._cache.get((self._tenant, binding), lambda: self._fetch(binding))

    def drop(self, binding: Binding, token: AccessToken) -> None:
        """This token was refused; the next one is fetched."""
        self._cache.drop((self._tenant, binding), lambda held: held.value == token.value)

    def close(self) -> None:
        """Nothing is in flight any more."""
        self._cache.close()

    async def _fetch(self, binding: Binding) -> Fetched[AccessToken]:
        question = service_token_question(binding, self._tenant, self._timeout)
        asked_at = self._web.clock.seconds()
        answer = await self._web.ask_for_token(question)
        if answer.status == 404 and self._tenant.is_subscriber:
            raise DestinationUnknown(f"{answer.place} knows no tenant {self._tenant.name} (status 404)")
        try:
            token = parse_token_answer(answer, asked_at, [binding.clientsecret or ""])
        except TokenRefused as error:
            if answer.status != 401 or not self._tenant.is_subscriber:
                raise
            raise TokenRefused(f"{error} (or tenant {self._tenant.name} is not subscribed)") from None
        return Fetched(token, usable_seconds(token.expires_at - self._web.clock.seconds()))


def service_token_question(binding: Binding, tenant: Tenant, timeout: float) -> Question:
    """
    What to ask for a service token.

    A tenant is told by its subdomain in the host, or by its id in a header where only that is known.  A certificate
    proves who we are without a secret beside it.

    Raises:
        DestinationUnusable: the key's host is an IP address, which can hold no subdomain.
    """
    form = [("grant_type", "client_credentials"), ("client_id", binding.clientid)]
    if binding.clientsecret is not None:
        form.append(("client_secret", binding.clientsecret))
    only_id = tenant.id is not None and tenant.subdomain is None
    return Question(
        service="the token service",
        url=_token_base(binding, tenant).below("/oauth/token"),
        form=tuple(form),
        headers=(("X-zid", tenant.id),) if only_id and tenant.id is not None else (),
        identity=binding.identity,
        timeout=timeout,
    )


def _token_base(binding: Binding, tenant: Tenant) -> ServiceURL:
    if tenant.subdomain is None:
        return binding.token_base
    try:
        return binding.token_base.with_first_label(tenant.subdomain)
    except ValueError as error:
        key = "url" if binding.identity is None else "certurl"
        raise DestinationUnusable(f"{key} of the service key", str(error)) from None

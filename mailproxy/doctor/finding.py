"""
The first half of a check: the destination, and its access token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from mailproxy.destination.access import Access, TokenLogin
from mailproxy.destination.jsontext import load_object
from mailproxy.destination.model import Destination, TLSMode, Token
from mailproxy.destination.properties import parse_login
from mailproxy.destination.source import AccessToken, Found, Source
from mailproxy.destination.tokens import parse_lifetime
from mailproxy.doctor import asked
from mailproxy.doctor.asked import Questions
from mailproxy.doctor.claims import facts_of_token
from mailproxy.doctor.diagnosis import Diagnosis, StepFailed
from mailproxy.doctor.steps import Fact, Record, Trouble
from mailproxy.errors import DestinationUnusable, MailProxyError
from mailproxy.recipes import UpstreamRecipe

_ROUTE_KEY = "ProxyType"
_FIRST = {"service_token": "xsuaa", "destination": "sap-destination"}
"""Who is known to be asked in a step, whatever its host."""


class Finder:
    """
    Args:
        recipe: which destination, whose.
        source: knows it.
        questions: hears what the source asks.
        record: what becomes of each step.
        diagnosis: explains failures.
        clock: tells the time.
    """

    def __init__(
        self,
        recipe: UpstreamRecipe,
        source: Source,
        questions: Questions,
        record: Record,
        diagnosis: Diagnosis,
        clock: Any,
    ) -> None:
        self._recipe = recipe
        self._source = source
        self._questions = questions
        self._record = record
        self._diagnosis = diagnosis
        self._clock = clock
        self._by_service = recipe.source.service.binding is not None
        self._lost: MailProxyError | None = None

    async def find(self) -> tuple[Destination, Access, Token | None]:
        """
        The destination, as whom to log in, and the token for it; None where there is none or none is wanted.

        Raises:
            StepFailed: the destination cannot be used.
        """
        self._questions.begins = self._begins
        found = await self._find()
        destination, access = self._understand(found)
        return destination, access, await self._token(found, access)

    def _begins(self, kind: str) -> None:
        """A service is asked: that is a step."""
        ours = {asked.TOKEN: "service_token", asked.DESTINATION: "destination"} if self._by_service else {}
        self._record.begin(ours.get(kind, "token"))

    async def _find(self) -> Found:
        self._record.begin("service_token" if self._by_service else "destination")
        try:
            found = await self._source.find(self._recipe.reference)
        except MailProxyError as error:
            without = self._without_token()
            if without is None:
                raise StepFailed(self._record.current, self._service_failed(error)) from None
            found, self._lost = without, error
        if self._by_service:
            self._tell_of_service_token()
        return found

    def _without_token(self) -> Found | None:
        """A destination that came although its token did not: the service says both in one answer."""
        properties = self._answer().get("destinationConfiguration") if self._record.current == "destination" else None
        if isinstance(properties, dict) and properties.get("Authentication") == "OAuth2ClientCredentials":
            return Found(properties)
        return None

    def _answer(self) -> Mapping[str, Any]:
        """What the Destination service said last; nothing where it was no answer."""
        last = self._questions.last.get(asked.DESTINATION)
        if last is None or last.answer is None or last.answer.status != 200:
            return {}
        try:
            return load_object(last.answer.body)
        except ValueError:
            return {}

    def _service_failed(self, error: MailProxyError) -> Trouble:
        step = self._record.current
        kind = asked.TOKEN if step == "service_token" else asked.DESTINATION
        last = self._questions.last.get(kind) if self._by_service else None
        said, host = ("", "") if last is None else (last.text(), last.host)
        stage = "token" if step == "service_token" else "destination"
        if last is not None:
            self._record.facts(step, service=host)
        first, ours = _FIRST[step] if last is not None else "", step == "service_token"
        return self._diagnosis.of_service(stage, error, said, host, first, ours=ours)

    def _tell_of_service_token(self) -> None:
        last = self._questions.last.get(asked.TOKEN)
        if last is not None and last.answer is not None and last.answer.status == 200:
            fields = load_object(last.answer.body)
            value, seconds = fields.get("access_token"), parse_lifetime(fields.get("expires_in"))
            if isinstance(value, str):
                self._record.facts("service_token", service=last.host, **facts_of_token(value, seconds))

    def _understand(self, found: Found) -> tuple[Destination, Access]:
        self._record.begin("destination")
        place = "destination service" if self._by_service else f"directory {self._recipe.source.service.directory}"
        self._record.facts("destination", source=place)
        try:
            destination, access = parse_login(found.properties, listener_protocol=self._recipe.protocol)
        except DestinationUnusable as error:
            step = "route" if error.key == _ROUTE_KEY else "destination"
            raise StepFailed(step, self._diagnosis.of_service("destination", error, "", "")) from None
        self._record.facts("destination", **_about(destination, access))
        for words in destination.warnings:
            self._record.note(words)
        if destination.ignored:
            self._record.note(f"these properties have no effect: {', '.join(destination.ignored)}")
        self._record.begin("route")
        self._record.facts("route", route="Internet")
        return destination, access

    async def _token(self, found: Found, access: Access) -> Token | None:
        if not isinstance(access, TokenLogin):
            self._record.skip("token", "the login takes no token")
            return None
        self._record.begin("token")
        host = urlsplit(str(found.properties.get("tokenServiceURL", ""))).hostname or ""
        self._record.facts("token", service=host or None)
        try:
            if self._lost is not None:
                raise self._lost
            token = await self._source.token(self._recipe.reference, found)
        except MailProxyError as error:
            self._record.fail("token", self._token_failed(error, host))
            return None
        self._record.facts("token", **self._claims(token))
        return Token(access.user, token.value, token.expires_at)

    def _token_failed(self, error: MailProxyError, host: str) -> Trouble:
        if self._by_service:
            return self._diagnosis.of_service("destination", error, _token_error(self._answer()), "", "sap-destination")
        last = self._questions.last.get(asked.TOKEN)
        said, host = ("", host) if last is None else (last.text(), last.host)
        return self._diagnosis.of_service("token", error, said, host)

    def _claims(self, token: AccessToken) -> dict[str, Fact]:
        return facts_of_token(token.value, token.expires_at - self._clock.seconds())


def _token_error(answer: Mapping[str, Any]) -> str:
    """Why there is no token, as the table knows it."""
    entries = answer.get("authTokens")
    entry = entries[0] if isinstance(entries, list) and entries else None
    if not isinstance(entry, dict):
        return "authTokens missing"
    return f"authTokens[0].error: {entry.get('error', '')}"


def _about(destination: Destination, access: Access) -> dict[str, Fact]:
    """What an operator has to know of a destination; nothing secret."""
    login = "none" if access is None else "token" if isinstance(access, TokenLogin) else "password"
    facts: dict[str, Fact] = {"host": destination.host, "port": destination.port, "tls": _TLS[destination.tls.mode]}
    return facts | {"login": login} | ({} if access is None else {"user": access.user})


_TLS = {
    TLSMode.IMPLICIT: "from the first octet",
    TLSMode.REQUIRED: "STARTTLS or STLS, required",
    TLSMode.OPPORTUNISTIC: "STARTTLS or STLS, if offered",
    TLSMode.NONE: "none",
}

"""
The sandbox's HTTP services: service tokens, the Destination service, and access tokens for mailboxes.

    POST /oauth/token                                               a token for the Destination service
    GET  /destination-configuration/v1/destinations/NAME
    GET  /destination-configuration/v2/destinations/NAME@LEVEL
    POST /oauth2/token                                              a token for a mailbox

Whose destinations a service token opens is decided when it is fetched: by the first label of the host name that was
asked, or by the header X-zid with the id of a subaccount.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from attrs import frozen
from twisted.web.resource import IResource
from twisted.web.server import Request as HTTPRequest
from zope.interface import implementer

from mailproxy.sandbox.catalog import Catalog, Properties
from mailproxy.sandbox.conversation import HOST_NAME
from mailproxy.sandbox.oauth import Answer, Request, TokenEndpoint

AuthToken = dict[str, object]

MAIL_CLAIMS: Mapping[str, Any] = {"aud": f"https://{HOST_NAME}", "roles": ["SMTP.SendAsApp", "POP.AccessAsApp"]}
"""What a token for a mailbox says of itself, as those of a large provider do."""

_FORM_LIMIT = 64 * 1024


@implementer(IResource)
@frozen
class Services:
    """
    The whole web site: two token endpoints and the destinations.

    `host` is the name in the URL of the mailboxes' token endpoint, the only one that the Destination service reaches.
    """

    host: str
    service_tokens: TokenEndpoint
    mail_tokens: TokenEndpoint
    catalog: Catalog

    isLeaf = True  # requests of every path come to `render`

    def render(self, http: HTTPRequest) -> bytes:
        """The answer, as JSON."""
        status, body = self._route(http)
        http.setResponseCode(status)
        http.setHeader(b"Content-Type", b"application/json;charset=UTF-8")
        http.setHeader(b"Cache-Control", b"no-store")
        if status == 401:
            http.setHeader(b"WWW-Authenticate", b'Bearer error="invalid_token"')
        return json.dumps(body).encode()

    def getChildWithDefault(self, name: bytes, request: HTTPRequest) -> IResource:
        """Never asked for: a leaf has no children."""
        raise NotImplementedError  # a leaf

    def putChild(self, path: bytes, child: IResource) -> None:
        """Never asked for: a leaf has no children."""
        raise NotImplementedError  # a leaf

    def _route(self, http: HTTPRequest) -> Answer:
        path = [segment.decode(errors="replace") for segment in http.postpath or ()]
        match http.method, path:
            case b"POST", ["oauth", "token"]:
                return self._service_token(http)
            case b"POST", ["oauth2", "token"]:
                return self.mail_tokens.answer(_token_request(http), **MAIL_CLAIMS)
            case b"GET", ["destination-configuration", "v1", "destinations", name] if name:
                return self._destination(http, name, self.catalog.find)
            case b"GET", ["destination-configuration", "v2", "destinations", name] if name:
                return self._destination(http, name, self.catalog.consume)
            case _:
                return 404, {"ErrorMessage": "Not found"}

    def _service_token(self, http: HTTPRequest) -> Answer:
        subdomain = self._subdomain(http)
        if subdomain is None:
            return 404, {"error": "not_found", "error_description": "The subdomain does not map to a valid zone"}
        zone_id = self.catalog.subaccounts[subdomain]
        return self.service_tokens.answer(_token_request(http), subdomain, zid=zone_id)

    def _subdomain(self, http: HTTPRequest) -> str | None:
        zone_id = http.getHeader("X-zid")
        for subdomain, known_id in self.catalog.subaccounts.items():
            if zone_id == known_id or (zone_id is None and subdomain == _first_label(http)):
                return subdomain
        return None

    def _destination(self, http: HTTPRequest, name: str, find: Callable[..., Answer]) -> Answer:
        scheme, _, token = (http.getHeader("Authorization") or "").partition(" ")
        if scheme.lower() != "bearer":
            return 401, {"ErrorMessage": "Missing Authorization header"}
        if token.count(".") != 2:
            return 400, {"ErrorMessage": "Unable to parse the JWT in Authorization Header."}
        subdomain = self.service_tokens.tokens.subject(token)
        if subdomain is None:
            return 401, {"ErrorMessage": "The token is unknown or has expired"}
        fragment = http.getHeader("X-fragment-name") or ""
        status, body = find(subdomain, name, fragment)
        if status == 404 and fragment and http.getHeader("X-fragment-optional") == "true":
            status, body = find(subdomain, name)
        if status == 200 and (http.args or {}).get(b"$skipTokenRetrieval", [b""])[-1] != b"true":
            body = {**body, **self._tokens(http, body["destinationConfiguration"])}
        return status, body

    def _tokens(self, http: HTTPRequest, properties: Properties) -> dict[str, list[AuthToken]]:
        if properties["Authentication"] != "OAuth2ClientCredentials":
            return {}
        reached = properties.get("tokenServiceURL") == f"https://{self.host}:{http.getHost().port}/oauth2/token"
        return {"authTokens": [_auth_token(self.mail_tokens, properties, reached=reached)]}


def _auth_token(endpoint: TokenEndpoint, properties: Properties, *, reached: bool) -> AuthToken:
    """The entry of `authTokens`; the Destination service reports failure within it, not by the status."""
    client = endpoint.client(properties.get("clientId", ""), properties.get("clientSecret", ""))
    if not reached or client is None:
        reason = "Bad credentials" if reached else "the token service cannot be reached"
        return {"type": "", "value": "", "error": f"Retrieval of the token failed: {reason}", "expires_in": "0"}
    token = endpoint.tokens.issue(client.subject, endpoint.lifetime_seconds, cid=client.client_id, **MAIL_CLAIMS)
    return {
        "type": "Bearer",
        "value": token,
        "http_header": {"key": "Authorization", "value": f"Bearer {token}"},
        "expires_in": str(endpoint.lifetime_seconds),
        **({"scope": properties["scope"]} if "scope" in properties else {}),
    }


def _token_request(http: HTTPRequest) -> Request:
    assert http.content is not None
    form = parse_qsl(http.content.read(_FORM_LIMIT).decode(errors="replace"), keep_blank_values=True)
    return Request.read(dict(form), http.getHeader("Authorization"))


def _first_label(http: HTTPRequest) -> str:
    host: bytes = http.getRequestHostname()
    return host.decode(errors="replace").partition(".")[0].lower()

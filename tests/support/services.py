"""
A fake of the services behind SAP's destinations, with the shapes of the real ones and a switch for each failure.

    POST /oauth/token                                             service tokens, by subdomain or X-zid (XSUAA)
    GET  /destination-configuration/v1/destinations/NAME          the Destination service
    GET  /destination-configuration/v2/destinations/NAME@LEVEL
    POST /idp/token                                               access tokens by client credentials

It runs in memory (`MemoryClients`) and on a port (`Services.site`).
"""

from __future__ import annotations

import base64
import json
from urllib.parse import parse_qsl

from attrs import define, field, frozen
from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

SERVICE_CLIENT = "sb-clone1!b1|destination-xsappname!b2"
SERVICE_SECRET = "sentinel-service-secret+/="
PROVIDER = "provider"


@frozen
class Fault:
    """
    What goes wrong with one answer: silence, an answer of this kind instead, or one that never ends.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(factory=dict)
    silent: bool = False
    unfinished: bool = False


REDIRECT = Fault(302, b"", {"Location": "https://elsewhere.example/"})
SILENCE = Fault(silent=True)
GARBAGE = Fault(body=b"<html>\xff\x00</html>")
HUGE = Fault(body=b'{"a": "' + b"x" * 300_000 + b'"}')
SLOW_BODY = Fault(body=b'{"access_token": ', unfinished=True)


@frozen
class Seen:
    """One request."""

    kind: str
    host: str
    path: str
    headers: dict[str, str]
    form: dict[str, str]


@define
class Services:
    """
    What the services know, and what they were asked.

    `tenants` maps subdomains to ids, `destinations` maps subdomain and name (`name@level` for version 2) to
    properties, `clients` maps the ids of the identity provider's clients to their secrets.
    """

    tenants: dict[str, str] = field(factory=lambda: {PROVIDER: "id-provider"})
    unsubscribed: set[str] = field(factory=set)
    destinations: dict[tuple[str, str], dict[str, str]] = field(factory=dict)
    fragments: dict[tuple[str, str], dict[str, str]] = field(factory=dict)
    clients: dict[str, str] = field(factory=dict)
    service_secret: str = SERVICE_SECRET
    service_expires_in: object = 43199
    expires_in: object = "3600"
    token_error: str | None = None
    owner_of_all: str | None = None
    bearer_in_header_only: bool = False
    seen: list[Seen] = field(factory=list)
    faults: dict[str, list[Fault]] = field(factory=dict)
    lasting: dict[str, Fault] = field(factory=dict)
    waiting: list[object] = field(factory=list)
    issued: int = 0
    valid_service_tokens: dict[str, str] = field(factory=dict)

    @property
    def site(self):
        return Site(_Root(self))

    def asked(self, kind):
        """How often."""
        return sum(seen.kind == kind for seen in self.seen)

    def last(self, kind):
        return [seen for seen in self.seen if seen.kind == kind][-1]

    def fail(self, kind, *faults):
        """The next requests of this kind go wrong like this, one after the other."""
        self.faults.setdefault(kind, []).extend(faults)

    def forget_service_tokens(self):
        """As if they had been revoked."""
        self.valid_service_tokens.clear()

    def fault(self, kind):
        return self.faults[kind].pop(0) if self.faults.get(kind) else self.lasting.get(kind)

    def new_token(self, *words):
        self.issued += 1
        return ".".join((*words, str(self.issued), "sentinel-token"))

    def answer(self, kind, seen):
        return {"token": self._service_token, "destination": self._destination, "idp": self._idp}[kind](seen)

    def _service_token(self, seen):
        zone = seen.headers.get("x-zid")
        subdomain = seen.host.split(".")[0]
        if zone is not None:
            subdomain = next((name for name, known in self.tenants.items() if known == zone), "?")
        if subdomain not in self.tenants:
            return 404, {
                "error": "not_found",
                "error_description": "The subdomain does not map to a valid identity zone.",
            }
        if subdomain in self.unsubscribed:
            return 401, {
                "error": "invalid_client",
                "error_description": f"No client with requested id: {SERVICE_CLIENT}",
            }
        if seen.form.get("client_id") != SERVICE_CLIENT or seen.form.get("grant_type") != "client_credentials":
            return 401, {"error": "invalid_client", "error_description": "Bad credentials"}
        if "client_secret" in seen.form and seen.form["client_secret"] != self.service_secret:
            secret = seen.form["client_secret"]
            return 401, {"error": "invalid_client", "error_description": f"Bad credentials {secret}"}
        token = self.new_token("service", subdomain)
        self.valid_service_tokens[token] = subdomain
        return 200, {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": self.service_expires_in,
            "scope": "uaa.resource",
            "jti": "0123456789",
        }

    def _destination(self, seen):
        scheme, _, token = seen.headers.get("authorization", "").partition(" ")
        subdomain = self.valid_service_tokens.get(token)
        if scheme != "Bearer" or subdomain is None:
            return 401, {"ErrorMessage": "Unauthorized"}
        name = seen.path.rsplit("/", 1)[-1]
        properties = self.destinations.get((subdomain, name))
        fragment = seen.headers.get("x-fragment-name")
        if properties is None or (fragment is not None and (subdomain, fragment) not in self.fragments):
            return 404, {"ErrorMessage": "Configuration with the specified name was not found"}
        if fragment is not None:
            properties = {**properties, **self.fragments[subdomain, fragment], "FragmentName": fragment}
        owner = {"SubaccountId": self.owner_of_all or self.tenants[subdomain], "InstanceId": None}
        body = {"owner": owner, "destinationConfiguration": properties}
        kind = properties.get("Authentication")
        if kind == "BasicAuthentication":
            pair = f"{properties.get('mail.user')}:{properties.get('mail.password')}"
            value = base64.b64encode(pair.encode()).decode()
            header = {"key": "Authorization", "value": f"Basic {value}"}
            body["authTokens"] = [{"type": "Basic", "value": value, "http_header": header}]
        if kind == "OAuth2ClientCredentials":
            body["authTokens"] = [self._auth_token(seen, subdomain, properties)]
        return 200, body

    def _auth_token(self, seen, subdomain, properties):
        if self.token_error is not None:
            return {"type": "", "value": "", "error": self.token_error}
        for_whom = seen.headers.get("x-tenant", subdomain)
        token = self.new_token("mail", for_whom, properties["Name"])
        return {
            "type": "Bearer",
            "value": base64.b64encode(token.encode()).decode() + "\n" if self.bearer_in_header_only else token,
            "http_header": {"key": "Authorization", "value": f"Bearer {token}"},
            "expires_in": self.expires_in,
            "scope": properties.get("scope", ""),
        }

    def _idp(self, seen):
        client, secret = seen.form.get("client_id", ""), seen.form.get("client_secret", "")
        scheme, _, pair = seen.headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            client, _, secret = base64.b64decode(pair).decode().partition(":")
        if self.clients.get(client) != secret:
            words = f"AADSTS7000215: Invalid client secret provided: {secret}"
            return 401, {"error": "invalid_client", "error_description": words}
        return 200, {
            "access_token": self.new_token("idp", client),
            "token_type": "Bearer",
            "expires_in": self.expires_in,
        }


@define(eq=False)
class _Root(Resource):
    """Everything below one address."""

    services: Services
    isLeaf = True

    def __attrs_post_init__(self):
        Resource.__init__(self)

    def render(self, request):
        seen = _seen(request)
        self.services.seen.append(seen)
        fault = self.services.fault(seen.kind)
        if fault is not None:
            return self._render_fault(request, fault)
        status, body = self.services.answer(seen.kind, seen)
        request.setResponseCode(status)
        request.setHeader("Content-Type", "application/json")
        request.setHeader("Set-Cookie", "JSESSIONID=sentinel-cookie; Path=/")
        return json.dumps(body).encode()

    def _render_fault(self, request, fault):
        if fault.silent:
            self.services.waiting.append(request)
            return NOT_DONE_YET
        request.setResponseCode(fault.status)
        for name, value in fault.headers.items():
            request.setHeader(name, value)
        if not fault.unfinished:
            return fault.body
        request.write(fault.body)
        self.services.waiting.append(request)
        return NOT_DONE_YET


def _seen(request):
    path = request.path.decode()
    kind = {"/oauth/token": "token", "/idp/token": "idp"}.get(path, "destination")
    headers = {name.decode().lower(): values[-1].decode() for name, values in request.requestHeaders.getAllRawHeaders()}
    form = dict(parse_qsl(request.content.read().decode(), keep_blank_values=True))
    return Seen(kind, headers.get("host", ""), path, headers, form)


@define
class MemoryClients:
    """Clients that reach the services without a network; `identities` are the certificates they were asked to show."""

    services: Services
    identities: list[object] = field(factory=list)
    agent: object = field(init=False)

    def __attrs_post_init__(self):
        self.agent = RequestTraversalAgent(_Root(self.services))

    def client(self, identity):
        self.identities.append(identity)
        return HTTPClient(self.agent)

    def flush(self):
        """What was written late gets through."""
        self.agent.flush()

"""Service tokens, destinations and mailbox tokens over real HTTPS."""

import base64
import http.client
import json
from urllib.parse import urlencode

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from mailproxy.sandbox.layout import token_url


class Web:
    """An HTTPS client that comes back with a status and the JSON."""

    def __init__(self, world, trust):
        self.world = world
        self.trust = trust
        binding = world.directory / "bindings" / "destination"
        self.key = {file.name: file.read_text() for file in binding.iterdir()}

    def ask(self, method, path, *, host="provider", form=None, headers=None):
        return deferToThread(self._ask, method, path, f"{host}.localhost", form, headers or {})

    def _ask(self, method, path, host, form, headers):
        connection = http.client.HTTPSConnection(host, self.world.servers.https, context=self.trust, timeout=10)
        body = None if form is None else urlencode(form)
        if form is not None:
            headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        octets = answer.read()
        connection.close()
        return answer.status, json.loads(octets)

    async def service_token(self, host, **changes):
        """The answer of the token service."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.key["clientid"],
            "client_secret": self.key["clientsecret"],
            **changes,
        }
        return await self.ask("POST", "/oauth/token", host=host, form=form)

    async def find(self, host, path, headers=None):
        """The answer of the Destination service to this tenant."""
        _, answer = await self.service_token(host)
        bearer = {"Authorization": f"Bearer {answer['access_token']}"}
        return await self.ask("GET", f"/destination-configuration/{path}", headers=bearer | (headers or {}))


@pytest.fixture
def web(world, trust):
    return Web(world, trust)


@pytest_twisted.ensureDeferred
async def test_the_binding_has_what_a_service_key_has(web, world):
    assert set(web.key) >= {"clientid", "clientsecret", "url", "uri", "identityzone", "tenantid"}
    assert web.key["url"] == f"https://provider.localhost:{world.servers.https}"
    assert web.key["identityzone"] == "provider"


@pytest_twisted.ensureDeferred
async def test_a_service_token_has_the_real_shape(web):
    status, answer = await web.service_token("acme")
    assert status == 200
    assert answer["token_type"] == "bearer"
    assert answer["expires_in"] == 43199
    header, claims, _ = answer["access_token"].split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "=="))["typ"] == "JWT"
    assert json.loads(base64.urlsafe_b64decode(claims + "=="))["sub"] == "acme"


@pytest_twisted.ensureDeferred
async def test_client_credentials_also_come_in_a_header(web):
    basic = base64.b64encode(f"{web.key['clientid']}:{web.key['clientsecret']}".encode()).decode()
    form = {"grant_type": "client_credentials"}
    status, _ = await web.ask("POST", "/oauth/token", form=form, headers={"Authorization": f"Basic {basic}"})
    assert status == 200
    status, _ = await web.ask("POST", "/oauth/token", form=form, headers={"Authorization": "Basic !"})
    assert status == 401


@pytest.mark.parametrize(
    ("host", "changes", "status", "error"),
    [
        ("unknown", {}, 404, "not_found"),
        ("acme", {"client_secret": "wrong"}, 401, "invalid_client"),
        ("acme", {"client_id": "wrong"}, 401, "invalid_client"),
        ("acme", {"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_refused_service_tokens(web, host, changes, status, error, monkeypatch):
    monkeypatch.setattr(web.trust, "check_hostname", False)  # the certificate does not know the unknown tenant
    got, answer = await web.service_token(host, **changes)
    assert (got, answer["error"]) == (status, error)


@pytest_twisted.ensureDeferred
async def test_a_token_request_without_grant_type(web):
    assert (await web.ask("POST", "/oauth/token", form={}))[0] == 400


@pytest_twisted.ensureDeferred
async def test_each_tenant_gets_its_own_destination_by_host_name(web, world, acme, globex):
    for tenant in (acme, globex):
        status, answer = await web.find(tenant.name, "v1/destinations/example-dest-smtp")
        assert status == 200
        assert answer["owner"] == {"SubaccountId": tenant.id, "InstanceId": None}
        assert "authTokens" not in answer
        assert answer["destinationConfiguration"] == {
            "Name": "example-dest-smtp",
            "Type": "MAIL",
            "ProxyType": "Internet",
            "Authentication": "BasicAuthentication",
            "mail.user": f"robot@{tenant.name}.example",
            "mail.password": tenant.password,
            "mail.transport.protocol": "smtp",
            "mail.smtp.host": "mail.localhost",
            "mail.smtp.port": str(world.servers.smtp),
            "mail.smtp.auth": "true",
        }


@pytest_twisted.ensureDeferred
async def test_a_tenant_may_be_named_by_its_id(web, globex):
    form = {
        "grant_type": "client_credentials",
        "client_id": web.key["clientid"],
        "client_secret": web.key["clientsecret"],
    }
    _, token = await web.ask("POST", "/oauth/token", form=form, headers={"X-zid": globex.id})
    bearer = {"Authorization": f"Bearer {token['access_token']}"}
    path = "/destination-configuration/v1/destinations/example-dest-smtp"
    _, answer = await web.ask("GET", path, headers=bearer)
    assert answer["destinationConfiguration"]["mail.user"] == globex.user
    status, _ = await web.ask("POST", "/oauth/token", form=form, headers={"X-zid": "nobody"})
    assert status == 404


@pytest.mark.parametrize(
    "path", ["v1/destinations/example-dest-smtps", "v2/destinations/example-dest-smtps@subaccount"]
)
@pytest_twisted.ensureDeferred
async def test_a_destination_with_oauth_comes_with_a_token_that_the_mail_servers_accept(web, world, acme, globex, path):
    status, answer = await web.find("acme", path)
    assert status == 200
    (token,) = answer["authTokens"]
    assert token["type"] == "Bearer"
    assert token["http_header"] == {"key": "Authorization", "value": f"Bearer {token['value']}"}
    assert token["expires_in"] == "43199"
    assert world.mailboxes.accepts_token(acme.user, token["value"])
    assert not world.mailboxes.accepts_token(globex.user, token["value"])


@pytest_twisted.ensureDeferred
async def test_no_token_is_fetched_when_none_is_wanted(web):
    _, answer = await web.find("acme", "v1/destinations/example-dest-smtps?$skipTokenRetrieval=true")
    assert "authTokens" not in answer


@pytest.mark.parametrize("change", [{"clientSecret": "wrong"}, {"tokenServiceURL": "https://elsewhere.example/"}])
@pytest_twisted.ensureDeferred
async def test_a_token_that_could_not_be_fetched_is_an_error_within_200(web, world, acme, change):
    (status, answer) = world.services.catalog.find("acme", "example-dest-smtps")
    world.services.catalog.add("acme", answer["destinationConfiguration"] | change)
    status, answer = await web.find("acme", "v1/destinations/example-dest-smtps")
    assert status == 200
    (token,) = answer["authTokens"]
    assert (token["type"], token["value"]) == ("", "")
    assert token["error"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("v1/destinations/unknown", 404),
        ("v1/destinations/", 404),
        ("v2/destinations/example-dest-smtp", 400),
        ("v2/destinations/example-dest-smtp@nowhere", 400),
        ("v2/destinations/example-dest-smtp@instance", 404),
        ("v2/destinations/example-dest-smtp@provider_subaccount", 404),
        ("v3/destinations/example-dest-smtp", 404),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_not_there(web, path, status):
    got, answer = await web.find("acme", path)
    assert got == status
    assert answer["ErrorMessage"]


@pytest_twisted.ensureDeferred
async def test_levels_are_looked_up_as_documented(web, world):
    catalog = world.services.catalog
    catalog.add("acme", {"Name": "d", "Authentication": "NoAuthentication", "at": "instance"}, level="instance")
    catalog.add("acme", {"Name": "d", "Authentication": "NoAuthentication", "at": "subaccount"})
    catalog.add("provider", {"Name": "d", "Authentication": "NoAuthentication", "at": "provider"})
    found = {}
    for path in (
        "v1/destinations/d",
        *(f"v2/destinations/d@{level}" for level in ("subaccount", "provider_subaccount")),
    ):
        _, answer = await web.find("acme", path)
        found[path] = answer["destinationConfiguration"]["at"]
    assert list(found.values()) == ["instance", "subaccount", "provider"]


@pytest_twisted.ensureDeferred
async def test_a_fragment_overrides_properties(web, world):
    world.services.catalog.add_fragment("acme", "other-host", {"mail.smtp.host": "other.localhost"})
    for path in ("v1/destinations/example-dest-smtp", "v2/destinations/example-dest-smtp@subaccount"):
        _, answer = await web.find("acme", path, {"X-fragment-name": "other-host"})
        assert answer["destinationConfiguration"]["mail.smtp.host"] == "other.localhost"
        assert answer["destinationConfiguration"]["FragmentName"] == "other-host"
        status, _ = await web.find("acme", path, {"X-fragment-name": "missing"})
        assert status == 404
        status, _ = await web.find("acme", path, {"X-fragment-name": "missing", "X-fragment-optional": "true"})
        assert status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Basic eDp5"}, 401),
        ({"Authorization": "Bearer nonsense"}, 400),
        ({"Authorization": "Bearer a.b.c"}, 401),
    ],
)
@pytest_twisted.ensureDeferred
async def test_without_a_good_service_token_there_is_no_destination(web, headers, status):
    path = "/destination-configuration/v1/destinations/example-dest-smtp"
    assert (await web.ask("GET", path, headers=headers))[0] == status


@pytest_twisted.ensureDeferred
async def test_a_mailbox_token_opens_its_mailbox(web, world, acme, globex):
    form = {
        "grant_type": "client_credentials",
        "client_id": acme.client_id,
        "client_secret": acme.client_secret,
        "scope": "mail",
    }
    status, answer = await web.ask("POST", "/oauth2/token", form=form)
    assert (status, answer["scope"]) == (200, "mail")
    assert world.mailboxes.accepts_token(acme.user, answer["access_token"])
    assert not world.mailboxes.accepts_token(globex.user, answer["access_token"])
    status, answer = await web.ask("POST", "/oauth2/token", form=form | {"client_secret": globex.client_secret})
    assert (status, answer["error"]) == (401, "invalid_client")


def test_the_token_url_of_the_destinations_is_the_endpoint(world):
    _, answer = world.services.catalog.find("acme", "example-dest-pop3-oauth")
    assert answer["destinationConfiguration"]["tokenServiceURL"] == token_url(world.servers)

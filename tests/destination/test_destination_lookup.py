"""Logins for one destination of one tenant, and that no tenant sees another's."""

import json
from urllib.parse import quote_plus

import pytest

from mailproxy.destination.binding import BindingFile
from mailproxy.destination.directory import DestinationDirectory
from mailproxy.destination.lookup import FORGET_SECONDS, DestinationLogins
from mailproxy.destination.model import MailProtocol, Password
from mailproxy.destination.report import Reporter
from mailproxy.destination.sap import DestinationService
from mailproxy.destination.source import PROVIDER, Reference, Tenant
from mailproxy.errors import DestinationError, DestinationUnavailable, DestinationUnusable
from tests.destination.coroutines import run, start
from tests.support.services import GARBAGE, HUGE, REDIRECT, SERVICE_SECRET, Fault

ACME, GLOBEX = Tenant("acme", "acme"), Tenant("globex", "globex")
BASIC = {
    "Name": "mail",
    "Type": "MAIL",
    "ProxyType": "Internet",
    "Authentication": "BasicAuthentication",
    "mail.user": "robot",
    "mail.password": "sentinel-password",
    "mail.transport.protocol": "smtp",
    "mail.smtp.host": "mail.example.com",
}
TOKEN = {
    **BASIC,
    "Authentication": "OAuth2ClientCredentials",
    "tokenServiceURL": "https://idp.example.com/idp/token",
    "clientId": "client",
    "clientSecret": "sentinel-client-secret",
}


class Place:
    """A source of destinations of either kind, in which a test can put destinations."""

    def __init__(self, world, tmp_path, write_key):
        self.world = world
        self.folder = tmp_path / "destinations"
        self.key = write_key()
        world.services.tenants.update(acme="id-acme", globex="id-globex")
        world.services.clients["client"] = "sentinel-client-secret"

    def logins(self, tenant, name="mail"):
        reporter = Reporter(tenant)
        return DestinationLogins(
            self.source(tenant, reporter),
            Reference(name),
            listener_protocol=MailProtocol.SMTP,
            clock=self.world.clock,
            random=lambda: 0.0,
            reporter=reporter,
        )


class Directory(Place):
    kind = "idp"

    def put(self, tenant, properties):
        folder = self.folder / (tenant.subdomain or ".")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mail.json").write_text(json.dumps(properties))

    def source(self, tenant, reporter):
        return DestinationDirectory(self.folder, tenant, web=self.world.web, random=lambda: 0.0, reporter=reporter)


class Service(Place):
    kind = "destination"

    def put(self, tenant, properties):
        self.world.services.destinations[tenant.subdomain or "provider", "mail"] = dict(properties)

    def source(self, tenant, reporter):
        return DestinationService(
            BindingFile(self.key), tenant, web=self.world.web, random=lambda: 0.0, reporter=reporter
        )


@pytest.fixture(params=[Directory, Service])
def place(request, world, tmp_path, write_key):
    return request.param(world, tmp_path, write_key)


def test_a_password(place):
    place.put(ACME, BASIC)
    login = run(place.logins(ACME).login())
    assert (login.destination.name, login.destination.host) == ("mail", "mail.example.com")
    assert login.credentials == Password("robot", "sentinel-password")


def test_a_token(place, world):
    place.put(ACME, TOKEN)
    login = run(place.logins(ACME).login())
    assert (login.credentials.user, login.credentials.expires_at) == ("robot", world.clock.seconds() + 3600)
    assert login.credentials.token.endswith("sentinel-token")


def test_no_login(place):
    place.put(ACME, {**BASIC, "Authentication": "NoAuthentication"})
    login = run(place.logins(ACME).login())
    assert (login.destination.login, login.credentials) == (False, None)


def test_a_destination_that_cannot_be_used(place):
    place.put(ACME, {**BASIC, "mail.smtp.port": "0"})
    with pytest.raises(DestinationUnusable, match=r"^mail\.smtp\.port: "):
        run(place.logins(ACME).login())


def test_what_has_no_effect_is_told_once_until_it_changes(place, world, ours, events):
    place.put(ACME, {**BASIC, "mail.smtp.from": "sentinel@example.com", "TrustAll": "true"})
    logins = place.logins(ACME)
    for _ in range(5):
        run(logins.login())
        world.clock.advance(130)
    before = "destination mail, tenant acme: "
    told = [
        before + "TrustAll has no effect: certificates are always verified",
        before + "these properties have no effect: mail.smtp.from",
    ]
    assert ours() == told
    event = next(event for event in events if event["log_namespace"] == "mailproxy.destination")
    assert (event["destination"], event["tenant"]) == ("mail", "acme")
    place.put(ACME, {**BASIC, "mail.smtp.chunksize": "5"})
    run(logins.login())
    world.clock.advance(130)
    run(logins.login())
    assert ours() == [*told, before + "these properties have no effect: mail.smtp.chunksize"]


# --- a second try


def test_a_refused_token_is_replaced_by_a_new_one(place):
    place.put(ACME, TOKEN)
    logins = place.logins(ACME)
    refused = run(logins.login())
    fresh = run(logins.replace(refused))
    assert fresh.credentials.token != refused.credentials.token
    assert run(logins.login()) == fresh


def test_a_password_is_never_replaced(place):
    place.put(ACME, BASIC)
    logins = place.logins(ACME)
    refused = run(logins.login())
    place.put(ACME, {**BASIC, "mail.password": "sentinel-new"})
    assert run(logins.replace(refused)) is None
    assert run(logins.login()).credentials.password == "sentinel-new"


def test_sessions_that_are_held_off_do_not_ask_for_the_destination_each(world, tmp_path, write_key):
    place = Service(world, tmp_path, write_key)
    place.put(ACME, BASIC)
    logins = place.logins(ACME)
    for _ in range(100):
        run(logins.replace(run(logins.login())))
    assert world.services.asked(place.kind) == 2
    place.put(ACME, {**BASIC, "mail.password": "sentinel-new"})
    world.clock.advance(FORGET_SECONDS)
    run(logins.replace(run(logins.login())))
    assert run(logins.login()).credentials.password == "sentinel-new"


def test_no_login_is_not_replaced_either(place):
    place.put(ACME, {**BASIC, "Authentication": "NoAuthentication"})
    logins = place.logins(ACME)
    assert run(logins.replace(run(logins.login()))) is None


def test_a_token_is_not_replaced_by_a_password(place, world):
    place.put(ACME, TOKEN)
    logins = place.logins(ACME)
    refused = run(logins.login())
    place.put(ACME, BASIC)
    world.clock.advance(130)
    assert run(logins.replace(refused)) is None


def test_sessions_that_were_refused_together_fetch_one_new_token(place, world):
    place.put(ACME, TOKEN)
    logins = place.logins(ACME)
    refused = run(logins.login())
    fresh = [run(logins.replace(refused)) for _ in range(5)]
    assert fresh == [fresh[0]] * 5
    assert world.services.asked(place.kind) == 2


def test_a_token_that_is_refused_again_and_again_is_fetched_at_growing_intervals(world, tmp_path, write_key):
    place = Directory(world, tmp_path, write_key)
    place.put(ACME, TOKEN)
    logins = place.logins(ACME)
    times = []
    began = world.clock.seconds()
    while len(times) < 6:
        refused = run(logins.login())
        if run(logins.replace(refused)) is not None:
            times.append(world.clock.seconds() - began)
        world.clock.advance(10)
    assert times == [0, 30, 90, 210, 450, 930]


def test_after_a_quiet_time_the_intervals_are_short_again(place, world):
    place.put(ACME, TOKEN)
    logins = place.logins(ACME)
    for _ in range(2):
        assert run(logins.replace(run(logins.login()))) is not None
        assert run(logins.replace(run(logins.login()))) is None
        world.clock.advance(700)
    assert run(logins.replace(run(logins.login()))) is not None
    world.clock.advance(31)
    assert run(logins.replace(run(logins.login()))) is not None


def test_the_same_token_again_is_nothing_new(world, tmp_path, write_key, monkeypatch):
    place = Service(world, tmp_path, write_key)
    monkeypatch.setattr(type(world.services), "new_token", lambda _, *words: ".".join(words))
    place.put(ACME, TOKEN)
    logins = place.logins(ACME)
    assert run(logins.replace(run(logins.login()))) is None


def test_a_new_token_that_cannot_be_fetched_is_an_error(place, world):
    place.put(ACME, TOKEN)
    logins = place.logins(ACME)
    refused = run(logins.login())
    world.services.lasting[place.kind] = Fault(503)
    with pytest.raises(DestinationUnavailable):
        run(logins.replace(refused))


# --- tenants


def test_tenants_with_equal_names_and_clients_never_see_each_others_answers(place, world):
    tenants = (ACME, GLOBEX, PROVIDER)
    for tenant in tenants:
        place.put(tenant, {**TOKEN, "mail.user": f"robot-{tenant.name}"})
    logins = {tenant: place.logins(tenant) for tenant in tenants}
    tokens = {}
    for _ in range(3):
        for tenant in tenants:
            login = run(logins[tenant].login())
            assert login.credentials.user == f"robot-{tenant.name}"
            tokens.setdefault(login.credentials.token, set()).add(tenant)
        world.clock.advance(2000)
    assert all(len(holders) == 1 for holders in tokens.values())


def test_swapping_two_tenants_swaps_their_logins_and_nothing_else(place, world):
    properties = {tenant: {**BASIC, "mail.password": f"sentinel-{tenant.name}"} for tenant in (ACME, GLOBEX)}
    for tenant, each in properties.items():
        place.put(tenant, each)
    logins = {tenant: place.logins(tenant) for tenant in properties}

    def passwords():
        return [run(logins[tenant].login()).credentials.password for tenant in (ACME, GLOBEX)]

    assert passwords() == ["sentinel-acme", "sentinel-globex"]
    place.put(ACME, properties[GLOBEX])
    place.put(GLOBEX, properties[ACME])
    world.clock.advance(121)
    assert passwords() == ["sentinel-globex", "sentinel-acme"]


def test_a_tenant_in_trouble_leaves_the_other_alone(world, tmp_path, write_key):
    place = Service(world, tmp_path, write_key)
    for tenant in (ACME, GLOBEX):
        place.put(tenant, BASIC)
    world.services.unsubscribed.add("acme")
    with pytest.raises(DestinationError):
        run(place.logins(ACME).login())
    run(place.logins(GLOBEX).login())


# --- secrets


def quoting(secret):
    """A refusal that quotes what the service was told."""
    words = f"got {secret}, {quote_plus(secret)}"
    body = {"error": "invalid_client", "error_description": words, "ErrorMessage": words}
    return [Fault(status, json.dumps(body).encode()) for status in (400, 401, 404, 500)]


FAULTS = [
    GARBAGE,
    HUGE,
    REDIRECT,
    Fault(500, b"sentinel"),
    Fault(200, b'{"access_token": "sentinel token", "token_type": "Bearer"}'),
    Fault(200, b'{"destinationConfiguration": {"Name": "mail", "mail.password": "sentinel-password"}}'),
]
TROUBLES = [
    ("token", None),
    *((kind, fault) for kind in ("token", "destination", "idp") for fault in FAULTS),
    *(("token", fault) for fault in quoting(SERVICE_SECRET)),
    *(("destination", fault) for fault in quoting(SERVICE_SECRET)),
    *(("idp", fault) for fault in quoting("sentinel-client-secret")),
]


def held_by(source):
    """What a source keeps, its caches opened."""
    for name, value in vars(source).items():
        yield name, value
        for entries in (getattr(value, "_entries", None), getattr(getattr(value, "_cache", None), "_entries", None)):
            yield name, entries


@pytest.mark.parametrize("properties", [BASIC, TOKEN, {**TOKEN, "mail.user": "sentinel\r\n"}])
@pytest.mark.parametrize(("kind", "fault"), TROUBLES)
def test_no_secret_is_in_any_output(place, world, events, properties, kind, fault):
    place.put(ACME, properties)
    if fault is not None:
        world.services.lasting[kind] = fault
    logins = place.logins(ACME)
    shown = []
    for _ in range(3):
        (result,) = start(logins.login()).results
        error = getattr(result, "value", None)
        shown += [repr(result), str(result), repr(error), str(error)]
        world.clock.advance(130)
    shown += [event["log_format"].format(**event) + repr(event) for event in events]
    shown += [repr(logins), *(repr(value) for name, value in held_by(logins._source) if name != "_web")]
    assert "sentinel" not in "\n".join(shown)
    assert not any("log_failure" in event for event in events)

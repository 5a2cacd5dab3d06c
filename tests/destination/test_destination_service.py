"""The Destination service: service tokens, answers, caching, and what is done when it fails."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.destination.answer import parse_destination_answer
from mailproxy.destination.binding import BindingFile
from mailproxy.destination.http import Answer
from mailproxy.destination.report import Reporter
from mailproxy.destination.sap import DESTINATION_SECONDS, STALE_SECONDS, DestinationService
from mailproxy.destination.source import PROVIDER, Reference, Tenant
from mailproxy.errors import DestinationUnavailable, DestinationUnknown, DestinationUnusable, TokenRefused
from mailproxy.sandbox.pki import Authority
from tests.destination.coroutines import run, start
from tests.support.services import GARBAGE, HUGE, REDIRECT, SERVICE_CLIENT, SERVICE_SECRET, SILENCE, Fault

ACME = Tenant("acme", "acme")
REFERENCE = Reference("mail")
BASIC = {"Name": "mail", "Type": "MAIL", "Authentication": "BasicAuthentication", "mail.password": "sentinel-password"}
TOKEN = {**BASIC, "Authentication": "OAuth2ClientCredentials", "clientSecret": "sentinel-client-secret"}
DOWN = Fault(503)
SERVICE = "the destination service at destinations.example.com"


@pytest.fixture
def make(world, write_key):
    world.services.tenants.update(acme="id-acme", globex="id-globex")

    def make(tenant=PROVIDER, path=None):
        return DestinationService(
            BindingFile(path or write_key()),
            tenant,
            web=world.web,
            random=lambda: 0.0,
            reporter=Reporter(tenant),
        )

    return make


def knows(world, properties, subdomain="provider", name="mail"):
    world.services.destinations[subdomain, name] = dict(properties)


def find(service, reference=REFERENCE):
    return run(service.find(reference))


def failure(service, kind, reference=REFERENCE):
    with pytest.raises(kind) as caught:
        find(service, reference)
    assert "sentinel" not in str(caught.value)
    return str(caught.value)


# --- the service token


def test_the_provider_asks_its_own_token_service_with_the_secret_in_the_form(world, make):
    knows(world, BASIC)
    assert find(make()).properties["mail.password"] == "sentinel-password"
    token, destination = world.services.seen
    assert (token.host, token.path) == ("provider.authentication.example.com", "/oauth/token")
    assert token.form == {
        "grant_type": "client_credentials",
        "client_id": SERVICE_CLIENT,
        "client_secret": SERVICE_SECRET,
    }
    assert "x-zid" not in token.headers
    assert (destination.host, destination.path) == (
        "destinations.example.com",
        "/destination-configuration/v1/destinations/mail",
    )
    assert destination.headers["authorization"].startswith("Bearer service.provider.")
    assert not {"x-tenant", "x-fragment-name"} & set(destination.headers)


def test_a_tenant_is_told_by_its_subdomain_in_the_host(world, make):
    knows(world, BASIC, "acme")
    find(make(ACME))
    assert world.services.last("token").host == "acme.authentication.example.com"


def test_a_tenant_of_which_only_the_id_is_known_is_told_by_a_header(world, make):
    knows(world, BASIC, "acme")
    find(make(Tenant("acme", id="id-acme")))
    seen = world.services.last("token")
    assert (seen.host, seen.headers["x-zid"]) == ("provider.authentication.example.com", "id-acme")


@pytest.mark.parametrize(
    ("url", "host"), [("http://localhost:8080", "acme.localhost"), ("http://provider.localhost:8080", "acme.localhost")]
)
def test_on_this_machine_tenants_are_subdomains_of_localhost(world, make, write_key, url, host):
    knows(world, BASIC, "acme")
    find(make(ACME, write_key(url=url)))
    assert world.services.last("token").host == f"{host}:8080"


def test_an_address_in_the_key_cannot_tell_tenants_apart(make, write_key, world):
    service = make(ACME, write_key(url="http://127.0.0.1:8080"))
    assert failure(service, DestinationUnusable) == (
        "url of the service key: has an IP address for a host, where no subdomain can stand"
    )
    knows(world, BASIC)
    world.services.tenants["127"] = "x"
    knows(world, BASIC, "127")
    find(make(PROVIDER, write_key(url="http://127.0.0.1:8080")))


def test_a_certificate_goes_to_its_own_url_without_a_secret(world, make, write_key):
    knows(world, BASIC, "acme")
    issued = Authority.create().issue("client.example")
    key = write_key(
        **{"credential-type": "x509"},
        certurl="https://provider.authentication.cert.example.com",
        certificate=issued.chain_pem.decode(),
        key=issued.key_pem.decode(),
    )
    find(make(ACME, key))
    seen = world.services.last("token")
    assert seen.host == "acme.authentication.cert.example.com"
    assert seen.form == {"grant_type": "client_credentials", "client_id": SERVICE_CLIENT}
    shown, not_shown = world.clients.identities
    assert (shown.certificate, not_shown) == (issued.chain_pem, None)


def test_an_unknown_tenant_is_said_to_be_unknown(make):
    assert failure(make(Tenant("nobody", "nobody")), DestinationUnknown) == (
        "the token service at nobody.authentication.example.com knows no tenant nobody (status 404)"
    )


def test_a_tenant_without_subscription_is_said_to_be_one(world, make):
    world.services.unsubscribed.add("acme")
    assert failure(make(ACME), TokenRefused).endswith(
        f"No client with requested id: {SERVICE_CLIENT} (or tenant acme is not subscribed)"
    )


def test_a_wrong_secret_is_refused_and_not_quoted(world, make):
    world.services.service_secret = "other"
    assert failure(make(), TokenRefused) == (
        "the token service at provider.authentication.example.com refused a token with status 401: "
        "invalid_client: Bad credentials <secret>"
    )
    failure(make(), TokenRefused)


def test_a_refused_key_is_not_tried_again_and_again(world, make):
    world.services.service_secret = "other"
    service = make()
    for _ in range(10):
        failure(service, TokenRefused)
        world.clock.advance(2)
    assert world.services.asked("token") == 1


def test_a_new_key_is_used_at_once(world, make, write_key):
    knows(world, BASIC)
    world.services.service_secret = "sentinel-new"
    service = make()
    failure(service, TokenRefused)
    write_key(clientsecret="sentinel-new")
    world.clock.advance(5)
    find(service)


def test_the_service_token_is_kept_until_shortly_before_its_end(world, make):
    for number in range(4):
        knows(world, {**BASIC, "Name": f"mail{number}"}, name=f"mail{number}")
    world.services.service_expires_in = "1000"
    service = make()
    find(service, Reference("mail0"))
    world.clock.advance(775)
    find(service, Reference("mail1"))
    assert world.services.asked("token") == 1
    world.clock.advance(1)
    find(service, Reference("mail2"))
    assert world.services.asked("token") == 2
    find(service, Reference("mail3"))
    assert world.services.asked("token") == 2


def test_a_service_token_that_was_revoked_is_replaced_once(world, make):
    knows(world, BASIC)
    service = make()
    find(service)
    world.services.forget_service_tokens()
    world.clock.advance(DESTINATION_SECONDS)
    find(service)
    assert (world.services.asked("token"), world.services.asked("destination")) == (2, 3)


def test_a_second_401_is_a_refusal(world, make):
    knows(world, BASIC)
    world.services.fail("destination", Fault(401, b'{"ErrorMessage": "no"}'), Fault(401, b"<html>"))
    assert failure(make(), TokenRefused) == (f"{SERVICE} refused our service token with status 401")
    assert (world.services.asked("token"), world.services.asked("destination")) == (2, 2)


# --- finding


def test_with_a_level_version_2_is_asked_and_fragments_get_the_level(world, make):
    knows(world, BASIC, "acme", "mail@provider_instance")
    world.services.fragments["acme", "f@provider_instance"] = {"mail.user": "fragment"}
    service = make(ACME)
    found = find(service, Reference("mail", "provider_instance", "f"))
    assert found.properties["mail.user"] == "fragment"
    seen = world.services.last("destination")
    assert seen.path == "/destination-configuration/v2/destinations/mail@provider_instance"
    assert seen.headers["x-fragment-name"] == "f@provider_instance"
    assert "x-fragment-optional" not in seen.headers


def test_fragments_without_a_level_go_as_they_are(world, make):
    knows(world, BASIC)
    world.services.fragments["provider", "f"] = {}
    find(make(), Reference("mail", fragment="f", fragment_optional=True))
    headers = world.services.last("destination").headers
    assert (headers["x-fragment-name"], headers["x-fragment-optional"]) == ("f", "true")


def test_a_fragment_with_a_level_of_its_own_keeps_it(world, make):
    knows(world, BASIC, name="mail@instance")
    with pytest.raises(DestinationUnknown):
        find(make(), Reference("mail", "instance", "f@subaccount, g"))
    assert world.services.last("destination").headers["x-fragment-name"] == "f@subaccount,g@instance"


def test_levels_and_fragments_do_not_share_answers(world, make):
    knows(world, {**BASIC, "mail.user": "a"})
    knows(world, {**BASIC, "mail.user": "b"}, name="mail@instance")
    world.services.fragments["provider", "f"] = {"mail.user": "c"}
    service = make()
    references = (REFERENCE, Reference("mail", "instance"), Reference("mail", fragment="f"))
    assert [find(service, reference).properties["mail.user"] for reference in references] == ["a", "b", "c"]


def test_an_unknown_destination_is_named_with_all_that_was_asked_for(make):
    assert failure(make(ACME), DestinationUnknown) == (
        f"{SERVICE} knows no destination mail for tenant acme: Configuration with the specified name was not found"
    )
    reference = Reference("mail", "instance", "f")
    assert "knows no destination mail@instance with fragment f for tenant acme" in failure(
        make(ACME), DestinationUnknown, reference
    )


def test_a_destination_that_is_added_is_found_soon(world, make):
    service = make()
    failure(service, DestinationUnknown)
    knows(world, BASIC)
    world.clock.advance(5)
    find(service)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(500), "answered with status 500"),
        (Fault(400, b'{"ErrorMessage": "Unable to\\r\\nparse"}'), r"answered with status 400: Unable to\x0d\x0aparse"),
        (REDIRECT, "answered with a redirect, which is not followed"),
        (GARBAGE, "answered with status 200 and a body that is no JSON (not UTF-8)"),
        (HUGE, "answers with more than 262144 octets"),
        (Fault(200, b"{}"), "answered without a destination"),
        (Fault(200, b'{"destinationConfiguration": []}'), "answered without a destination"),
        (
            Fault(200, b'{"destinationConfiguration": {"Name": "other"}}'),
            "answered about 'other', not about mail",
        ),
    ],
)
def test_answers_that_help_nobody(world, make, fault, words):
    world.services.fail("destination", fault)
    assert failure(make(), DestinationUnavailable) == f"{SERVICE} {words}"


@pytest.mark.parametrize("kind", ["token", "destination"])
def test_silence_ends_at_the_deadline(world, make, kind):
    knows(world, BASIC)
    world.services.fail(kind, SILENCE)
    asked = start(make().find(REFERENCE))
    world.clock.advance(10)
    assert "did not answer within 10 seconds" in str(asked.error)


def test_the_service_may_ask_for_a_pause(world, make):
    knows(world, BASIC)
    world.services.fail("destination", Fault(429, b"{}", {"Retry-After": "40"}))
    service = make()
    failure(service, DestinationUnavailable)
    world.clock.advance(39)
    failure(service, DestinationUnavailable)
    assert world.services.asked("destination") == 1
    world.clock.advance(1)
    find(service)


def test_an_answer_about_another_subaccount_is_refused(world, make):
    knows(world, BASIC, "acme")
    world.services.owner_of_all = "id-globex"
    tenant = Tenant("acme", "acme", "id-acme")
    assert failure(make(tenant), DestinationUnavailable) == (
        f"{SERVICE} answered with a destination of id-globex, not of tenant id-acme"
    )
    world.services.owner_of_all = None
    world.clock.advance(1)
    find(make(tenant))


def test_a_providers_destination_may_be_the_providers(world, make):
    knows(world, BASIC, "acme", "mail@provider_subaccount")
    world.services.owner_of_all = "id-provider"
    find(make(Tenant("acme", "acme", "id-acme")), Reference("mail", "provider_subaccount"))


# --- the token that comes along


def token_of(service):
    found = find(service)
    return run(service.token(REFERENCE, found))


@pytest.mark.parametrize("expires_in", ["3600", 3600])
@pytest.mark.parametrize("in_header_only", [False, True])
def test_the_token_is_taken_as_it_is_meant(world, make, expires_in, in_header_only):
    knows(world, TOKEN, "acme")
    world.services.expires_in = expires_in
    world.services.bearer_in_header_only = in_header_only
    token = token_of(make(ACME))
    assert token.value == "mail.acme.mail.2.sentinel-token"
    assert token.expires_at == world.clock.seconds() + 3600


def answered(world, tokens):
    body = {"destinationConfiguration": TOKEN, "authTokens": tokens}
    world.services.fail("destination", Fault(200, json.dumps(body).encode()))


def test_the_value_alone_is_enough(world, make):
    answered(world, [{"type": "BEARER", "value": "a.b.c", "new_field": 1}])
    assert token_of(make()).value == "a.b.c"


@pytest.mark.parametrize(
    "tokens",
    [
        None,
        [],
        [[]],
        [{}],
        [{"type": "Basic", "value": "abc"}],
        [{"type": 7, "value": "abc"}],
        [{"type": "Bearer", "value": "sentinel abc"}],
        [{"type": "Bearer", "value": "", "http_header": {"value": "Bearer sentinel\r\nX: y"}}],
        [{"type": "Bearer", "value": None, "http_header": "x"}],
        [{"type": "", "value": "abc"}],
    ],
)
def test_an_answer_without_a_token_is_a_refusal(world, make, tokens):
    answered(world, tokens)
    assert failure(make(), TokenRefused).endswith("answered without a Bearer token")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Retrieval of OAuthToken failed due to: connect timed out", DestinationUnavailable),
        ('Retrieval failed. Response was: {"error":"invalid_client"} sentinel-client-secret', TokenRefused),
        ("401 Unauthorized", TokenRefused),
        ({"x": 1}, DestinationUnavailable),
    ],
)
def test_an_error_inside_of_a_good_answer_is_an_error(world, make, words, kind):
    knows(world, TOKEN)
    world.services.token_error = words
    sentence = failure(make(), kind)
    assert sentence.startswith(f"{SERVICE} got no token: ")
    assert ("<secret>" in sentence) == ("sentinel" in str(words))


def test_a_password_needs_no_token(world, make):
    knows(world, BASIC)
    service = make()
    found = find(service)
    assert found.token is None
    with pytest.raises(DestinationUnavailable):
        run(service.token(REFERENCE, found))


def test_a_common_token_service_is_told_the_tenant(world, make):
    knows(world, {**TOKEN, "tokenServiceURLType": "Common"}, "acme")
    assert token_of(make(ACME)).value.startswith("mail.acme.mail.")
    first, second = [seen.headers.get("x-tenant") for seen in world.services.seen if seen.kind == "destination"]
    assert (first, second) == (None, "acme")


def test_a_common_token_service_without_a_tenant_is_a_mistake(world, make):
    knows(world, {**TOKEN, "tokenServiceURLType": "Common"})
    assert failure(make(), DestinationUnusable).startswith("tokenServiceURLType: is Common, but ")


LEAF = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.sampled_from(["Bearer", "a.b", "9"]))
TREE = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["type", "value", "error", "http_header", "expires_in", "Name"]), inner),
    ),
    max_leaves=6,
)
KEYS = [*TOKEN, "tokenServiceURLType", "owner", "SubaccountId"]


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(KEYS), TREE), TREE, TREE, st.booleans())
def test_whatever_the_service_answers_it_is_understood_or_unavailable(properties, tokens, owner, wants_token):
    kind = {"Authentication": "OAuth2ClientCredentials"} if wants_token else {}
    body = {
        "destinationConfiguration": {**properties, **kind},
        "authTokens": [tokens],
        "owner": {"SubaccountId": owner},
    }
    answer = Answer("the destination service at d.example", 200, json.dumps(body).encode())
    try:
        found = parse_destination_answer(answer, 0.0, REFERENCE, Tenant("acme", "acme", "id"))
    except DestinationUnavailable as error:
        sentence = str(error)
    else:
        sentence = str(found.token_error)
        assert found.wants_token == (found.token is not None or found.token_error is not None)
    assert sentence.isprintable()


# --- caching


def test_a_destination_is_asked_for_every_two_minutes_and_renewed_ahead(world, make):
    knows(world, BASIC)
    service = make()
    for _ in range(95):
        find(service)
        world.clock.advance(1)
    assert world.services.asked("destination") == 1
    world.clock.advance(1)
    world.services.fail("destination", SILENCE)
    find(service)
    assert world.services.asked("destination") == 2, "whoever comes when it is ageing does not wait"
    world.clock.advance(10)
    find(service)


def test_a_short_token_is_renewed_before_it_ends(world, make):
    knows(world, TOKEN)
    world.services.expires_in = 60
    service = make()
    first = token_of(service)
    world.clock.advance(54)
    second = token_of(service)
    assert first.value != second.value


def test_a_token_without_a_life_is_used_once(world, make):
    knows(world, TOKEN)
    world.services.expires_in = "-1"
    service = make()
    assert token_of(service).value != token_of(service).value


def test_while_the_service_is_down_what_is_known_goes_on(world, make, ours):
    knows(world, BASIC)
    service = make()
    found = find(service)
    world.services.lasting["destination"] = DOWN
    for _ in range(50):
        world.clock.advance(STALE_SECONDS / 50)
        assert find(service) is found
    (event,) = ours()
    assert event == f"destination mail, tenant provider: {SERVICE} answered with status 503"
    world.clock.advance(DESTINATION_SECONDS)
    failure(service, DestinationUnavailable)
    del world.services.lasting["destination"]
    world.clock.advance(80)
    find(service)
    assert ours()[1:] == ["destination mail, tenant provider: works again"]


def test_while_the_service_is_down_a_token_goes_on_until_its_end(world, make):
    knows(world, TOKEN)
    service = make()
    token = token_of(service)
    world.services.lasting["destination"] = DOWN
    world.clock.advance(3569)
    assert token_of(service) == token
    world.clock.advance(1)
    failure(service, DestinationUnavailable)


@pytest.mark.parametrize("words", ["connect timed out", "invalid_client"])
def test_while_no_new_token_comes_the_old_one_goes_on_until_its_end(world, make, words):
    knows(world, TOKEN)
    service = make()
    token = token_of(service)
    world.services.token_error = words
    world.clock.advance(DESTINATION_SECONDS)
    assert token_of(service) == token
    world.clock.advance(3570 - DESTINATION_SECONDS)
    failure(service, (DestinationUnavailable, TokenRefused))


def test_a_destination_that_has_changed_does_not_go_on_with_its_old_token(world, make):
    knows(world, TOKEN)
    service = make()
    token_of(service)
    knows(world, {**TOKEN, "mail.user": "other"})
    world.services.token_error = "invalid_client"
    world.clock.advance(DESTINATION_SECONDS)
    failure(service, TokenRefused)


def test_a_destination_that_is_gone_does_not_go_on(world, make):
    knows(world, BASIC)
    service = make()
    find(service)
    world.services.destinations.clear()
    world.clock.advance(DESTINATION_SECONDS)
    failure(service, DestinationUnknown)


def test_those_who_ask_meanwhile_share_one_request(world, make):
    knows(world, BASIC)
    world.services.fail("token", SILENCE)
    service = make()
    asked = [start(service.find(REFERENCE)) for _ in range(10)]
    assert world.services.asked("token") == 1
    world.clock.advance(10)
    assert len({str(each.error) for each in asked}) == 1


def test_a_refused_token_is_dropped_and_another_is_not(world, make):
    knows(world, TOKEN)
    service = make()
    found = find(service)
    service.drop(REFERENCE, found, "older")
    assert find(service) is found
    service.drop(REFERENCE, found, found.token.value)
    assert find(service).token != found.token


def test_closing_ends_what_is_in_flight(world, make):
    world.services.fail("token", SILENCE)
    service = make()
    asked = start(service.find(REFERENCE))
    service.close()
    assert str(asked.error) == "mailproxy is stopping"

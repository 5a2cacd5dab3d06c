"""The first half of a check, with the Destination service saying what it should not."""

import json

import pytest
import pytest_twisted

from tests.doctor.ward import NAME


def steps(report):
    return {step.name: step for step in report.checks[0].steps}


@pytest.mark.parametrize(
    ("tokens", "answer"),
    [
        (None, "destination-no-token"),
        ([], "destination-no-token"),
        (["x"], "destination-no-token"),
        (
            [{"type": "", "value": "", "error": "Unable to fetch refresh token from the specified token service URL"}],
            "destination-token-refresh",
        ),
        ([{"type": "", "value": "", "error": "whatever"}], "destination-token-error-other"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_destination_without_its_token(ward, monkeypatch, tokens, answer):
    ward.in_service(ward.token_properties())
    services = ward.world.services.__class__
    given = {} if tokens is None else {"authTokens": tokens}
    monkeypatch.setattr(services, "_tokens", lambda _self, _http, _properties: given)
    found = steps(await ward.check())
    assert (found["destination"].status, found["token"].trouble.answer) == ("ok", answer)
    assert found["login"].why == "there is no token"
    assert found["probe"].status == "ok"


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (200, ["no object"], "service-no-json"),
        (
            200,
            {"destinationConfiguration": {"Name": NAME, "Authentication": "BasicAuthentication"}},
            "destination-property",
        ),
        (503, {"ErrorMessage": "busy"}, "destination-busy"),
        (403, {"ErrorMessage": "no"}, "destination-403"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_answer_that_is_no_destination(ward, monkeypatch, status, body, answer):
    ward.use_service()
    services = ward.world.services.__class__
    monkeypatch.setattr(services, "_destination", lambda *_arguments: (status, body))
    found = steps(await ward.check())
    assert (found["service_token"].status, found["destination"].status) == ("ok", "failed")
    assert found["destination"].trouble.answer == answer
    assert found["name"].status == "skipped"


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (401, {"error": "unauthorized", "error_description": "Bad credentials"}, "xsuaa-bad-credentials"),
        (429, {}, "xsuaa-rate-limit"),
        (200, {"token_type": "bearer"}, "token-missing"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_no_token_for_the_service(ward, monkeypatch, status, body, answer):
    ward.use_service()
    services = ward.world.services.__class__
    monkeypatch.setattr(services, "_service_token", lambda *_arguments: (status, body))
    found = steps(await ward.check())["service_token"]
    assert (found.status, found.trouble.answer) == ("failed", answer)
    assert found.facts["service"] == "provider.localhost"
    assert json.dumps(body) not in found.trouble.error


@pytest_twisted.ensureDeferred
async def test_a_lifetime_that_is_a_text(ward, monkeypatch):
    ward.in_service(ward.properties())
    endpoint = type(ward.world.services.service_tokens)
    monkeypatch.setattr(endpoint, "answer", _with_text(endpoint.answer))
    report = await ward.check()
    assert report.ok
    assert steps(report)["service_token"].facts["seconds_left"] == 43199


def _with_text(answer):
    def wrapped(*arguments, **claims):
        status, body = answer(*arguments, **claims)
        return status, body | {"expires_in": str(body["expires_in"])}

    return wrapped

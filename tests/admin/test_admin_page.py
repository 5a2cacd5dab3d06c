"""The page on the admin endpoint says what the code does, and all of it."""

from __future__ import annotations

import pytest

from mailproxy.admin import answers, channel, history, sap, status
from mailproxy.admin.values import Work
from mailproxy.doctor.outcomes import MEANINGS
from mailproxy.doctor.table import known_answers
from mailproxy.flight.flights import MAX_FLIGHTS
from mailproxy.flight.latest import MAX_SHOWN
from mailproxy.observe import condition, failures
from mailproxy.session.recording import MAX_TAPE_OCTETS, Event
from mailproxy.workers.shelf import MAX_RECORDING_CHARACTERS
from tests.admin import scenes
from tests.admin.test_desk import OPEN, Office
from tests.support.pages import Page, page, span, spans, unique

ADMIN = page("reference/admin.md")


def section(title):
    """A part of the page, as a page."""
    text = ADMIN.text.split(f"\n## {title}\n")[1].split("\n## ")[0]

    class Part(Page):
        text = ""

    part = Part(ADMIN.path)
    Part.text = text
    return part


def fields(title):
    return unique(span(row["Field"]) for row in section(title).table("Field", "What it is"))


def flat(value, path=""):
    """The name of every field in an object of JSON; of what may be null, its own and those below."""
    if isinstance(value, dict):
        below = {name for key, each in value.items() for name in flat(each, f"{path}.{key}" if path else key)}
        return below | ({path} if path in NULLABLE else set())
    if isinstance(value, list | tuple):
        return {name for each in value for name in flat(each, f"{path}[]")} or {f"{path}[]"}
    return {path}


NULLABLE = {
    "destinations[].last_error",
    "destinations[].upstream",
    "destinations[].upstream.tls",
    "destinations[].credential",
}


def test_every_path_stands_there_once_with_whether_it_needs_a_token():
    rows = {span(row["Path"]): row["Token"] for row in ADMIN.table("Path", "Token", "What it answers")}
    assert unique(span(row["Path"]) for row in ADMIN.table("Path", "Token", "What it answers")) == rows.keys()
    assert rows.keys() == Office().desk.paths.keys()
    assert {path for path, token in rows.items() if token == "no"} == OPEN


def test_every_field_of_the_status_stands_there_once():
    pictures = (scenes.degraded(), scenes.crowd())
    said = set().union(*(flat(status.status(picture, scenes.explain) | {"recordings": []}) for picture in pictures))
    assert fields("`/status`") - {"crew[]"} == said
    crew = flat(status.status(scenes.crew(), scenes.explain) | {"recordings": []})
    assert {name for name in crew - said if not name.startswith("crew[].")} <= {"failures[]"}, "these stand at /ready"


def test_every_field_and_every_event_of_a_recording_does():
    (recording,) = status.status(scenes.degraded(), scenes.explain)["recordings"]
    assert fields("Recordings") == flat(recording | {"policy": 0, "things": [0]})
    assert unique(span(row["Event"]) for row in ADMIN.table("Event", "What happened")) == {
        event.name.lower() for event in Event
    }


def test_the_numbers_of_recordings_stand_there():
    words = section("Recordings").text
    for number in (
        f"{MAX_FLIGHTS} are kept for each listener",
        f"the latest {MAX_SHOWN} of all",
        f"{MAX_TAPE_OCTETS // 1024} KiB at most",
        f"more than {MAX_RECORDING_CHARACTERS:,} characters",
    ):
        assert number in words


def test_every_field_of_the_other_answers_too():
    assert fields("`/ready`") == flat(status.readiness(scenes.crew()))
    said = scenes.history(scenes.healthy()) | {"listeners": {"LABEL": history._Ring().series()}}
    assert fields("`/history`") == flat(said)


def test_every_field_of_saps_shapes_too():
    health, resources = sap.health(scenes.degraded()), sap.resources(scenes.degraded())
    health["Components"] = {"NAME": health["Components"]["sap-transp-proxy-manager"]}
    assert fields("SAP's shapes") == flat(health) | flat(resources)


def test_every_state_stands_there():
    states = unique(span(row["State"]) for row in ADMIN.table("State", "When"))
    assert states == {state.value for state in condition.State}


def test_everything_that_a_worker_may_do_stands_there():
    (row,) = [row for row in ADMIN.table("Field", "What it is") if row["Field"] == "`crew[].state`"]
    assert set(spans(row["What it is"])) == {work.value for work in Work}


def test_every_side_stands_there():
    (row,) = [row for row in ADMIN.table("Field", "What it is") if row["Field"].endswith("last_error.side`")]
    answers = [answer for provider in known_answers().providers.values() for answer in provider.answers]
    sides = {each.side for each in (*MEANINGS.values(), *answers)} - {None}
    assert set(spans(row["What it is"])) == sides


@pytest.mark.parametrize(
    "words",
    [
        f"{channel.CONNECTION_SECONDS:g} seconds at most",
        f"There are {channel.MAX_CONNECTIONS} connections at a time",
        f"{failures.MAX_FAILURES} different ones are kept",
        f"the latest {status.MAX_FAILURES_SHOWN}",
        f"{condition.RECENT_SECONDS / 60:g} minutes",
        f"{condition.CERTIFICATE_SECONDS / 86_400:g} days",
        f"The length of a step: {history.SAMPLE_SECONDS:g}",
        f"{history.MAX_SAMPLES} steps at most",
        f"{answers.MOST_KEEP_SECONDS:g} s old at most",
    ],
)
def test_every_bound_is_the_codes(words):
    assert words in " ".join(ADMIN.text.split())

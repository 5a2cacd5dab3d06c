"""Of each listener, the last sessions that ended badly are kept, and no others."""

from __future__ import annotations

import pytest

from mailproxy.flight.flights import MAX_FLIGHTS, Flights
from tests.flight.stories import lost_in_data


def flight(outcome, *, trouble=None, session="00000a"):
    told = lost_in_data()
    told.outcome = outcome
    return told.flight(session=session, trouble=trouble)


@pytest.mark.parametrize("outcome", ["quit", "downstream_closed", "shutdown", "not_smtp", "made_room"])
def test_what_ended_well_and_who_was_a_stranger_is_not_kept(outcome):
    flights = Flights()
    flights.note(flight(outcome))
    assert not flights.latest()
    flights.note(flight(outcome, trouble="the mail server was lost"))
    assert len(flights.latest()) == 1


def test_the_last_ones_are_kept_the_last_one_first():
    flights = Flights()
    for number in range(MAX_FLIGHTS + 3):
        flights.note(flight("downstream_timeout", session=f"{number:06x}"))
    kept = [each.session for each in flights.latest()]
    assert kept == [f"{number:06x}" for number in range(MAX_FLIGHTS + 2, 2, -1)]


def test_what_was_heard_is_not_in_its_representation():
    assert "example.com" not in repr(flight("quit"))

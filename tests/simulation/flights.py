"""
Every session of a world is recorded and lived through once more: it has to come to the same end, and to keep no secret.
"""

from __future__ import annotations

import json

import attrs

from mailproxy import recipes
from mailproxy.flight.flights import Flights
from mailproxy.flight.recording import read, recording_of, written
from mailproxy.flight.replay import replay
from mailproxy.session.recording import MAX_TAPE_OCTETS
from tests.simulation.secrets import owners

SHARE = 3
"""One world in so many records its sessions."""


def recorded(config, own):
    """What a configuration asks for, with a recorder for every session."""
    return [
        attrs.evolve(order, recipe=attrs.evolve(order.recipe, recorded=True)) for order in recipes.orders(config, own)
    ]


class Replayed(Flights):
    """Of one listener; how a session ended makes no difference here."""

    def __init__(self, world):
        super().__init__()
        self._world = world

    def note(self, flight):
        super().note(flight)
        world = self._world
        if len(flight.recorder) > MAX_TAPE_OCTETS:
            world.forbid(f"session {flight.session} was recorded on {len(flight.recorder)} octets")
        text = json.dumps(written(recording_of(flight, "listener")))
        if owners(text.encode()):
            world.forbid(f"a secret was recorded: {text}")
        recording = read(json.loads(text))
        if not recording.whole:
            return
        played = replay(recording)
        world.replayed += 1
        if played.outcome != flight.outcome:
            story = "\n".join([*played.lines, text])
            world.forbid(
                f"{flight.session} ended: {flight.outcome}; lived through once more: {played.outcome}\n{story}"
            )

"""
What changes around the proxy while it runs: passwords, keys, tokens, files, and its configuration.
"""

from __future__ import annotations

import attrs

from tests.simulation.site import BROKEN, ENCRYPTIONS, PLACES, SERVICE_HOST, TENANTS

GRACE_SECONDS = 300.0
"""How long an old secret goes on to open, where nothing may go wrong."""


def happen(world):
    """Something changes; only what does no harm, where nothing may go wrong."""
    if world.silent or world.stopped_early:
        return
    kinds = [_rotate, _rotate_binding]
    if world.plan.trouble:
        kinds += [_rotate_at_once, _revoke, _mistype, _spoil]
    world.random.choice([_reload, world.random.choice(kinds)])(world)


# Secrets


def _with_file(world):
    places = [place for place in world.plan.places if place.access != "cloud"]
    return world.random.choice(places or PLACES[:2])


def _rotate(world):
    place = _with_file(world)
    world.note("somebody", f"changes the secret of {place.owner}")
    world.vault.rotate(place, grace=GRACE_SECONDS)


def _rotate_at_once(world):
    place = _with_file(world)
    world.note("somebody", f"changes the secret of {place.owner} at once")
    world.vault.rotate(place, grace=0)


def _rotate_binding(world):
    world.note("somebody", f"changes the service key of {SERVICE_HOST}")
    world.vault.rotate_binding(grace=GRACE_SECONDS if not world.plan.trouble else 0)


def _revoke(world):
    owner = world.random.choice([place.owner for place in PLACES if place.access != "password"])
    owner = world.random.choice((owner, f"{world.random.choice(TENANTS)}-svc"))
    world.note("somebody", f"revokes the tokens of {owner}")
    world.vault.revoke(owner)


def _mistype(world):
    """A secret that opens nothing, until somebody sees that."""
    place = _with_file(world)
    world.note("somebody", f"mistypes the secret of {place.owner}")
    world.vault.mistype(place)
    world.reactor.later(world.random.uniform(0, world.plan.seconds), lambda: world.vault.rotate(place, grace=0))


def _spoil(world):
    place = _with_file(world)
    world.note("somebody", f"spoils the file of {place.owner}")
    world.vault.spoil(place)
    world.reactor.later(world.random.uniform(0, world.plan.seconds), lambda: world.vault.mend(place))


# The configuration


def _reload(world):
    world.random.choice((_same, _policies, _upstream, _remove, _restore, _move, _encrypt, _unusable, _blocked))(world)


def _same(world):
    world.reload(world.places, {})


def _policies(world):
    world.reload(world.places, world.plan.settings(world.config))


def _upstream(world):
    world.reload(world.places, world.plan.upstream_settings(world.config), new_ways=True)


def _remove(world):
    gone = set(world.random.choices(sorted(world.places), k=world.random.randint(1, 4)))
    places = {owner: place for owner, place in world.places.items() if owner not in gone}
    world.reload(places or world.places, {}, new_ways=True)


def _restore(world):
    world.reload({place.owner: place for place in world.plan.places}, {}, new_ways=True)


def _move(world):
    """A listener has another port, or two have each other's."""
    one, other = world.random.choices(sorted(world.places), k=2)
    port = world.next_port() if one == other or world.random.random() < 0.5 else world.places[other].listen
    places = dict(world.places)
    if port == places[other].listen:
        places[other] = attrs.evolve(places[other], listen=places[one].listen)
    places[one] = attrs.evolve(places[one], listen=port)
    world.reload(places, {})


def _encrypt(world):
    """All listeners of one destination have another kind of TLS, or none."""
    destination = world.random.choice(sorted({place.destination for place in world.places.values()}))
    kind = world.random.choice((*ENCRYPTIONS, "plaintext"))
    world.reload(_with_encryption(world, destination, kind), {})


def _unusable(world):
    """A certificate that cannot be read, beside other changes: nothing must come of them."""
    destination = world.random.choice(sorted({place.destination for place in world.places.values()}))
    places = _with_encryption(world, destination, BROKEN)
    gone = world.random.choice([owner for owner, place in places.items() if place.destination != destination] or [None])
    places.pop(gone, None)
    world.reload(places, world.plan.settings(world.config), fails=True)


def _blocked(world):
    """A port that somebody else has, beside other changes."""
    owner = world.random.choice(sorted(world.places))
    port = world.next_port()
    world.reactor.foreign.add(port)
    places = world.places | {owner: attrs.evolve(world.places[owner], listen=port)}
    world.reload(places, world.plan.settings(world.config), fails=True)


def _with_encryption(world, destination, kind):
    return {
        owner: attrs.evolve(place, encryption=kind) if place.destination == destination else place
        for owner, place in world.places.items()
    }

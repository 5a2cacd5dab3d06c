"""
The secrets of one world, while they change: passwords and keys are rotated, tokens expire and are revoked.

Everybody who gives a secret or judges one asks here.  What is changed in the proxy's files is put back at the end,
since all worlds of a process share them.
"""

from __future__ import annotations

import json
import math

from tests.simulation import site
from tests.simulation.secrets import secret, secrets_in


class Vault:
    """
    Args:
        world: tells the time.
        folder: where the proxy's files are.
    """

    def __init__(self, world, folder):
        self._world = world
        self._folder = folder
        self._current = {}
        self._until = {}
        """Until when a secret opens something; one that is not here always does."""
        self._owners = {}
        self._replaced = {}
        self._before = {}
        self._generations = 0

    # Tokens

    def issue(self, owner, what, lifetime):
        """A token, live for so many seconds."""
        token = self._another(owner, what)
        self._until[token] = self._world.reactor.seconds() + lifetime
        self._owners[token] = owner
        return token

    def revoke(self, owner):
        """No token of this owner opens anything any more."""
        for token, whose in self._owners.items():
            if whose == owner:
                self._until[token] = -math.inf

    # What opens

    def opens(self, shown):
        """Whether there is a secret in these octets, and none that is over."""
        found = secrets_in(shown)
        now = self._world.reactor.seconds()
        return bool(found) and all(now < self._until.get(each, math.inf) for each in found)

    def current(self, place):
        """The password or client secret of a destination, as its file says."""
        return self._current.get(place.owner, site.first_secret(place))

    def replaced_at(self, secret):
        """Since when a file says another one; None for what no file says, or still says."""
        return self._replaced.get(secret)

    @property
    def binding(self):
        """The secret in the service key."""
        return self._current.get("binding", site.BINDING_SECRET)

    # What changes

    def rotate(self, place, *, grace):
        """Another secret; the one before is good for some seconds more."""
        self._replace(place.owner, self.current(place), self._another(place.owner, "n"), grace)
        self._write_place(place)

    def mistype(self, place):
        """The file says what the mail server knows nothing of."""
        wrong = self._another(place.owner, "x")
        self._until[wrong] = -math.inf
        self._replaced[self.current(place)] = self._world.reactor.seconds()
        self._current[place.owner] = wrong
        self._write_place(place)

    def rotate_binding(self, *, grace):
        """Another secret in the service key."""
        self._replace("binding", self.binding, self._another("all-binding", "n"), grace)
        path = self._folder / "key.json"
        self._write(path, json.dumps(site.key(self.binding)))

    def spoil(self, place):
        """The file is half written, or gone."""
        path = site.file_of(self._folder, place)
        self._write(path, "" if self._world.random.random() < 0.3 else path.read_text()[:-9])

    def mend(self, place):
        """The file is as it should be."""
        self._write_place(place)

    def put_back(self):
        """The files are as they were before this world."""
        for path, text in self._before.items():
            path.write_text(text)

    def _another(self, owner, what):
        self._generations += 1
        return secret(owner, f"{what}{self._generations}")

    def _replace(self, key, before, after, grace):
        now = self._world.reactor.seconds()
        self._until[before] = now + grace
        self._replaced[before] = now
        self._current[key] = after

    def _write_place(self, place):
        self._write(site.file_of(self._folder, place), json.dumps(site.properties(place, self.current(place))))

    def _write(self, path, text):
        self._before.setdefault(path, path.read_text())
        path.write_text(text)

"""
How the proxy comes to mail servers, and what comes of it: it does not press.

A secret that nobody knows to be good is shown by one session at a time; one that was refused for good is shown by
nobody until its pause is over, and then by one.  A mail server that was not reached is left alone as well.  So many
logins are under way at a time, and no more; and for a client that has to come through TLS first, there is none before
that.
"""

from __future__ import annotations

import math
from collections import Counter

from attrs import define, field

from tests.simulation.secrets import PREFIX
from tests.simulation.site import PLACES

_HOSTS = Counter(place.host for place in PLACES)
_ONLY_OWNER = {place.host: place.owner for place in PLACES if _HOSTS[place.host] == 1}
"""Whose mail server it is, where it is only one's."""


@define(eq=False)
class _Secret:
    """What came of it so far."""

    good: bool = False
    maybe_good: bool = False
    """It is, where the way on which that was found out is still in use."""
    refused_at: float | None = None
    shown_by: set = field(factory=set)
    """Connections on which it was shown, and that have no answer yet."""


def owner_of(secret):
    """Whose it is."""
    return secret.removeprefix(PREFIX).rsplit("-", 1)[0]


class Ledger:
    """
    Args:
        world: tells the time and the pauses.
    """

    def __init__(self, world):
        self._world = world
        self._known = {}
        self._here = {}
        self._unreached = {}
        self._new_ways_since = None
        self.refusals = 0

    def forget(self):
        """
        Other ways to the mail servers may have taken the place of the ones before, and know nothing then.

        Who came before goes on with the old ones; as long as somebody does, it cannot be told whose doing a login is.
        """
        for known in self._known.values():
            for secret, about in list(known.items()):
                known[secret] = _Secret(maybe_good=about.good or about.maybe_good)
        self._unreached.clear()
        self._new_ways_since = self._world.reactor.seconds()

    def _is_ours(self, tap, owner):
        """Whether a connection is made on one of the ways that there are now."""
        since = self._new_ways_since
        if since is None:
            return True
        old = [client for client in self._world.clients if client.place.owner == owner and client.came_at <= since]
        return tap.began > since and not any(client.tap.is_here for client in old)

    def looks_up(self, host):
        """The proxy wants to connect."""
        since = self._world.reactor.seconds() - self._unreached.get(host, -math.inf)
        if since < self._world.config.hold_off.connect_first_seconds:
            self._world.forbid(f"{host} is tried again {since:.3f} s after it was not reached")

    def not_reached(self, host):
        """It cannot."""
        if host in _ONLY_OWNER and self._new_ways_since is None:
            self._unreached[host] = self._world.reactor.seconds()

    def arrives(self, tap):
        """The proxy has a connection to a mail server, and is about to log in."""
        self._unreached.pop(tap.host, None)
        owner = _ONLY_OWNER.get(tap.host)
        if owner is None:
            return
        self._here.setdefault(owner, []).append(tap)
        self._here[owner] = [each for each in self._here[owner] if each.logging_in]
        most = self._world.config.limits.max_pending_logins
        if len(self._here[owner]) > most and self._new_ways_since is None:
            self._world.forbid(f"{len(self._here[owner])} logins for {owner} at a time, with a limit of {most}")
        if not any(self._may_have_login(client) for client in self._world.clients if client.place.owner == owner):
            self._world.forbid(f"{tap.name}: a login for {owner}, where nobody waits for one")

    def _may_have_login(self, client):
        """
        Whether a client may be the reason for a login: it is there, and behind TLS where that is required.

        Where connections are used again it may have got another one meanwhile, and be gone.
        """
        pooled = client.place.is_smtp and client.config.pool.enabled
        may = client.tap.is_secured or client.place.encryption in ("plaintext", "offered")
        return may and (pooled or client.tap.is_here)

    def shows(self, tap, secret):
        """The proxy shows a secret."""
        self._must_be_current(tap, secret)
        about = self._about(tap.host, secret)
        if tap in about.shown_by or not self._is_ours(tap, owner_of(secret)):
            return
        now, pause = self._world.reactor.seconds(), self._world.config.hold_off.login_first_seconds
        # Whoever was in the middle of his login when it was refused to another one may come to its end.
        midway = about.refused_at is not None and tap.login_at < about.refused_at
        if about.refused_at is not None and not midway and now < about.refused_at + pause:
            self._world.forbid(f"{tap.name}: {secret} is shown {now - about.refused_at:.3f} s after it was refused")
        if about.shown_by and not (about.good or about.maybe_good or midway):
            others = ", ".join(other.name for other in about.shown_by)
            self._world.forbid(f"{tap.name}: {secret} is shown while nobody knows yet what comes of it on {others}")
        about.shown_by.add(tap)

    def _must_be_current(self, tap, secret):
        """Whoever connects so long after a secret was changed has asked for it since."""
        replaced_at = self._world.vault.replaced_at(secret)
        if replaced_at is not None and tap.began > replaced_at + self._world.config.timeouts.login_seconds:
            self._world.forbid(f"{tap.name}: {secret} is shown {tap.began - replaced_at:.3f} s after it was replaced")

    def is_through(self, tap):
        """A mail server has answered, whatever it was, or the connection is over: who answers is reached."""
        self._unreached.pop(tap.host, None)

    def answered(self, tap, secret, *, good):
        """
        The mail server has let us in, or not; None where it says neither.

        What a connection shows is not judged while it may be one of a way that there was before (`_is_ours`); what it
        has found out counts all the same, unless it is certainly none of today's.
        """
        about = self._about(tap.host, secret)
        since = self._new_ways_since
        about.good = about.good or bool(good and (since is None or tap.began > since))
        if tap not in about.shown_by:
            return
        about.shown_by.discard(tap)
        if good:
            about.good, about.refused_at = True, None
        elif good is False:
            self.refusals += 1
            about.good, about.maybe_good, about.refused_at = False, False, self._world.reactor.seconds()

    def _about(self, host, secret):
        """
        Only the secret that was used last is remembered, as the proxy does it; one before it may be shown behind it all
        the same, by who has taken his time, so that one that is good counts as good.
        """
        key = host, secret.rsplit("-", 1)[0]
        known = self._known.setdefault(key, {})
        if secret not in known:
            for other in [
                each for each, about in known.items() if not (about.shown_by or about.good or about.maybe_good)
            ]:
                del known[other]
            known[secret] = _Secret()
        return known[secret]

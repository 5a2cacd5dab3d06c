"""
What kind of world a seed makes: how many clients and of which kind, how much goes wrong, how narrow the pipes are.
"""

from __future__ import annotations

from functools import partial

import attrs
from attrs import define

from tests.simulation import changes
from tests.simulation.clients import BAD_TLS, Habits
from tests.simulation.pop3_clients import LawlessPOP3Client, POP3Client
from tests.simulation.site import DESTINATIONS, PLACES
from tests.simulation.smtp_clients import LawlessSMTPClient, SMTPClient
from tests.simulation.temper import Temper


@define(eq=False)
class Plan:
    """
    Args:
        trouble: the share of what goes wrong on the proxy's way to others and there.
        mischief: the share of clients that are not well-behaved.
        ends: None, or (`silence` or `stop`, when).
        restless: something about the proxy's surroundings changes meanwhile.
        places: what is listened for, at least at first.
    """

    random: object
    trouble: float
    mischief: float
    clients: int
    seconds: float
    pipe_octets: int
    high_mark: int
    crowded: bool
    ends: tuple | None
    restless: bool
    places: tuple

    def settings(self, config):
        """What differs in the configuration, as far as it may be changed at any time."""
        return {
            "smtp": self._smtp(config.smtp),
            "pop3": attrs.evolve(config.pop3, fix_newlines=self.random.random() < 0.1),
            "limits": self._limits(config.limits),
            "timeouts": self._timeouts(config.timeouts),
        }

    def upstream_settings(self, config):
        """What differs in the way to the mail servers; a change of it makes that a new way."""
        limits = attrs.evolve(
            config.limits,
            max_pending_logins=self.random.choice((1, 2, 100)),
            max_idle_connections=self.random.choice((1, 3, 200)),
        )
        hold_off = attrs.evolve(
            config.hold_off,
            login_first_seconds=self.random.choice((1.0, 30.0, 300.0)),
            connect_first_seconds=self.random.choice((1.0, 20.0)),
        )
        return {"limits": limits, "hold_off": hold_off, "pool": self._pool(config.pool)}

    def _pool(self, pool):
        """Who keeps connections ready does so until the stop; and not everybody is served where few are allowed."""
        random = self.random
        stopped = self.ends is not None and self.ends[0] == "stop"
        return attrs.evolve(
            pool,
            enabled=random.random() < 0.85,
            max_connections=random.choice((0, 1, 2)) if self.trouble or self.mischief else 0,
            max_messages=random.choice((1, 2, 100, 100)),
            max_age_seconds=random.choice((3.0, 300.0)),
            idle_seconds=random.choice((0.5, 30.0, 60.0)),
            min_idle=random.choice((0, 1, 2)) if stopped else 0,
        )

    def _smtp(self, smtp):
        random = self.random
        return attrs.evolve(
            smtp,
            bare_newline="reject" if random.random() < 0.2 else "normalize",
            bare_newline_commands="normalize" if random.random() < 0.2 else "reject",
            strict_sync=random.random() < 0.8,
            max_message_octets=5000 if random.random() < 0.2 else 0,
            max_discarded_octets=random.choice((65536, 1 << 20)),
            max_pipelined_commands=random.choice((1, 3, 100)),
            max_recipients=random.choice((0, 0, 2)),
        )

    def _limits(self, limits):
        random = self.random
        rate = 0 if random.random() < 0.7 else 20
        if not self.crowded:
            return attrs.evolve(limits, max_sessions=1000, min_content_octets_per_second=rate)
        return attrs.evolve(
            limits,
            max_sessions=random.choice((3, 6, 1000)),
            max_sessions_per_tenant=random.choice((0, 0, 2)),
            max_sessions_per_listener=random.choice((0, 0, 1)),
            max_sessions_per_client=random.choice((0, 0, 1)),
            min_content_octets_per_second=rate,
        )

    def _timeouts(self, timeouts):
        random = self.random
        return attrs.evolve(
            timeouts,
            drain_delay_seconds=random.choice((0.0, 0.0, 3.0)),
            drain_seconds=random.choice((0.2, 5.0, 90.0, PATIENT_SECONDS)),
            drain_final_reply_seconds=random.choice((0.1, 10.0, 700.0)),
        )

    def temper_of(self, random):
        """A peer of the proxy: most are as good as the world allows, some are worse."""
        return Temper(random, self.trouble * random.choice((0, 0.2, 0.5, 1)))

    def schedule(self, world):
        """Clients come, to one place only in some worlds; things change; and the end, if there is to be one."""
        useful = [place for place in self.places if place.destination != "lax"] or self.places
        places = self.places if self.random.random() < 0.7 else (self.random.choice(useful),)
        for _ in range(self.clients):
            place = self.random.choice(places)
            make = self._client(place)
            when = self.random.uniform(0, self.seconds)
            world.reactor.later(when, partial(world.connect_downstream, make, place.owner))
        if self.restless:
            for _ in range(self.random.randint(1, 6)):
                world.reactor.later(self.random.uniform(0, self.seconds), partial(changes.happen, world))
        if self.ends is not None:
            what, when = self.ends
            world.reactor.later(when, world.fall_silent if what == "silence" else world.stop)

    def _client(self, place):
        random = self.random
        habits = Habits(pipelines=random.random() < 0.4, pause=random.choice((0.0, 0.0, 0.3)))
        habits.lingers = random.random() < 0.2
        if place.encryption == "offered" and random.random() < 0.3:
            habits.tls = "none"
        kind = SMTPClient if place.is_smtp else POP3Client
        wild, size = random.random() < 0.3, random.choice((0, 500, 500, 4000, 20000))
        if random.random() < self.mischief:
            kind = self._spoil(habits, kind, place)

        def make(world, wire, pace, place, number):
            client = kind.__new__(kind)
            client.wild, client.size = wild, size
            client.__init__(world, wire, pace, place, number, habits)
            return client

        return make

    def _spoil(self, habits, kind, place):
        random = self.random
        if place.encryption != "plaintext" and random.random() < 0.3:
            habits.tls = random.choice((*BAD_TLS, "none"))
            return kind
        how = random.choice(("vanish", "vanish", "vanish", "slow", "lazy", "trickle", "lawless"))
        if how == "vanish":
            habits.vanish_after = random.randint(0, 12)
            habits.vanishes = random.choice(("abort", "close", "half", "deaf", "mute"))
        elif how == "slow":
            habits.long_pause = random.choice((40.0, 200.0, 900.0))
        elif how == "lazy":
            habits.slow_reader = True
        elif how == "trickle":
            habits.trickles = random.choice((1, 50, 400))
        else:
            habits.lawless = True
            return LawlessSMTPClient if kind is SMTPClient else LawlessPOP3Client
        return kind


PATIENT_SECONDS = 5000.0
"""Who drains for so long leaves everybody the time to finish."""


def make(random):
    """A plan; one in four worlds is sunny, one in ten ends in silence, one in five is stopped early."""
    trouble = random.choice((0.0, 0.05, 0.15, 0.4))
    mischief = random.choice((0.0, 0.3, 0.7))
    seconds = random.choice((0.5, 20.0, 400.0))
    dice = random.random()
    when = random.uniform(0, seconds + 2)
    destinations = random.sample(DESTINATIONS, random.choice((1, 2, 3, random.randint(2, len(DESTINATIONS)))))
    return Plan(
        random=random,
        trouble=trouble,
        mischief=mischief,
        clients=random.randint(5, 20),
        seconds=seconds,
        pipe_octets=random.choice((300, 4096, 32768)),
        high_mark=random.choice((1000, 8192, 65536)),
        crowded=random.random() < 0.1,
        ends=("silence", when) if dice < 0.1 else ("stop", when) if dice < 0.3 else None,
        restless=random.random() < 0.5,
        places=tuple(place for place in PLACES if place.destination in destinations),
    )

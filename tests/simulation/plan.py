"""
What kind of world a seed makes: how many clients and of which kind, how much goes wrong, how narrow the pipes are.
"""

from __future__ import annotations

from functools import partial

import attrs
from attrs import define

from tests.simulation.clients import Habits
from tests.simulation.pop3_clients import POP3Client
from tests.simulation.site import PLACES
from tests.simulation.smtp_clients import LawlessSMTPClient, SMTPClient
from tests.simulation.temper import Temper


@define(eq=False)
class Plan:
    """
    Args:
        trouble: the share of what goes wrong on the proxy's way to others and there.
        mischief: the share of clients that are not well-behaved.
        ends: None, or (`silence` or `stop`, when).
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

    def settings(self, config):
        """What differs in the configuration."""
        random = self.random
        smtp = attrs.evolve(
            config.smtp,
            bare_newline="reject" if random.random() < 0.2 else "normalize",
            bare_newline_commands="normalize" if random.random() < 0.2 else "reject",
            strict_sync=random.random() < 0.8,
            max_message_octets=5000 if random.random() < 0.2 else 0,
            max_discarded_octets=random.choice((65536, 1 << 20)),
            max_pipelined_commands=random.choice((1, 3, 100)),
            max_recipients=random.choice((0, 0, 2)),
        )
        pop3 = attrs.evolve(config.pop3, fix_newlines=random.random() < 0.1)
        limits = attrs.evolve(config.limits, max_sessions=3 if self.crowded else 1000)
        return {"smtp": smtp, "pop3": pop3, "limits": limits}

    def temper_of(self, random):
        """A peer of the proxy: most are as good as the world allows, some are worse."""
        return Temper(random, self.trouble * random.choice((0, 0.2, 0.5, 1)))

    def schedule(self, world):
        """Clients come, and the end, if there is to be one."""
        for _ in range(self.clients):
            place = self.random.choice(PLACES)
            make = self._client(place)
            world.reactor.later(self.random.uniform(0, self.seconds), partial(world.connect_downstream, make, place))
        if self.ends is not None:
            what, when = self.ends
            world.reactor.later(when, world.fall_silent if what == "silence" else world.stop)

    def _client(self, place):
        random = self.random
        habits = Habits(pipelines=random.random() < 0.4, pause=random.choice((0.0, 0.0, 0.3)))
        habits.lingers = random.random() < 0.2
        kind = SMTPClient if place.is_smtp else POP3Client
        wild, size = random.random() < 0.3, random.choice((0, 500, 500, 4000, 20000))
        if random.random() < self.mischief:
            kind = self._spoil(habits, kind)

        def make(world, wire, pace, place, number):
            client = kind.__new__(kind)
            client.wild, client.size = wild, size
            client.__init__(world, wire, pace, place, number, habits)
            return client

        return make

    def _spoil(self, habits, kind):
        random = self.random
        how = random.choice(("vanish", "vanish", "vanish", "slow", "lazy", "lawless"))
        if how == "vanish":
            habits.vanish_after = random.randint(0, 12)
            habits.vanishes = random.choice(("abort", "close", "half", "deaf", "mute"))
        elif how == "slow":
            habits.long_pause = random.choice((40.0, 200.0, 900.0))
        elif how == "lazy":
            habits.slow_reader = True
        elif kind is SMTPClient:
            habits.lawless = True
            return LawlessSMTPClient
        return kind


def make(random):
    """A plan; one in four worlds is sunny, one in ten ends in silence, one in seven is stopped early."""
    trouble = random.choice((0.0, 0.05, 0.15, 0.4))
    mischief = random.choice((0.0, 0.3, 0.7))
    seconds = random.choice((0.5, 20.0, 400.0))
    dice = random.random()
    when = random.uniform(0, seconds + 2)
    return Plan(
        random=random,
        trouble=trouble,
        mischief=mischief,
        clients=random.randint(5, 20),
        seconds=seconds,
        pipe_octets=random.choice((300, 4096, 32768)),
        high_mark=random.choice((1000, 8192, 65536)),
        crowded=random.random() < 0.05,
        ends=("silence", when) if dice < 0.1 else ("stop", when) if dice < 0.25 else None,
    )

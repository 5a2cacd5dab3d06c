"""
Who runs the proxy: stops it, is impatient, gives it another configuration; and what may be expected then.
"""

from __future__ import annotations

from tests.simulation import site
from tests.simulation.plan import PATIENT_SECONDS

LAST_STEPS_SECONDS = 5.0
"""What comes behind the steps of a drain: aborted connections, ports, the last farewells."""


class Operator:
    """
    Args:
        world: all that there is.
    """

    def __init__(self, world):
        self._world = world
        self._is_over = False
        self._configs = [world.config]
        """All that were ever in force: a listener that went away drains as it was said then."""
        self.reloads = 0

    def _longest_drain(self):
        """In seconds, but for the last steps."""
        times = [config.timeouts for config in self._configs]
        return max(
            each.drain_seconds + each.drain_final_reply_seconds + each.close_seconds + each.drain_delay_seconds
            for each in times
        )

    def stop(self):
        """The proxy comes to its end, by a deadline."""
        world = self._world
        world.note("the proxy", "is stopped")
        world.stopped_at = world.reactor.seconds()
        timeouts = world.config.timeouts
        # Nobody new is turned away before the ports close, and nothing changes for those who are there.
        world.reactor.later(timeouts.drain_delay_seconds, self._drain)
        world.service.stopService().addCallback(self._over)
        world.reactor.later(self._longest_drain() + LAST_STEPS_SECONDS, self._must_be_over)
        if world.random.random() < 0.3:
            world.reactor.later(world.random.uniform(0, 30), self.hurry)

    def hurry(self):
        """There is no more patience."""
        world = self._world
        if not self._is_over:
            world.note("the proxy", "is told to hurry")
            world.hurried = True
            world.service.hurry()
            world.reactor.later(LAST_STEPS_SECONDS, self._must_be_over)

    def reload(self, places, settings, *, new_ways=False, fails=False):
        """
        The proxy has another configuration, or refuses it.

        `new_ways` says that connectors may be other ones then.
        """
        world = self._world
        config = site.configured(world.config, places.values(), world.destinations, **settings)
        world.note("the proxy", "has another configuration" + " that cannot be used" * fails)
        answers = []
        world.service.reload(config).addCallback(answers.append)
        if not answers:
            world.forbid("another configuration is not in use at once")
        elif bool(answers[0]) is not fails:
            world.forbid(f"another configuration, which {fails=}: {answers[0]}")
        elif not fails:
            self._reloaded(config, places, new_ways=new_ways)

    def _reloaded(self, config, places, *, new_ways):
        world = self._world
        self.reloads += 1
        ports = {place.listen for place in places.values()}
        for client in world.clients:
            if client.place.listen not in ports:
                client.expects_drain(patient=config.timeouts.drain_seconds >= PATIENT_SECONDS)
        world.config, world.places = config, places
        self._configs.append(config)
        if new_ways:
            world.ledger.forget()

    def _drain(self):
        world = self._world
        for client in world.clients:
            client.expects_drain(patient=world.config.timeouts.drain_seconds >= PATIENT_SECONDS)

    def _over(self, _):
        self._is_over = True
        self._world.note("the proxy", "has come to its end")

    def _must_be_over(self):
        if not self._is_over:
            self._world.forbid("the proxy does not come to its end in time")

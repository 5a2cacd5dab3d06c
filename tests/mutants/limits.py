"""
Guards of time and room: deadlines, buffers, places; and of the end.
"""

from __future__ import annotations

from tests.mutants.guard import Guard

DOWNSTREAM = ("downstream",)

LIMITS = (
    Guard(
        "a tenant's places are its own",
        "places.py",
        before="opened = self._sources.take(recipe.source, user)",
        after="""opened = self._sources.take(next(iter(self._sources._held), recipe.source), user)""",
        seeds=20,
    ),
    Guard(
        "every wait has a deadline",
        "downstream/waits.py",
        before="self._deadline.set(seconds, self._expired)",
        after="pass",
        tests=DOWNSTREAM,
        seeds=100,
    ),
    Guard(
        "octets do not move the deadline of a line",
        "session/wait.py",
        before="if (waiting, about) != (self.waiting, self._about):",
        after="if True:",
        tests=("session", "downstream"),
        seeds=300,
    ),
    Guard(
        "mail data has to come at a rate",
        "downstream/allowance.py",
        before="self._worth = 1 / rate if rate else seconds",
        after="self._worth = seconds",
        tests=DOWNSTREAM,
        seeds=600,
    ),
    Guard(
        "a handshake has a deadline",
        "downstream/connection.py",
        before="self._bound.set(seconds, partial(self._handshake_late, seconds))",
        after="pass",
        tests=DOWNSTREAM,
        seeds=100,
    ),
    Guard(
        "what is sent before TLS reaches no session",
        "downstream/connection.py",
        before="""
self._listening = False
self._handshaking = self._over_tls = True
""",
        after="""
self._handshaking = self._over_tls = True
""",
        tests=DOWNSTREAM,
    ),
    Guard(
        "last words have a deadline",
        "downstream/connection.py",
        before="""
self._listening = self._handshaking = False
self._bound.set(self._around.close_seconds, self.does_not_close)
""",
        after="""
self._listening = self._handshaking = False
""",
        tests=DOWNSTREAM,
        seeds=100,
    ),
    Guard(
        "who is slow is given the rest behind the end",
        "downstream/protocol.py",
        before="self.deliver(self._around.stall_seconds, self._downstream_stalled)",
        after="self.give_up()",
        tests=DOWNSTREAM,
    ),
    Guard(
        "the rest behind the end has a deadline",
        "downstream/connection.py",
        before="self._bound.set(seconds, not_taken)",
        after="pass",
        tests=DOWNSTREAM,
    ),
    Guard(
        "who goes on talking behind the end is cut off",
        "downstream/connection.py",
        before="if self._drained > MAX_DRAINED_OCTETS:",
        after="if False:",
        tests=DOWNSTREAM,
    ),
    Guard(
        "a slow mail server slows its client down",
        "downstream/protocol.py",
        before="self._to_upstream.govern(client)",
        after="self._to_upstream.govern([])",
        tests=DOWNSTREAM,
        seeds=100,
    ),
    Guard(
        "a slow client slows its mail server down",
        "downstream/protocol.py",
        before="self._to_downstream.govern([*client, *server])",
        after="self._to_downstream.govern(client)",
        tests=DOWNSTREAM,
        seeds=400,
    ),
    Guard(
        "a full buffer that does not empty is a lost connection",
        "relay.py",
        before="self._deadline.set(self.stall_seconds, self._stalled)",
        after="pass",
        tests=("test_relay.py", "downstream"),
        seeds=300,
    ),
    Guard(
        "a session that reads no more is not read for",
        "downstream/protocol.py",
        before="self._intake.want(_SESSION, wanted=self._handshaking or self._session.reading)",
        after="self._intake.want(_SESSION, wanted=True)",
        tests=DOWNSTREAM,
    ),
    Guard(
        "a place that is left can be had by others",
        "downstream/rooms.py",
        before="self.taken[room] -= 1",
        after="pass",
        tests=DOWNSTREAM,
        seeds=20,
    ),
    Guard(
        "a place is given back once",
        "downstream/rooms.py",
        before="taken, self._taken = self._taken, ()",
        after="taken = self._taken",
        tests=DOWNSTREAM,
    ),
    Guard(
        "sessions have limits",
        "downstream/rooms.py",
        before="return bool(most) and self._rooms.taken[room] >= most",
        after="return False",
        tests=DOWNSTREAM,
        seeds=100,
    ),
    Guard(
        "a tenant has half of the places at most",
        "downstream/rooms.py",
        before="Limit.TENANT: per_tenant or half,",
        after="Limit.TENANT: per_tenant,",
        tests=DOWNSTREAM,
        seeds=300,
    ),
    Guard(
        "what repeats itself is told once",
        "observe/folding.py",
        before="self._counts[kind] = count + 1",
        after="return True",
        tests=("observe/test_folding.py", "observe/test_logs.py"),
    ),
    Guard(
        "an error of ours ends both legs",
        "downstream/protocol.py",
        before="""
self._waits.stop()
self._abort_upstream()
self._log.ended(outcome, spoken=self._session.has_spoken)
""",
        after="""
self._waits.stop()
self._log.ended(outcome, spoken=self._session.has_spoken)
""",
        tests=DOWNSTREAM,
    ),
    Guard(
        "a drain has a deadline",
        "drain.py",
        before="await self._pause.wait(seconds, gone)",
        after="await self._pause.wait(1e6, gone)",
        tests=("test_drain.py",),
        seeds=300,
    ),
    Guard(
        "a drain ends nobody at once",
        "drain.py",
        before="gone = self._each(_drain)",
        after="gone = self._each(_stop)",
        tests=("test_drain.py",),
        seeds=300,
    ),
    Guard(
        "a configuration that cannot be used changes nothing",
        "service.py",
        before="""
problems = self._problems(config) or problems_of_change(self.config, config)
if problems:
    return problems
""",
        after="",
        tests=("test_reload.py",),
    ),
    Guard(
        "a listener that stays keeps its sessions",
        "reload.py",
        before="gone=[listener for place, listener in here.items() if place not in wanted],",
        after="gone=list(here.values()),",
        seeds=300,
    ),
)

"""
Guards of connections that are used again: whose they are, in what state they come back, and how many there are.
"""

from __future__ import annotations

from tests.mutants.guard import Guard

POOL_TESTS = ("upstream/test_pool.py", "upstream/test_claims.py", "upstream/test_resting.py")
SESSION = ("session/test_smtp_pool.py",)

POOL = (
    Guard(
        "a pooled connection is compared in full with what would be used now",
        "upstream/claims.py",
        before="return self.channel == stream.channel and not (self._fresh and stream.reused)",
        after="return not (self._fresh and stream.reused)",
        tests=POOL_TESTS,
    ),
    Guard(
        "a pooled connection that was made with anything else is closed",
        "upstream/pool.py",
        before="if resting.stream.channel != channel:",
        after="if False:",
        tests=POOL_TESTS,
    ),
    Guard(
        "each tenant has a pool of its own",
        "assembly.py",
        before="self._upstreams = Shared(self._make_upstreams)",
        after="""self._upstreams = Shared(self._make_upstreams)
        self._one = None
        take = self._upstreams.take

        def first(recipe, end):
            self._one = self._one or take(recipe, end)
            return self._one

        self._upstreams.take = first""",
        tests=("test_pools_of_tenants.py",),
        seeds=200,
    ),
    Guard(
        "a pooled connection is reset behind a transaction",
        "upstream/pool.py",
        before="elif reset:",
        after="elif False:",
        tests=POOL_TESTS,
        seeds=1000,
    ),
    Guard(
        "a pooled connection waits for the 250 to RSET and nothing else",
        "upstream/resting.py",
        before="self._end(good=reply.code == 250 and not self._parser.pending)",
        after="self._end(good=True)",
        tests=POOL_TESTS,
    ),
    Guard(
        "a pooled connection does not wait for ever for the reply to RSET",
        "upstream/resting.py",
        before="self._deadline.set(RSET_SECONDS, partial(self._end, good=False))",
        after="",
        tests=POOL_TESTS,
    ),
    Guard(
        "a pooled connection ends with whatever is said while it rests",
        "upstream/resting.py",
        before="""
self.stream.abort()
self._spoiled(self)
""",
        after="",
        tests=POOL_TESTS,
        seeds=1500,
    ),
    Guard(
        "a pooled connection that is not sound never comes back",
        "upstream/pool.py",
        before="if unwanted or not sound or self._worn(stream):",
        after="if unwanted or self._worn(stream):",
        tests=POOL_TESTS,
    ),
    Guard(
        "what comes while a pooled connection is about to be left speaks against it",
        "session/smtp.py",
        before="self._server.receive_late()",
        after="pass",
        tests=("session",),
    ),
    Guard(
        "a session says when its pooled connection is not sound",
        "session/smtp_upstream.py",
        before="sound=orderly and not (self._parser.pending or self._mended),",
        after="sound=True,",
        tests=SESSION,
    ),
    Guard(
        "a pooled connection has an age",
        "upstream/pool.py",
        before="if self._clock.seconds() - stream.born >= self._settings.age_seconds:",
        after="if False:",
        tests=POOL_TESTS,
    ),
    Guard(
        "a pooled connection carries so many messages",
        "upstream/pool.py",
        before="return stream.messages >= most or stream.refusals >= MOST_REFUSALS",
        after="return stream.refusals >= MOST_REFUSALS",
        tests=POOL_TESTS,
    ),
    Guard(
        "what the mail server often said no on goes to nobody",
        "upstream/pool.py",
        before="return stream.messages >= most or stream.refusals >= MOST_REFUSALS",
        after="return stream.messages >= most",
        tests=POOL_TESTS,
    ),
    Guard(
        "it is known how often the mail server said no",
        "session/smtp_upstream.py",
        before="self._refusals += reply.negative",
        after="pass",
        tests=SESSION,
    ),
    Guard(
        "a pooled connection carries no more messages than the mail server allows",
        "upstream/pool.py",
        before="most = min(own or self._settings.messages, self._settings.messages)",
        after="most = self._settings.messages",
        tests=POOL_TESTS,
    ),
    Guard(
        "a session begins no more messages on a connection than the mail server allows",
        "session/smtp_upstream.py",
        before="return 0 < self._most_messages <= self._earlier + self._messages",
        after="return False",
        tests=SESSION,
    ),
    Guard(
        "what others began on a connection counts towards what the mail server allows",
        "session/smtp_upstream.py",
        before="return 0 < self._most_messages <= self._earlier + self._messages",
        after="return 0 < self._most_messages <= self._messages",
        tests=SESSION,
    ),
    Guard(
        "a pooled connection rests for so long",
        "upstream/pool.py",
        before="""
if not self._in_time(resting):
    self._dismiss(resting)
""",
        after="""
pass
""",
        tests=POOL_TESTS,
    ),
    Guard(
        "a pooled connection that is over its time goes to nobody",
        "upstream/pool.py",
        before="claim = self._claims.first(resting.stream) if self._in_time(resting) else None",
        after="claim = self._claims.first(resting.stream)",
        tests=POOL_TESTS,
    ),
    Guard(
        "behind a stale pooled connection comes a fresh one",
        "session/smtp_upstream.py",
        before="self._fresh = True",
        after="self._fresh = False",
        tests=SESSION,
    ),
    Guard(
        "only before any reply a group goes to another connection than the pooled one",
        "session/smtp_upstream.py",
        before="if self._stale and not (self._parser.pending or isinstance(error, UpstreamTimeout | Violation)):",
        after="if self._stale:",
        tests=SESSION,
    ),
    Guard(
        "only a pooled connection is tried again",
        "session/smtp_upstream.py",
        before="return self._reused and bool(self._replies.awaited) and",
        after="return bool(self._replies.awaited) and",
        tests=SESSION,
    ),
    Guard(
        "who was answered from the pool's list is held against the connection's own at MAIL",
        "session/smtp_commands.py",
        before="""
if not needed(parameters) <= set(self._server.offered.keywords):
    self._refuse_mail(_NOT_NOW)
""",
        after="""
if False:
    pass
""",
        tests=SESSION,
    ),
    Guard(
        "who was answered from the pool's list is held against the connection's own at RCPT",
        "session/smtp_commands.py",
        before="elif not needed(parameters) <= set(self._server.offered.keywords):",
        after="elif False:",
        tests=SESSION,
    ),
    Guard(
        "a pool has so many connections and no more",
        "upstream/pool.py",
        before="while self._short() and self._room():",
        after="while self._short():",
        tests=POOL_TESTS,
    ),
    Guard(
        "who waits for a pooled connection does not wait for ever",
        "upstream/pool.py",
        before="claim.bound(self._late)",
        after="pass",
        tests=POOL_TESTS,
    ),
    Guard(
        "all pools together have a bound",
        "upstream/resting.py",
        before="while len(self._resting) > self._places:",
        after="while False:",
        tests=POOL_TESTS,
    ),
    Guard(
        "connections that a pool keeps ready are not made in a loop",
        "upstream/pool.py",
        before="""
self._put_off()
self._dismiss(resting)
""",
        after="""
self._dismiss(resting)
""",
        tests=POOL_TESTS,
    ),
)

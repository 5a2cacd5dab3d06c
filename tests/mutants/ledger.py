"""
Guards of the audit ledger: what is on record, before what, and whether a change of it would be noticed.
"""

from __future__ import annotations

from tests.mutants.guard import Guard

LEDGER = (
    Guard(
        "a client hears of its message when that is on disk",
        "downstream/protocol.py",
        before="self._pump.held = True",
        after="self._pump.held = False",
        tests=("downstream/test_account.py",),
        seeds=40,
    ),
    Guard(
        "a record waits for others a bounded time",
        "ledger/clerk.py",
        before=" or now - self._asked >= GROUP_SECONDS:",
        after=":",
        tests=("ledger/test_clerk.py",),
    ),
    Guard(
        "what is hashed has no stuffed dots",
        "session/smtp_notes.py",
        before="octets = self._unstuffer.feed(raw)",
        after="octets = raw",
        tests=("session/test_smtp_notes.py",),
        seeds=40,
    ),
    Guard(
        "what has to be asked again is noted anew",
        "session/smtp_notes.py",
        before="""
self._state = State.BEGUN
self._forget(path)
""",
        after="""
self._state = State.BEGUN
""",
        tests=("session/test_smtp_notes.py",),
    ),
    Guard(
        "what was under way at the end of a session is told",
        "session/smtp.py",
        before="self._server.notes.break_off()",
        after="pass",
        tests=("session/test_smtp_notes.py", "downstream/test_account.py"),
        seeds=40,
    ),
    Guard(
        "a record holds on to the one before it",
        "ledger/chain.py",
        before="return self.link.seq == link.seq + 1 and self.prev == link.hash",
        after="return self.link.seq == link.seq + 1",
        tests=("ledger/test_verify.py",),
    ),
    Guard(
        "a tail that was cut off is known by the head",
        "ledger/verify.py",
        before="if self.problem is None and self._head is not None and self._head.seq > self.last.seq:",
        after="if False:",
        tests=("ledger/test_verify.py",),
    ),
    Guard(
        "one process writes a ledger",
        "ledger/writer.py",
        before="fcntl.flock(self._head, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        after="pass",
        tests=("ledger/test_writer.py",),
    ),
    Guard(
        "what a crash has left is told of",
        "ledger/writer.py",
        before="self._recover(tail)",
        after="pass",
        tests=("ledger/test_writer.py",),
    ),
    Guard(
        "records that wait in memory have a limit",
        "ledger/clerk.py",
        before="if full or self.lost:",
        after="if self.lost:",
        tests=("ledger/test_clerk.py",),
    ),
    Guard(
        "nothing begins that cannot be recorded",
        "session/smtp_commands.py",
        before="if not self._server.notes.open:",
        after="if False:",
        tests=("session/test_smtp_notes.py",),
    ),
    Guard(
        "addresses are hidden where there is a key",
        "downstream/account.py",
        before="return self._book.key.hide(readable(address_of(path)))",
        after="return readable(address_of(path))",
        tests=("downstream/test_account.py",),
        seeds=40,
    ),
)

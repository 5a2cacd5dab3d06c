"""
The judge sees what it should: each wrong that a proxy could do is told, and what is allowed is not.
"""

from __future__ import annotations

import pytest
from attrs import define, evolve, field

from tests.chaos.judge import Evidence, judge
from tests.chaos.letters import Found
from tests.chaos.logs import Log, Story
from tests.chaos.plan import KEPT, TAKEN
from tests.chaos.records import Attempt, Collected, Collection, End, Record

PEER = "127.1.0.1"
LOGINS = {"acme": "acme-robot", "globex": "globex-robot"}
GOOD = Attempt("m1-1.1", "acme", (KEPT,), "digest", PEER, "final reply", True, End.ACKNOWLEDGED, b"250 queued as Q1")
THERE = Found("m1-1.1", "Q1", "acme-robot", "digest")
GOT = Collected("uid1", "m1-1.1", "Q1", "digest", deleted=True)


@define
class Case:
    """What is going to be evidence."""

    attempts: list[Attempt] = field(factory=lambda: [GOOD])
    kept: list[Found | None] = field(factory=lambda: [THERE])
    taken: list[Found | None] = field(factory=list)
    others: list[Found | None] = field(factory=list)
    collections: list[Collection] = field(factory=list)
    story: Story = field(factory=lambda: Story(["quit"], acknowledged=1))
    killed: bool = False

    def violations(self) -> list[str]:
        record = Record(self.attempts, self.collections)
        mailboxes = {("acme", KEPT): self.kept, ("acme", TAKEN): self.taken, ("globex", KEPT): self.others}
        return judge(Evidence(record, Log({PEER: self.story}, []), mailboxes, LOGINS, self.killed)).violations


def _failed(end, *, dot=True, reply=b""):
    return evolve(GOOD, end=end, dot=dot, reply=reply)


def test_one_message_acknowledged_and_there_is_fine():
    assert Case().violations() == []


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (Case(kept=[]), "was acknowledged, and is not in acme/kept"),
        (Case(kept=[THERE, evolve(THERE, queue_id="Q2")]), "reached acme/kept 2 times"),
        (Case(kept=[evolve(THERE, queue_id="Q2")]), "was acknowledged as Q1, and arrived as"),
        (Case(kept=[evolve(THERE, digest="other")]), "was changed on its way"),
        (Case(kept=[evolve(THERE, login="globex-robot")]), "was sent as 'globex-robot'"),
        (Case(others=[THERE]), "is in a mailbox of globex"),
        (Case(taken=[THERE]), "which no accepted recipient named"),
        (Case(kept=[THERE, None]), "a message that nobody sent"),
        (Case(kept=[THERE, evolve(THERE, marker="m9-9.1")]), "a message that nobody sent"),
        (Case(story=Story(["quit"])), "got 1 times 250, the log does not know it"),
        (Case(story=Story(["quit", "shutdown"], acknowledged=1)), "has ended 2 times"),
        (Case(story=Story([], acknowledged=1)), "has never ended"),
        (Case(attempts=[_failed(End.LATE)], kept=[]), "ended with no answer in time"),
        (Case(attempts=[_failed(End.UNDER_WAY)], kept=[]), "ended with under way"),
        (Case(attempts=[_failed(End.REFUSED, reply=b"451 no")]), "refused at final reply"),
        (Case(attempts=[_failed(End.LOST, dot=False)]), "connection lost at final reply"),
        (Case(attempts=[_failed(End.LOST)]), "which neither its client nor the log says"),
        (Case(attempts=[_failed(End.WITHDRAWN)], story=Story(["quit"])), "which neither its client nor the log says"),
        (Case(attempts=[_failed(End.UNKNOWN)], kept=[]), "that a delivery is unknown, the log was not"),
    ],
    ids=lambda value: value.replace(" ", "-")[:40] if isinstance(value, str) else "",
)
def test_a_wrong_is_told(case, words):
    assert any(words in violation for violation in case.violations())


@pytest.mark.parametrize(
    "case",
    [
        Case(kept=[THERE, THERE]),
        Case(attempts=[_failed(End.UNKNOWN)], story=Story(["quit"], unknown=1)),
        Case(attempts=[_failed(End.UNKNOWN)], kept=[], story=Story(["quit"], unknown=1)),
        Case(attempts=[_failed(End.LOST)], story=Story(["shutdown"], unknown=1)),
        Case(attempts=[_failed(End.LOST)], story=Story([]), killed=True),
        Case(attempts=[_failed(End.LOST)], kept=[], story=Story(["downstream_lost"])),
        Case(attempts=[_failed(End.WITHDRAWN)], story=Story(["downstream_closed"], acknowledged=1)),
        Case(attempts=[_failed(End.REFUSED, reply=b"451 no")], kept=[], story=Story(["quit"])),
    ],
    ids=[
        "Postfix-doubled-it",
        "unknown-and-there",
        "unknown-and-not-there",
        "lost-and-in-the-log",
        "lost-when-killed",
        "lost-and-not-there",
        "gone-before-the-reply",
        "refused-and-not-there",
    ],
)
def test_what_is_allowed_is_not_told(case):
    assert case.violations() == []


class TestCollected:
    ATTEMPT = evolve(GOOD, boxes=(TAKEN,))

    def _violations(self, *collections, taken=()):
        return Case([self.ATTEMPT], kept=[], taken=list(taken), collections=list(collections)).violations()

    def test_removed_by_quit_counts_as_there(self):
        assert self._violations(Collection("acme", PEER, 0, [GOT], quit_said=True, confirmed=True)) == []

    def test_quit_without_a_reply_leaves_it_open(self):
        collection = Collection("acme", PEER, 0, [GOT], quit_said=True)
        assert self._violations(collection) == []
        assert self._violations(collection, taken=[THERE]) == []

    def test_without_quit_it_has_to_be_there(self):
        collection = Collection("acme", PEER, 0, [GOT])
        assert self._violations(collection, taken=[THERE]) == []
        assert any("collected without QUIT, and is gone" in each for each in self._violations(collection))

    def test_what_was_removed_does_not_come_back(self):
        first = Collection("acme", PEER, 0, [GOT], quit_said=True, confirmed=True)
        assert any("came back" in each for each in self._violations(first, Collection("acme", PEER, 1, [GOT])))

    def test_a_change_on_the_way_is_told(self):
        spoilt = Collection("acme", PEER, 0, [evolve(GOT, digest="other")], quit_said=True, confirmed=True)
        assert any("to the POP3 client" in each for each in self._violations(spoilt))

    def test_mail_of_another_tenant_is_told(self):
        assert any("which is not its own" in each for each in self._violations(Collection("globex", PEER, 0, [GOT])))

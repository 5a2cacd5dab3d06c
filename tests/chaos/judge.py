"""
The judge: what clients know, what mailboxes hold, and what the log says have to fit together.

Each attempt to send has a marker of its own, and each acceptance by Postfix a queue id, which stands in the message.
Postfix itself may deliver a message twice when it is killed in between; such copies have the same queue id and are
none of the proxy's doing.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from attrs import define, field, frozen

from tests.chaos.letters import Found
from tests.chaos.logs import Log
from tests.chaos.plan import TAKEN
from tests.chaos.records import Attempt, Collected, Collection, End, Record

Box = tuple[str, str]
"""Tenant and mailbox."""

_UNHEARD = {End.LOST, End.WITHDRAWN, End.LATE}


@frozen
class Evidence:
    """
    All there is: what was recorded, the log, and what the mailboxes hold in the end (None is a message of nobody).

    `killed` says whether the proxy was ever killed; `logins` are the users as which the tenants log in.
    """

    record: Record
    log: Log
    mailboxes: Mapping[Box, list[Found | None]]
    logins: Mapping[str, str]
    killed: bool


@define
class Verdict:
    """What must not have happened, and figures."""

    violations: list[str] = field(factory=list)
    figures: Counter[str] = field(factory=Counter)


def judge(evidence: Evidence) -> Verdict:
    """Everything is compared with everything."""
    verdict = Verdict(list(evidence.record.incidents))
    verdict.violations += evidence.log.blunders
    verdict.figures += evidence.record.figures
    _Court(evidence, verdict).sit()
    return verdict


class _Court:
    def __init__(self, evidence: Evidence, verdict: Verdict) -> None:
        self._evidence = evidence
        self._verdict = verdict
        self._attempts = {attempt.marker: attempt for attempt in evidence.record.attempts}
        self._copies: dict[tuple[str, str], list[Found]] = defaultdict(list)
        """What arrived, by marker and mailbox, whether it is still there or was collected."""

    def sit(self) -> None:
        """All violations and figures are in the verdict."""
        self._look_into_mailboxes()
        self._look_at_collections()
        for attempt in self._attempts.values():
            self._judge(attempt)
        self._count_unknown_replies()
        self._look_at_sessions()
        self._count_letters()

    # What arrived

    def _look_into_mailboxes(self) -> None:
        for (tenant, box), messages in self._evidence.mailboxes.items():
            for found in messages:
                self._arrived(tenant, box, found)

    def _arrived(self, tenant: str, box: str, found: Found | None) -> None:
        """One copy is counted, if it is whole and where it belongs."""
        attempt = self._attempts.get(found.marker) if found else None
        if found is None or attempt is None:
            self._wrong(f"{tenant}/{box} has a message that nobody sent: {found}")
            return
        if attempt.tenant != tenant:
            self._wrong(f"{found.marker} of {attempt.tenant} is in a mailbox of {tenant}")
        elif box not in attempt.boxes:
            self._wrong(f"{found.marker} is in {tenant}/{box}, which no accepted recipient named")
        if found.digest != attempt.digest:
            self._wrong(f"{found.marker} was changed on its way to {tenant}/{box}")
        if found.login != self._evidence.logins[attempt.tenant]:
            self._wrong(f"{found.marker} of {attempt.tenant} was sent as {found.login!r}")
        self._copies[found.marker, box].append(found)

    def _look_at_collections(self) -> None:
        """What a POP3 client removed counts as having arrived; what it did not confirm has to be there still."""
        removed = _removed(self._evidence.record.collections)
        for tenant, by_id in removed.items():
            present = {
                (found.marker, found.queue_id) for found in self._evidence.mailboxes.get((tenant, TAKEN), []) if found
            }
            for each in by_id.values():
                if (each.marker, each.queue_id) not in present:
                    self._arrived(tenant, TAKEN, _as_found(each, self._evidence.logins.get(tenant, "")))
        for collection in self._evidence.record.collections:
            self._look_at(collection, removed)
        self._look_for_returned()

    def _look_at(self, collection: Collection, removed: Mapping[str, Mapping[str, Collected]]) -> None:
        self._verdict.figures[f"POP3 sessions: {collection.end}"] += 1
        for each in collection.got:
            self._verdict.figures["messages collected"] += 1
            attempt = self._attempts.get(each.marker)
            if attempt is None or attempt.tenant != collection.tenant:
                self._wrong(f"{collection.tenant} collected {each.marker}, which is not its own")
            elif attempt.digest != each.digest:
                self._wrong(f"{each.marker} was changed on its way to the POP3 client")
            if not self._copies[each.marker, TAKEN] and each.unique_id not in removed.get(collection.tenant, {}):
                self._wrong(f"{each.marker} was collected without QUIT, and is gone")

    def _look_for_returned(self) -> None:
        """What was removed for good does not come back."""
        for tenant in {collection.tenant for collection in self._evidence.record.collections}:
            gone: set[str] = set()
            for collection in self._evidence.record.collections:
                if collection.tenant != tenant:
                    continue
                for each in collection.got:
                    if each.unique_id in gone:
                        self._wrong(f"{each.marker} was removed by QUIT, and came back")
                if collection.confirmed:
                    gone |= {each.unique_id for each in collection.got if each.deleted}

    # What clients know

    def _judge(self, attempt: Attempt) -> None:
        self._verdict.figures["attempts"] += 1
        self._verdict.figures[f"attempts: {attempt.end.value}"] += 1
        arrived = {box: {found.queue_id for found in self._copies[attempt.marker, box]} for box in attempt.boxes}
        for box, ids in arrived.items():
            self._verdict.figures["delivered twice by a killed Postfix"] += len(
                self._copies[attempt.marker, box]
            ) - len(ids)
            if len(ids) > 1:
                self._wrong(f"{attempt.marker} reached {attempt.tenant}/{box} {len(ids)} times")
        match attempt.end:
            case End.ACKNOWLEDGED:
                self._judge_acknowledged(attempt, arrived)
            case End.UNKNOWN:
                self._verdict.figures["unknown: client told, message there"] += any(arrived.values())
            case End.UNDER_WAY | End.LATE:
                self._wrong(f"{attempt.marker} ended with {attempt.end.value}, waiting for {attempt.stage}")
            case _:
                self._judge_failed(attempt, arrived)

    def _judge_acknowledged(self, attempt: Attempt, arrived: Mapping[str, set[str]]) -> None:
        for box, ids in arrived.items():
            if not ids:
                self._wrong(f"{attempt.marker} was acknowledged, and is not in {attempt.tenant}/{box}")
        queued = re.search(rb"queued as (\w+)", attempt.reply)
        if queued and not all(ids <= {queued[1].decode()} for ids in arrived.values()):
            self._wrong(f"{attempt.marker} was acknowledged as {queued[1].decode()}, and arrived as {arrived}")

    def _judge_failed(self, attempt: Attempt, arrived: Mapping[str, set[str]]) -> None:
        self._verdict.figures[_kind(attempt)] += 1
        if not any(arrived.values()):
            return
        if attempt.end not in _UNHEARD or not attempt.dot:
            self._wrong(f"{attempt.marker} {attempt.end.value} at {attempt.stage} ({attempt.reply!r}), and arrived")
            return
        story = self._evidence.log.of(attempt.peer)
        if self._was_killed(attempt.peer):
            self._verdict.figures["unknown: in flight when the proxy was killed, message there"] += 1
        elif story.unknown:
            self._verdict.figures["unknown: in the log, message there"] += 1
        elif attempt.end is End.WITHDRAWN and story.acknowledged:
            self._verdict.figures["accepted for a client that had gone"] += 1
        else:
            self._wrong(f"{attempt.marker} arrived, which neither its client nor the log says")

    def _was_killed(self, peer: str) -> bool:
        """Whether the client's session was open when the proxy was killed: the log does not say how it ended."""
        return self._evidence.killed and not self._evidence.log.of(peer).outcomes

    def _count_unknown_replies(self) -> None:
        """Whoever was told "unknown" is in the log."""
        told = Counter(attempt.peer for attempt in self._attempts.values() if attempt.end is End.UNKNOWN)
        for peer, count in told.items():
            if self._evidence.log.of(peer).unknown < count and not self._was_killed(peer):
                self._wrong(f"the client at {peer} was told {count} times that a delivery is unknown, the log was not")
        for peer, count in Counter(
            attempt.peer for attempt in self._attempts.values() if attempt.end is End.ACKNOWLEDGED
        ).items():
            if self._evidence.log.of(peer).acknowledged < count and not self._was_killed(peer):
                self._wrong(f"the client at {peer} got {count} times 250, the log does not know it")

    def _look_at_sessions(self) -> None:
        for peer, story in self._evidence.log.stories.items():
            if len(story.outcomes) > 1:
                self._wrong(f"the session of {peer} has ended {len(story.outcomes)} times: {story.outcomes}")
            if not story.outcomes and not self._evidence.killed:
                self._wrong(f"the session of {peer} has never ended")
        self._verdict.figures["log: deliveries unknown"] = sum(s.unknown for s in self._evidence.log.stories.values())
        self._verdict.figures["sessions"] = sum(self._evidence.log.outcomes.values())

    def _count_letters(self) -> None:
        """How many messages there were in the end, and how many of them twice, as RFC 1047 foresees."""
        there = Counter[str]()
        done = {attempt.letter for attempt in self._attempts.values() if attempt.end is End.ACKNOWLEDGED}
        for attempt in self._attempts.values():
            there[attempt.letter] += any(self._copies[attempt.marker, box] for box in attempt.boxes)
        self._verdict.figures["messages acknowledged"] = len(done)
        self._verdict.figures["messages there twice (RFC 1047)"] = sum(count > 1 for count in there.values())

    def _wrong(self, words: str) -> None:
        self._verdict.violations.append(words)


def _removed(collections: Iterable[Collection]) -> dict[str, dict[str, Collected]]:
    """By tenant and unique-id, what may have been removed: DELE was accepted, and QUIT said."""
    removed: dict[str, dict[str, Collected]] = defaultdict(dict)
    for collection in collections:
        if collection.quit_said:
            removed[collection.tenant] |= {each.unique_id: each for each in collection.got if each.deleted}
    return removed


def _as_found(each: Collected, login: str) -> Found:
    return Found(each.marker, each.queue_id, login, each.digest)


def _kind(attempt: Attempt) -> str:
    """The kind of a failure, for counting."""
    if attempt.end is not End.REFUSED:
        words = attempt.reply.decode() if attempt.end is End.WITHDRAWN else attempt.stage
        return f"failed: {attempt.end.value}: {words}"
    code = re.match(rb"\d{3}[ -](?:\d\.\d+\.\d+ ?)?(.*)", attempt.reply)
    words = attempt.reply.decode(errors="replace").split("\r\n")[0]
    return f"failed: {attempt.stage}: {re.sub(r'<[^>]*>|[0-9A-F]{8,}', '', words)[:70] if code else words[:20]}"

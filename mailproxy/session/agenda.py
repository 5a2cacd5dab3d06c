"""
What a session has decided and its owner has not carried out yet.
"""

from __future__ import annotations

from attrs import evolve

from mailproxy.session.actions import Action, ReleaseUpstream, Report, SendUpstream, Transacted

JOINED_OCTETS = 16_384
"""Octets for the mail server that are decided one behind the other leave in one piece up to this size: a TLS record."""


class Agenda:
    """Actions in the order in which they were decided."""

    __slots__ = ("_actions",)

    def __init__(self) -> None:
        self._actions: list[Action] = []

    def __len__(self) -> int:
        return len(self._actions)

    def add(self, action: Action) -> None:
        """One more thing to do."""
        self._actions.append(action)

    def send_upstream(self, raw: bytes) -> None:
        """Octets go to the mail server, behind those before them: a group of commands, a short message and its end."""
        actions = self._actions
        last = actions[-1] if actions else None
        if type(last) is SendUpstream and len(last.raw) + len(raw) <= JOINED_OCTETS:
            actions[-1] = SendUpstream(last.raw + raw)
        else:
            actions.append(SendUpstream(raw))

    def spoil_release(self) -> None:
        """The connection that is about to be left is not sound."""
        for place, action in enumerate(self._actions):
            if isinstance(action, ReleaseUpstream):
                self._actions[place] = evolve(action, sound=False)

    def report(self, event: str, **fields: object) -> None:
        """Something that an operator may count or read."""
        self._actions.append(Report(event, fields))

    def take_records(self) -> list[Transacted]:
        """What the ledger has to hear of, where nothing else will be done any more."""
        records = [action for action in self._actions if isinstance(action, Transacted)]
        self._actions = [action for action in self._actions if not isinstance(action, Transacted)]
        return records

    def take_reports(self) -> list[Report]:
        """What an operator has to hear of, in the same case."""
        reports = [action for action in self._actions if isinstance(action, Report)]
        self._actions = [action for action in self._actions if not isinstance(action, Report)]
        return reports

    def take(self) -> Action | None:
        """The next thing to do, or None."""
        return self._actions.pop(0) if self._actions else None

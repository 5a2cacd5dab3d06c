"""
What a session has decided and its owner has not carried out yet.
"""

from __future__ import annotations

from collections import deque

from mailproxy.session.actions import Action, Report


class Agenda:
    """Actions in the order in which they were decided."""

    def __init__(self) -> None:
        self._actions: deque[Action] = deque()

    def __len__(self) -> int:
        return len(self._actions)

    def add(self, action: Action) -> None:
        """One more thing to do."""
        self._actions.append(action)

    def report(self, event: str, **fields: object) -> None:
        """Something that an operator may count or read."""
        self._actions.append(Report(event, fields))

    def take(self) -> Action | None:
        """The next thing to do, or None."""
        return self._actions.popleft() if self._actions else None

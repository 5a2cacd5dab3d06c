"""
What the proxy's log says of each client's session.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from attrs import define, field, frozen

from tests.support.leaks import leaked

_LINE = re.compile(r"^\S+ \[[^]]*\] \S+: session [0-9a-f]+ from ([0-9.]+):\d+: (.*)$", re.MULTILINE)
_BLUNDERS = ("Traceback (most recent call last)", "Unhandled", "internal error", "internal_error")


@define
class Story:
    """What the log tells about one client."""

    outcomes: list[str] = field(factory=list)
    acknowledged: int = 0
    unknown: int = 0


@frozen
class Log:
    """All that the proxy has said, by the address of the client; `blunders` should not be there."""

    stories: dict[str, Story]
    blunders: list[str]

    def of(self, peer: str) -> Story:
        """What is told about this client; nothing, if the log never names it."""
        return self.stories.get(peer, Story())

    @property
    def outcomes(self) -> Counter[str]:
        """How often each was an outcome."""
        return Counter(outcome for story in self.stories.values() for outcome in story.outcomes)


def read(texts: Iterable[tuple[str, str]], secrets: Iterable[str]) -> Log:
    """The logs, given as name and text, taken together."""
    stories: dict[str, Story] = defaultdict(Story)
    blunders = []
    secrets = tuple(secrets)
    for name, text in texts:
        for peer, words in _LINE.findall(text):
            _note(stories[peer], words)
        blunders += [f"{name} has {words!r} in it" for words in _BLUNDERS if words in text]
        blunders += [f"{name} has the secret {form!r} in it" for form in leaked(text, secrets)]
    return Log(dict(stories), blunders)


def _note(story: Story, words: str) -> None:
    if words.startswith("ended: "):
        story.outcomes.append(words.removeprefix("ended: "))
    elif words.startswith("delivery unknown: "):
        story.unknown += 1
    elif re.match(r"message: code 250\b", words):
        story.acknowledged += 1

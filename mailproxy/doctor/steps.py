"""
The steps of a check, and what became of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import Factory, define, field, frozen

STEPS = {
    "service_token": "asking for a token for the destination service",
    "destination": "looking up the destination",
    "route": "finding the route",
    "token": "asking for an access token",
    "name": "looking up the host name",
    "connect": "connecting",
    "socks": "going through the SOCKS proxy",
    "greeting": "waiting for the greeting",
    "starttls": "switching to TLS",
    "tls": "doing the TLS handshake",
    "capabilities": "asking what the mail server offers",
    "login": "logging in",
    "probe": "asking for a sign of life",
    "mail": "sending the test mail",
}
"""Every step and what we are doing in it, in the order in which they are shown."""

OK, FAILED, SKIPPED = "ok", "failed", "skipped"

Fact = str | int | float | bool | list[str]


@frozen
class Trouble:
    """
    Why a step failed.

    `error` is what the proxy would write in its log, `outcome` the word that a session would end with.  `answer` is the
    id of the known answer that explains it, None without one; then `cause` and `remedy` are those of the outcome.
    `side` is where the cause is, one of `outcomes.SIDES`.
    `temporary` is how the proxy judges it.
    """

    error: str
    outcome: str
    temporary: bool
    answer: str | None
    provider: str | None
    side: str
    cause: str
    remedy: tuple[str, ...]


@frozen
class Step:
    """
    One step: `status` is `OK`, `FAILED` or `SKIPPED`, `why` why it was skipped.

    `notes` are what an operator should look at although the step went well.
    """

    name: str
    status: str
    seconds: float = 0.0
    facts: Mapping[str, Fact] = Factory(dict)
    notes: tuple[str, ...] = ()
    trouble: Trouble | None = None
    why: str | None = None


@define
class _Open:
    """A step that was begun."""

    seconds: float = 0.0
    facts: dict[str, Fact] = field(factory=dict)
    notes: list[str] = field(factory=list)
    trouble: Trouble | None = None


class Record:
    """
    Writes down the steps of one check while they happen.

    Args:
        seconds: the time.
        tell: hears of each step that begins.
    """

    def __init__(self, seconds: Callable[[], float], tell: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._tell = tell
        self._steps: dict[str, _Open] = {}
        self._skipped: dict[str, str] = {}
        self._since = seconds()
        self.current = ""
        """The step that is under way."""

    def begin(self, name: str) -> None:
        """This step is under way, and the one before has gone well; a step may be begun again."""
        assert name in STEPS, name
        if name == self.current:
            return
        self.pause()
        self.current = name
        self._steps.setdefault(name, _Open())
        self._since = self._seconds()
        self._tell(name)

    def pause(self) -> None:
        """Nothing is under way."""
        if self.current:
            self._steps[self.current].seconds += self._seconds() - self._since
        self.current = ""

    def note(self, words: str, step: str = "") -> None:
        """Something about a step, by default the one under way, which an operator should look at."""
        self._steps[step or self.current].notes.append(words)

    def facts(self, step: str, **facts: Fact | None) -> None:
        """What has come out of a step that was begun; None is nothing."""
        self._steps[step].facts.update({name: value for name, value in facts.items() if value is not None})

    def fail(self, step: str, trouble: Trouble) -> None:
        """This step has failed, begun or not."""
        self.pause()
        self._steps.setdefault(step, _Open()).trouble = trouble
        self._skipped.pop(step, None)

    def skip(self, step: str, why: str) -> None:
        """This step is not taken, unless it was."""
        if step not in self._steps:
            self._skipped[step] = why

    def steps(self) -> tuple[Step, ...]:
        """All steps, in their order; what was neither taken nor skipped came behind a failure."""
        failed = next((name for name in STEPS if name in self._steps and self._steps[name].trouble), "")
        return tuple(self._step(name, f"{failed} failed" if failed else "not reached") for name in STEPS)

    def _step(self, name: str, otherwise: str) -> Step:
        found = self._steps.get(name)
        if found is None:
            return Step(name, SKIPPED, why=self._skipped.get(name, otherwise))
        status = OK if found.trouble is None else FAILED
        return Step(name, status, found.seconds, found.facts, tuple(found.notes), found.trouble)

"""
How one destination of one tenant is doing: what was seen last, and what that amounts to.

Whoever makes connections notes what it finds, which costs a few attributes.  It is judged when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from attrs import define, frozen

from mailproxy.errors import MailProxyError

RECENT_SECONDS = 600.0
"""How long a failure counts although it works again."""

CERTIFICATE_SECONDS = 14 * 86_400.0
"""A mail server's certificate that ends so soon is worth a word: it can still be renewed in working hours."""


class State(Enum):
    """At a glance."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILING = "failing"
    UNUSED = "unused"


@frozen
class TLSFacts:
    """What a connection is secured with; `certificate_expires` is when the first certificate of its chain does."""

    version: str
    cipher: str
    certificate_expires: float | None


@frozen
class Peer:
    """A mail server; `address` and `tls` are None as long as it was not reached, `tls` also where there is none."""

    host: str
    port: int
    address: str | None = None
    tls: TLSFacts | None = None


@frozen
class Credential:
    """What we log in with: `kind` is `password`, `token` or `none`; `expires` is None where that is not known."""

    kind: str
    expires: float | None = None


@frozen
class Mishap:
    """Something failed: when, with which outcome, and the operator's sentence."""

    when: float
    outcome: str
    text: str


def _never() -> float | None:
    return None


@define(eq=False)
class Condition:
    """
    What was seen last.  Times are in seconds since 1970.

    `held_until` says until when the mail server is left alone; None while it is not.
    """

    held_until: Callable[[], float | None] = _never
    last_success: float | None = None
    last_failure: Mishap | None = None
    peer: Peer | None = None
    credential: Credential | None = None

    def worked(self, now: float) -> None:
        """A login has come through, or a connection has come back in good order."""
        self.last_success = now

    def failed(self, now: float, error: MailProxyError) -> None:
        """There was no session at the mail server."""
        self.last_failure = Mishap(now, error.outcome, str(error))

    def held(self, now: float) -> float | None:
        """Until when nobody tries; None where anybody may."""
        until = self.held_until()
        return until if until is not None and until > now else None


@frozen
class Verdict:
    """A state, and why it is that one."""

    state: State
    reason: str


def judge(condition: Condition, mishap: float | None, now: float) -> Verdict:
    """
    How it is doing.

    Args:
        condition: what was seen of logins.
        mishap: when a session last failed, be it before or behind the login.
        now: the time.
    """
    success, failure = condition.last_success, condition.last_failure
    if success is None and failure is None:
        return Verdict(State.UNUSED, "nobody has used it since mailproxy was started")
    if failure is not None and (success is None or failure.when > success):
        return Verdict(State.FAILING, "the last attempt to log in failed")
    reasons = (
        (condition.held(now) is not None, "another login at this mail server is held off"),
        (failure is not None and now - failure.when < RECENT_SECONDS, "an attempt to log in failed lately"),
        (mishap is not None and now - mishap < RECENT_SECONDS, "a session failed lately"),
        (_ends_soon(condition.peer, now), "the mail server's certificate ends within 14 days"),
    )
    words = next((words for holds, words in reasons if holds), None)
    return Verdict(State.OK, "the last attempt worked") if words is None else Verdict(State.DEGRADED, words)


def _ends_soon(peer: Peer | None, now: float) -> bool:
    expires = peer.tls.certificate_expires if peer is not None and peer.tls is not None else None
    return expires is not None and expires - now < CERTIFICATE_SECONDS

"""
One destination of one tenant: every step that the proxy would take, one after the other.

Theory of operation
-------------------

The parts are the proxy's: the place that knows the destination, the fetch of the token, the connector, the login.  They
are only listened to (`overheard.py`, `asked.py`), so that what the doctor finds is what a session would meet.  Two
things differ:

- Nothing is held off, and nothing waits for others: there are no others.
- A token that cannot be had does not keep us from looking at the mail server; it is visited without a login then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from mailproxy.destination.model import Login, MailProtocol, Password
from mailproxy.destination.source import Source
from mailproxy.doctor.asked import Questions
from mailproxy.doctor.diagnosis import Diagnosis, StepFailed
from mailproxy.doctor.finding import Finder
from mailproxy.doctor.steps import FAILED, Record, Step
from mailproxy.doctor.visiting import Visitor, Wishes
from mailproxy.recipes import UpstreamRecipe
from mailproxy.tls import TrustSource


@frozen
class Around:
    """What checks of one source are made with; `questions` hears what it asks."""

    reactor: Any
    source: Source
    questions: Questions
    trust: TrustSource
    diagnosis: Diagnosis


@frozen
class Subject:
    """What is checked, as it is called; `tenant` is None for the provider's own."""

    destination: str
    tenant: str | None
    protocol: MailProtocol

    def __str__(self) -> str:
        return self.destination if self.tenant is None else f"{self.destination}/{self.tenant}"

    def is_called(self, text: str) -> bool:
        """Whether this is it, or one of those of several tenants."""
        return text in (self.destination, str(self))


@frozen
class Check:
    """What became of one destination of one tenant."""

    subject: Subject
    seconds: float
    steps: tuple[Step, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """The steps that failed; nothing when all is well."""
        return tuple(step.name for step in self.steps if step.status == FAILED)


async def examine(
    subject: Subject, recipe: UpstreamRecipe, around: Around, wishes: Wishes, tell: Callable[[str], None]
) -> Check:
    """
    Every step was taken, or there is a reason why not.

    Args:
        subject: what it is called.
        recipe: the way to the destination.
        around: what the check is made with.
        wishes: what is wanted.
        tell: hears of each step that begins.
    """
    clock = around.reactor
    began = clock.seconds()
    record = Record(clock.seconds, tell)
    try:
        await _examine(recipe, around, wishes, record)
    except StepFailed as failed:
        record.fail(failed.step, failed.trouble)
    record.pause()
    return Check(subject, clock.seconds() - began, record.steps())


async def _examine(recipe: UpstreamRecipe, around: Around, wishes: Wishes, record: Record) -> None:
    _skip_what_never_happens(recipe, wishes, record)
    finder = Finder(recipe, around.source, around.questions, record, around.diagnosis, around.reactor)
    destination, access, token = await finder.find()
    credentials = access if isinstance(access, Password) else token
    if credentials is None:
        wanted = access is not None
        record.skip("login", "there is no token" if wanted else "the destination wants none")
        if wanted and wishes.send_to is not None:
            record.skip("mail", "there is no login")
            wishes = Wishes(wishes.seconds)
    login = Login(destination, credentials)
    visitor = Visitor(recipe, login, record, around.diagnosis, around.reactor, around.trust, wishes)
    await visitor.visit()


def _skip_what_never_happens(recipe: UpstreamRecipe, wishes: Wishes, record: Record) -> None:
    if recipe.source.service.binding is None:
        record.skip("service_token", "the destination is a file")
    record.skip("socks", "the route is Internet")
    if wishes.send_to is None:
        record.skip("mail", "--send-to asks for it")
    elif recipe.protocol is not MailProtocol.SMTP:
        record.skip("mail", "POP3 sends no mail")

"""
Every check that is asked for, those of one tenant at one service one after the other, others beside them.

So the service and token services of a tenant are asked as the proxy asks them: once, not once for each destination.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from random import SystemRandom
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults

from mailproxy import names
from mailproxy.checks import trust_of
from mailproxy.config import Config, TrustConfig
from mailproxy.doctor.asked import Questions
from mailproxy.doctor.diagnosis import Diagnosis
from mailproxy.doctor.examination import Around, Check, Subject, examine
from mailproxy.doctor.table import known_answers
from mailproxy.doctor.visiting import Wishes
from mailproxy.errors import ConfigError
from mailproxy.places import Places, problems_of_services
from mailproxy.recipes import OwnNames, SourceRecipe, UpstreamRecipe, orders
from mailproxy.shared import Shared
from mailproxy.tenants import listeners
from mailproxy.tls import ClientTLS

MAX_AT_ONCE = 8
"""So many tenants' checks are under way at a time."""

Tell = Callable[[Subject, str], None]
"""Hears of each step that begins; an empty one is the end of the check."""


class UnknownSubject(Exception):
    """Nothing of these names is in the configuration; the text says what is."""


@frozen
class Patient:
    """Something to check."""

    subject: Subject
    recipe: UpstreamRecipe


@frozen
class Report:
    """What became of all of them."""

    began: datetime
    seconds: float
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not any(check.failed for check in self.checks)


def patients(config: Config, own: OwnNames, wanted: Iterable[str]) -> list[Patient]:
    """
    What a configuration listens for, each destination of each tenant once.

    Args:
        config: names them.
        own: what this machine is called.
        wanted: `DESTINATION` or `DESTINATION/TENANT`; none for all.

    Raises:
        UnknownSubject: some of them are not there; the text says which, and what is.
    """
    found: dict[UpstreamRecipe, Patient] = {}
    for plan, order in zip(listeners(config), orders(config, own), strict=True):
        tenant = plan.tenant.name if plan.tenant is not None else None
        recipe = order.recipe.upstream
        found.setdefault(recipe, Patient(Subject(plan.destination.name, tenant, plan.destination.protocol), recipe))
    everybody = list(found.values())
    fitting = {text: [each for each in everybody if each.subject.is_called(text)] for text in wanted}
    unknown = [text for text, those in fitting.items() if not those]
    if unknown:
        known = ", ".join(dict.fromkeys(str(each.subject) for each in everybody))
        raise UnknownSubject(f"there is no {' and no '.join(unknown)}, but there is {known}")
    chosen = {id(each): each for those in fitting.values() for each in those}
    return list(chosen.values()) or everybody


async def check_all(reactor: Any, config: Config, subjects: Sequence[Patient], wishes: Wishes, tell: Tell) -> Report:
    """
    All of them were checked.

    Args:
        reactor: connects, resolves names and tells the time.
        config: where they come from.
        subjects: what to check.
        wishes: what is wanted of every check.
        tell: hears of each step that begins.

    Raises:
        ConfigError: files that the configuration names cannot be used.
    """
    names.install(reactor)
    trust, problems = trust_of(config.trust, f"{config.path}: trust.", reactor)
    problems = [*problems, *problems_of_services(config)]
    if problems:
        raise ConfigError(problems)
    tls = Shared[TrustConfig, ClientTLS](lambda _recipe, _end: ClientTLS(trust))
    groups: dict[SourceRecipe, list[Patient]] = {}
    for each in subjects:
        groups.setdefault(each.recipe.source, []).append(each)
    began, clock = datetime.now(UTC), reactor.seconds()
    diagnosis, turns = Diagnosis(known_answers()), DeferredSemaphore(MAX_AT_ONCE)
    found: dict[UpstreamRecipe, Check] = {}

    async def check_group(recipe: SourceRecipe, members: list[Patient]) -> None:
        questions = Questions()
        with ExitStack() as end:
            source = Places(reactor, tls, SystemRandom().random, questions.web).source(recipe, end)
            around = Around(reactor, source, questions, trust, diagnosis)
            for each in members:
                found[each.recipe] = await examine(
                    each.subject, each.recipe, around, wishes, partial(tell, each.subject)
                )
                tell(each.subject, "")

    await gatherResults(
        [turns.run(Deferred.fromCoroutine, check_group(*group)) for group in groups.items()], consumeErrors=True
    )
    return Report(began, reactor.seconds() - clock, tuple(found[each.recipe] for each in subjects))

"""
What somebody's answer means, and what to do about it: the table of known answers, looked up.

The table only explains.  Whether something works, and what becomes of a mail, is decided by reply codes and classes of
errors everywhere else; a provider may change its texts at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import chain

from attrs import field, frozen

MAX_TEXT_CHARACTERS = 4096
"""What is looked at of an answer; no pattern needs more."""

STAGES = (
    "destination",
    "token",
    "connect",
    "tls",
    "client-tls",
    "greeting",
    "starttls",
    "ehlo",
    "auth",
    "pop-login",
    "mail",
    "rcpt",
    "data",
    "pop",
)
"""When an answer is given; `tls` is the handshake from the first octet, `starttls` the go-ahead and what follows it."""

ANYBODY = "any"
"""The provider whose fallbacks hold where no other is known."""


@frozen
class Answer:
    """
    One known answer.

    `pattern` finds it in the text of a stage, without regard to case, `^` at the beginning of each line.  `passes` says
    that it can go away without anybody changing a setting.  `evidence` is how it is known: `doc` from its vendor or a
    standard, `code` from the server's source, `ran` by provoking it, `seen` in public reports; `source` says where.
    `side` is where the cause is, one of `outcomes.SIDES`, None where the outcome says that.
    """

    id: str
    provider: str
    stages: frozenset[str]
    pattern: re.Pattern[str]
    sample: str
    cause: str
    remedy: tuple[str, ...]
    passes: bool
    evidence: str
    source: str
    side: str | None = None

    def explains(self, text: str, stage: str) -> bool:
        """Whether this is it."""
        return stage in self.stages and self.pattern.search(text) is not None


@frozen
class Provider:
    """
    Somebody whose answers are known.

    `host` recognises the name of a mail server or token service, `greeting` the first thing a mail server says; None
    where that tells nothing.  `fallbacks` are the providers that are looked at when this one's answers do not fit.
    """

    key: str
    title: str
    host: re.Pattern[str] | None
    greeting: re.Pattern[str] | None
    fallbacks: tuple[str, ...]
    answers: tuple[Answer, ...] = field(repr=False)

    def is_at(self, host: str, greeting: str) -> bool:
        """Whether it is the one at this host, or with this greeting."""
        return (self.host is not None and bool(host) and self.host.search(host) is not None) or (
            self.greeting is not None and bool(greeting) and self.greeting.search(greeting) is not None
        )


@frozen
class Table:
    """All that is known, by provider."""

    providers: Mapping[str, Provider]

    def find(self, stage: str, texts: Iterable[str], keys: Iterable[str]) -> Answer | None:
        """
        The answer that explains a text; the first text that is explained counts.

        Args:
            stage: one of `STAGES`.
            texts: what was said; what comes first is tried first.
            keys: the providers that may have said it, in this order; see `candidates`.
        """
        providers = [self.providers[key] for key in keys]
        for text in texts:
            cut = text[:MAX_TEXT_CHARACTERS]
            for each in chain.from_iterable(provider.answers for provider in providers):
                if each.explains(cut, stage):
                    return each
        return None

    def candidates(self, host: str = "", greeting: str = "", first: Iterable[str] = ()) -> list[str]:
        """
        Who may have said something: those that are recognised, their fallbacks, then everybody's, each once.

        Args:
            host: of the mail server or the token service.
            greeting: of the mail server.
            first: those that are known to be there.
        """
        known = [*first, *(each.key for each in self.recognised(host, greeting))]
        keys = [*known, *(key for each in known for key in self.providers[each].fallbacks)]
        return list(dict.fromkeys([*keys, *self.providers[ANYBODY].fallbacks]))

    def recognised(self, host: str, greeting: str = "") -> list[Provider]:
        """
        Who is at this host, or has this greeting; who is looked at instead of another comes behind that one.

        The mail servers of a provider often greet like the software that they run.
        """
        host, greeting = host[:MAX_TEXT_CHARACTERS].lower(), greeting[:MAX_TEXT_CHARACTERS]
        known = [each for each in self.providers.values() if each.is_at(host, greeting)]
        instead = {key for each in known for key in each.fallbacks}
        return sorted(known, key=lambda each: each.key in instead)

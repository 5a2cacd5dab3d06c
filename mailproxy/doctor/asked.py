"""
Questions to services, with what became of each.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from attrs import define, field, frozen

from mailproxy.destination.http import Answer, Question, Web
from mailproxy.doctor.remedies import MAX_TEXT_CHARACTERS

TOKEN, DESTINATION = "token", "destination"
"""What is asked for: a token by a form, a destination without one."""

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@define
class Asked:
    """A question that was asked; `answer` is None where there was none."""

    question: Question
    answer: Answer | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """Who was asked."""
        return self.question.url.host

    def text(self) -> str:
        """The answer as the table knows it: `HTTP 401 Unauthorized` and the body, or the body of a 200."""
        if self.answer is None:
            return ""
        status, body = self.answer.status, self.answer.body[:MAX_TEXT_CHARACTERS].decode("utf-8", "replace")
        return body if status == 200 else f"HTTP {status} {_PHRASES.get(status, '')} {body}"


class Questions:
    """
    Listens to what is asked; makes the `Web` that is listened to.

    `begins` hears what is asked for; `last` is the last question of each kind.
    """

    def __init__(self) -> None:
        self.begins: Callable[[str], None] = _nobody_listens
        self.last: dict[str, Asked] = {}

    def web(self, clients: Any, clock: Any) -> Web:
        """What services are asked with."""
        return _Web(clients, clock, questions=self)


@frozen
class _Web(Web):
    """Asks, and writes down what became of it."""

    questions: Questions = field(kw_only=True)

    async def ask(self, question: Question) -> Answer:
        kind = DESTINATION if question.form is None else TOKEN
        asked = self.questions.last[kind] = Asked(question)
        self.questions.begins(kind)
        asked.answer = await super().ask(question)
        return asked.answer


def _nobody_listens(kind: str) -> None:
    del kind

"""
From a failure in a step to its cause and its remedy.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve
from twisted.web.client import RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed

from mailproxy.destination.model import Destination, MailProtocol, TLSMode
from mailproxy.doctor.outcomes import (
    CONFIGURATION,
    DESTINATION,
    DESTINATION_SERVICE,
    MAIL_SERVER,
    MEANINGS,
    REFUSED,
    SERVICE,
    TOKEN_SERVICE,
)
from mailproxy.doctor.remedies import Table
from mailproxy.doctor.steps import Trouble
from mailproxy.errors import DestinationUnknown, LacksTLS, MailProxyError, RefusedLogin, TLSFailed

_PASSING = {
    True: "It may pass by itself; the proxy tries again at growing intervals.",
    False: "Trying again changes nothing; somebody has to change a setting.",
}

_WRAPPERS = (ResponseFailed, RequestTransmissionFailed, RequestGenerationFailed)

_STAGES = {
    "name": "connect",
    "connect": "connect",
    "socks": "connect",
    "greeting": "greeting",
    "starttls": "starttls",
    "capabilities": "ehlo",
}

_QUOTED = "Response was:"
"""Behind it the Destination service quotes what a token service has said to it."""

_SAY_MORE = ("spoke out of turn", "refused XCLIENT")
"""Where our sentence has these words it says more than the mail server's: that it spoke at all, or about what."""

_OURSELVES = "mailproxy"
"""Whose answers are our own sentences."""

_SERVICES = {"token": TOKEN_SERVICE, "destination": DESTINATION_SERVICE}
"""Who is asked in a stage."""

_TOKEN_SERVICES = ("entra", "google-oauth", "xsuaa", "oauth")


class StepFailed(Exception):
    """A step has failed, and the ones behind it cannot be taken."""

    def __init__(self, step: str, trouble: Trouble) -> None:
        super().__init__(step)
        self.step = step
        self.trouble = trouble


class Diagnosis:
    """
    Explains failures.

    Args:
        table: the known answers.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def of_server(
        self, stage: str, error: MailProxyError, destination: Destination, told: list[str], greeting: str
    ) -> Trouble:
        """
        A failure at a mail server, or on the way to it.

        Args:
            stage: of the table of answers.
            error: what it failed with.
            destination: where that is.
            told: what the mail server said; what comes first is looked at first.
            greeting: what it said first.
        """
        keys = self._table.candidates(destination.host, greeting)
        texts = [*told, *_words(error)]
        if any(words in str(error) for words in _SAY_MORE):
            texts = [*_words(error), *told]
        return self._trouble(error, stage, texts, keys)

    def of_service(
        self, stage: str, error: MailProxyError, said: str, host: str, first: str = "", *, ours: bool = False
    ) -> Trouble:
        """
        A failure of a question to a token service or the Destination service.

        Args:
            stage: `token` or `destination`.
            error: what it failed with.
            said: the answer; empty where there was none.
            host: who was asked.
            first: the provider that it is known to be; empty where the host has to tell.
            ours: it was asked with what the configuration names, not with what a destination says.
        """
        trouble = self._of_service(stage, error, said, host, first)
        return evolve(trouble, side=CONFIGURATION) if ours and trouble.side == DESTINATION else trouble

    def _of_service(self, stage: str, error: MailProxyError, said: str, host: str, first: str) -> Trouble:
        _, found, quoted = said.partition(_QUOTED)
        inner = quoted.lstrip()
        if found and self._table.find("token", [inner], _TOKEN_SERVICES) is not None:
            return self._trouble(error, "token", [inner], _TOKEN_SERVICES)
        keys = self._table.candidates(host, first=[first] if first else [])
        texts = [said, *_words(error)]
        if isinstance(error, DestinationUnknown):
            # Of a bare 404 we know more than the service says: what it was that it does not know.
            texts, keys = [*texts[1:], said], [_OURSELVES, *keys]
        return self._trouble(error, stage, texts, keys)

    def _trouble(self, error: MailProxyError, stage: str, texts: Iterable[str], keys: Iterable[str]) -> Trouble:
        answer = self._table.find(stage, [text for text in texts if text], keys)
        known = None if answer is None else self._table.providers[answer.provider]
        usual = MEANINGS.get(error.outcome, REFUSED)
        return Trouble(
            error=str(error),
            outcome=error.outcome,
            temporary=error.temporary,
            answer=None if answer is None else answer.id,
            provider=None if known is None else known.title,
            side=(answer and answer.side) or _side(error, stage),
            cause=usual.cause if answer is None else answer.cause,
            remedy=(*usual.remedy, _PASSING[error.temporary]) if answer is None else answer.remedy,
        )


def _side(error: MailProxyError, stage: str) -> str:
    """Where the cause of an error is, as far as nobody knows its words."""
    if isinstance(error, RefusedLogin) and error.temporary:
        return MAIL_SERVER
    usual = MEANINGS.get(error.outcome, REFUSED).side
    return _SERVICES.get(stage, usual) if usual == SERVICE else usual


def step_of(error: MailProxyError, current: str, destination: Destination) -> str:
    """The step that failed, where that is not the one that was under way."""
    if isinstance(error, TLSFailed):
        return "tls"
    if isinstance(error, LacksTLS) and current == "capabilities":
        return "starttls" if destination.tls.mode is TLSMode.REQUIRED else "login"
    return current


def stage_of(step: str, destination: Destination) -> str:
    """The stage of the table that a step at the mail server stands for."""
    pop3 = destination.protocol is MailProtocol.POP3
    if step == "tls":
        return "tls" if destination.tls.mode is TLSMode.IMPLICIT else "starttls"
    if step == "login":
        return "pop-login" if pop3 else "auth"
    if step == "probe":
        return "pop" if pop3 else "mail"
    return _STAGES[step]


def _words(error: MailProxyError) -> list[str]:
    """What is known of an error: in our words, and in those of what caused it."""
    causes: list[BaseException | None] = [error.__cause__]
    while isinstance(causes[-1], _WRAPPERS):
        causes += [failure.value for failure in causes[-1].reasons]
    return [str(error), *(f"{type(cause).__name__}: {cause}" for cause in causes if cause is not None)]

"""
Questions to token services and destination services, bounded in time and size.

Nobody is trusted to end: one deadline covers connecting, the headers and the whole body, the body has a limit, and a
connection that overruns either is aborted, since a polite close would wait for the peer.  Redirects are not followed:
they would carry a secret to another place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol
from urllib.parse import urlencode

from attrs import field, frozen
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.internet.protocol import Protocol as Receiver
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from mailproxy.backoff import LONGEST_PAUSE_SECONDS
from mailproxy.destination.httpfailures import EXPECTED, explain, was_cancelled
from mailproxy.destination.jsontext import load_object
from mailproxy.destination.model import ClientIdentity
from mailproxy.destination.url import ServiceURL
from mailproxy.errors import DestinationUnavailable
from mailproxy.observe.histogram import Histogram

MAX_BODY_OCTETS = 256 * 1024
"""What a body may hold, after decoding."""

_DELAY_SECONDS = re.compile(r"[0-9]+")


class HTTPClients(Protocol):
    """Makes the clients that questions are asked with; `WebClients` is the one."""

    def client(self, identity: ClientIdentity | None) -> HTTPClient:
        """A client that verifies whom it asks and, if asked for one, shows this certificate; it keeps no cookies."""


@frozen
class Question:
    """
    One request: a GET, or a POST when there is a form.

    `service` names the service in sentences, `timeout` is in seconds and covers everything.
    """

    service: str
    url: ServiceURL
    form: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    identity: ClientIdentity | None = None
    timeout: float = 10.0

    @property
    def place(self) -> str:
        """Who is asked, for the operator."""
        return f"{self.service} at {self.url.host}"


@frozen
class Answer:
    """What came back; `retry_after` is the pause in seconds that the service asked for."""

    place: str
    status: int
    body: bytes = field(repr=False)
    retry_after: float | None = None

    def json_object(self) -> dict[str, object]:
        """
        The JSON object that the body is.

        Raises:
            DestinationUnavailable: it is none.
        """
        try:
            return load_object(self.body)
        except ValueError as error:
            raise DestinationUnavailable(
                f"{self.place} answered with status {self.status} and a body that {error}",
                retry_after=self.retry_after,
            ) from None

    def unavailable(self, detail: str = "") -> DestinationUnavailable:
        """The error for a status that means nothing else."""
        kind = "a redirect, which is not followed" if 300 <= self.status < 400 else f"status {self.status}"
        more = f": {detail}" if detail else ""
        return DestinationUnavailable(f"{self.place} answered with {kind}{more}", retry_after=self.retry_after)


@frozen
class Web:
    """Asks questions; `token_seconds` is how long services took for a token, or to say no to it."""

    clients: HTTPClients
    clock: IReactorTime
    token_seconds: Histogram = field(factory=Histogram, eq=False, repr=False)

    async def ask_for_token(self, question: Question) -> Answer:
        """The same as `ask`, measured."""
        began = self.clock.seconds()
        try:
            return await self.ask(question)
        finally:
            self.token_seconds.observe(self.clock.seconds() - began)

    async def ask(self, question: Question) -> Answer:
        """
        The answer, whatever its status.

        Raises:
            DestinationUnavailable: there was none in time, or none at all, or it was too long.
        """
        exchange = Deferred.fromCoroutine(_exchange(self.clients, question))
        deadline = _Deadline(exchange)
        timer = self.clock.callLater(question.timeout, deadline.expire)
        try:
            return await exchange
        except DestinationUnavailable:
            raise
        except EXPECTED as error:
            if deadline.expired:
                sentence = f"{question.place} did not answer within {question.timeout:g} seconds"
                raise DestinationUnavailable(sentence) from None
            if was_cancelled(error):
                raise CancelledError from None
            raise DestinationUnavailable(f"{question.place} {explain(error)}") from error
        finally:
            if timer.active():
                timer.cancel()


class _Deadline:
    """Cancels an exchange, and remembers that it did."""

    def __init__(self, exchange: Deferred[Answer]) -> None:
        self._exchange = exchange
        self.expired = False

    def expire(self) -> None:
        self.expired = True
        self._exchange.cancel()


async def _exchange(clients: HTTPClients, question: Question) -> Answer:
    headers = Headers({"User-Agent": ["mailproxy"]})
    for name, value in (("Accept", "application/json"), *question.headers):
        headers.setRawHeaders(name, [value])
    data = None
    if question.form is not None:
        headers.setRawHeaders("Content-Type", ["application/x-www-form-urlencoded"])
        data = OctetsBody(urlencode(question.form).encode("ascii"))
    response = await clients.client(question.identity).request(
        "GET" if data is None else "POST",
        question.url.full,
        headers=headers,
        data=data,
        allow_redirects=False,
        unbuffered=True,
    )
    body = await _collect(response, question.place)
    return Answer(question.place, response.code, body, _retry_after(response.headers))


@implementer(IBodyProducer)
class OctetsBody:
    """
    A request's body that is written at once: it is short, and so needs no clock.
    """

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.length = len(octets)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """All of it is written."""
        consumer.write(self._octets)
        return succeed(None)

    def stopProducing(self) -> None:
        """There is nothing left to stop."""

    def pauseProducing(self) -> None:
        """There is nothing left to pause."""

    def resumeProducing(self) -> None:
        """There is nothing left to write."""


def _collect(response: IResponse, place: str) -> Deferred[bytes]:
    """The whole body; to cancel it aborts the connection."""
    receiver = _BodyReceiver(place)
    response.deliverBody(receiver)
    return receiver.whole


class _BodyReceiver(Receiver):
    """Collects a body up to the limit."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._body = bytearray()
        self._over = False
        self.whole: Deferred[bytes] = Deferred(lambda _: self._stop())

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        self._body += data
        if len(self._body) > MAX_BODY_OCTETS:
            self._stop()
            self.whole.errback(DestinationUnavailable(f"{self._place} answers with more than {MAX_BODY_OCTETS} octets"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._over:
            return
        self._over = True
        # Without a length and without chunks, only the end of the connection ends a body.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._body))
        else:
            self.whole.errback(reason)

    def _stop(self) -> None:
        self._over = True
        self._body.clear()
        transport = self.transport
        if transport is not None:
            abort: Callable[[], None] = getattr(transport, "abortConnection", transport.loseConnection)
            abort()


def _retry_after(headers: Headers) -> float | None:
    """
    The pause that the answer asks for, bounded.

    Source: RFC 9110 §10.2.3 (a number of seconds, or a date), §6.6.1 (the date it is to be compared with).
    """
    value = _last(headers, b"retry-after").strip()
    if _DELAY_SECONDS.fullmatch(value):
        return min(float(value), LONGEST_PAUSE_SECONDS)
    try:
        pause = (parsedate_to_datetime(value) - _sent_at(headers)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(pause, 0.0), LONGEST_PAUSE_SECONDS)


def _sent_at(headers: Headers) -> datetime:
    """
    When the answer was sent, by the service's own clock, which may be wrong; by ours if it does not say.
    """
    value = _last(headers, b"date")
    return parsedate_to_datetime(value) if value else datetime.now(UTC)


def _last(headers: Headers, name: bytes) -> str:
    """The value of a header, whatever octets it has; empty without one."""
    return headers.getRawHeaders(name, [b""])[-1].decode("latin-1")

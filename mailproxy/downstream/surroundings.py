"""
What all sessions of one listener share, and what each of them is given: a way to a mail server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime

from mailproxy.downstream.balancers import Balancers
from mailproxy.flight.flights import Flights
from mailproxy.ledger.keyed import AddressKey
from mailproxy.session.actions import Waiting
from mailproxy.session.encryption import Encryption
from mailproxy.session.recording import NO_RECORDER, NoRecorder, Recorder
from mailproxy.wire.introduction import Introduction


class Upstream(Protocol):
    """A logged-in stream to a mail server; `upstream.stream.UpstreamStream` provides it."""

    capabilities: object
    transport: Any
    login: Any
    reused: bool
    messages: int
    secured: bool

    def hand_over(self, owner: Any, producer: Any) -> None:
        """Octets and the end of the connection are told to `owner` from now on, a full buffer to `producer`."""

    def write(self, raw: bytes) -> None:
        """Send exact octets."""

    def quoted(self, text: bytes) -> str:
        """Words of the mail server, fit for the log."""

    def concealed(self, text: bytes) -> bytes:
        """Words of the mail server, fit for its client."""

    def abort(self) -> None:
        """End at once."""


class Upstreams(Protocol):
    """This tenant's own way to this destination; `upstream.pool.Pool` and `upstream.direct.Direct` provide it."""

    def open(self, *, fresh: bool = False) -> Deferred[Any]:
        """
        An `Upstream`, or a `MailProxyError`; fires at once when it is cancelled.

        Args:
            fresh: one that nobody has used before.
        """

    def take_back(self, stream: Any, *, messages: int, taken: bool, refusals: int, reset: bool, sound: bool) -> None:
        """A session is done with it, and hears no more of it; as `session.actions.ReleaseUpstream`."""

    def known(self) -> Any:
        """What the mail server has offered lately; None where that is not known."""


@frozen
class Book:
    """
    The ledger, as the sessions of one listener see it.

    `write` takes the fields of a record, and gives what fires when it is on disk, or None where nobody has to wait for
    that; `may_record` says whether something may begin that has to be recorded.
    """

    write: Callable[[bytes], Deferred[None] | None]
    may_record: Callable[[], bool]
    now: Callable[[], float]
    destination: str
    tenant: str | None
    key: AddressKey = field(repr=False)


@frozen
class Surroundings:
    """
    What all sessions of one listener share.

    `timeouts` are seconds, one for each wait but that for the login, which has its own.  In a crowd a client has no
    more than `overload_seconds` for each of the two waits before its first command: a handshake, and that command.
    `min_content_rate` is in octets per second, 0 for none.  `server_tls` is needed where `encryption` is anything but
    plain text.  Where there are `balancers`, a PROXY header comes first.  `introduce` opens an `Upstream`
    that is told of the client, and is None where `upstreams` does: nothing is said then.  `book` is None where there
    is no ledger.
    """

    clock: IReactorTime
    upstreams: Upstreams
    timeouts: Mapping[Waiting, float]
    stall_seconds: float
    close_seconds: float
    overload_seconds: float = 10.0
    min_content_rate: float = 0.0
    encryption: Encryption = Encryption.PLAINTEXT
    server_tls: IOpenSSLServerConnectionCreator | None = None
    balancers: Balancers | None = None
    introduce: Callable[[Introduction], Deferred[Any]] | None = None
    book: Book | None = None
    flights: Flights | None = None

    def recorder(self) -> NoRecorder:
        """For a new session."""
        return NO_RECORDER if self.flights is None else Recorder()

    @property
    def may_record(self) -> Callable[[], bool] | None:
        """Whether the ledger takes another transaction at the moment; None where there is no ledger."""
        return None if self.book is None else self.book.may_record

    def seconds(self, waiting: Waiting, *, hurried: bool) -> float:
        """The bound of a wait that comes before the client's first command."""
        seconds = self.timeouts[waiting]
        return min(seconds, self.overload_seconds) if hurried else seconds

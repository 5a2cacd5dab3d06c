"""
What a session may ask of its owner.

A session decides, its owner has the sockets and the clock.  After every input the owner takes actions with
`next_action()` until there is none, carries each one out in order, then looks at `session.reading` and
`session.waiting`.  Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol

from attrs import frozen

from mailproxy.errors import MailProxyError
from mailproxy.session.recording import NoRecorder


class Waiting(Enum):
    """
    Whose turn it is; the value is the key of the timeout that bounds it, and the words an operator reads.

    The owner starts the clock anew whenever `Session.wait_serial` has changed, never merely because octets came in.
    """

    __hash__ = object.__hash__  # each is one object, and looked up for every line

    UPSTREAM_LOGIN = "login"
    UPSTREAM_REPLY = "reply"
    UPSTREAM_DATA_REPLY = "data_reply"
    UPSTREAM_FINAL_REPLY = "final_reply"
    UPSTREAM_RSET_REPLY = "rset_reply"
    UPSTREAM_QUIT_REPLY = "quit_reply"
    UPSTREAM_BODY = "body"
    DOWNSTREAM_HANDSHAKE = "handshake"
    DOWNSTREAM_FIRST_COMMAND = "first_command"
    """The client has not said a whole line yet."""
    DOWNSTREAM_COMMAND = "command"
    DOWNSTREAM_LINE = "line"
    DOWNSTREAM_CONTENT = "content"
    NOBODY = "nobody"


@frozen
class SendDownstream:
    """Write exact octets to the mail client."""

    raw: bytes


@frozen
class SendUpstream:
    """Write exact octets to the mail server."""

    raw: bytes


@frozen
class StartTLS:
    """Begin TLS on the client's connection, behind what was written; answered by `downstream_secured`."""


@frozen
class OpenUpstream:
    """
    Get a connection that is logged in; answer with `upstream_opened` or `upstream_failed`.

    `fresh`: one that nobody has used before.
    """

    fresh: bool = False


@frozen
class ReleaseUpstream:
    """
    The session is done with a healthy upstream connection: it is kept for others, or ended in good order.

    `messages`: so many mail transactions has this session begun.  `taken`: the mail server has taken a message.
    `refusals`: so often has it said no, since it last did.  `reset`: a transaction is open.  `sound`: nothing that the
    session has seen speaks against its use by others.
    """

    messages: int = 0
    taken: bool = False
    refusals: int = 0
    reset: bool = False
    sound: bool = True


@frozen
class AbortUpstream:
    """End the upstream connection at once, without a word."""


@frozen
class CloseDownstream:
    """Deliver what was written, then close; `outcome` is the one word this session ends with."""

    outcome: str


@frozen
class AbortDownstream:
    """End the connection of the mail client at once, so that it sees a broken transfer."""

    outcome: str


@frozen
class Report:
    """
    Something an operator may count or read; `fields` hold no secret.  What a peer said is bytes: the owner escapes it.
    """

    event: str
    fields: dict[str, object]


@frozen
class TransactionBegun:
    """A mail transaction begins, and `Transacted` will tell of it."""


@frozen
class Recipient:
    """A forward-path as the client gave it, and the reply to it; `code` is None where none came."""

    path: bytes
    code: int | None
    text: bytes


@frozen
class Transacted:
    """
    A mail transaction is over; whoever hears of it has `Recipient.path` and the like as they were sent.

    `ending` is "accepted", "rejected", "aborted" or "unknown".  `left_out` recipients found no room.  `octets` and
    `sha256` are of the content as it went to the mail server, without stuffed dots; `sha256` is None where it has no
    end.  `code` and `text` are the reply that decided it, None where there was none; it is the mail server's where
    `upstream_said_so`.
    """

    ending: str
    ehlo: bytes
    reverse_path: bytes
    recipients: tuple[Recipient, ...]
    left_out: int
    octets: int
    message_id: bytes | None
    sha256: str | None
    code: int | None
    text: bytes
    upstream_said_so: bool


@frozen
class MaildropVisited:
    """
    What was done in a session of POP3.  `user` is who the client has said it is, where that went to the mail server.

    `octets` are those of the messages retrieved, as they went to the client.  `committed` says whether the mail server
    has carried out the deletions, None where that is not known.
    """

    user: bytes | None
    retrieved: int
    deleted: int
    committed: bool | None
    octets: int


Action = (
    SendDownstream
    | SendUpstream
    | StartTLS
    | OpenUpstream
    | ReleaseUpstream
    | AbortUpstream
    | CloseDownstream
    | AbortDownstream
    | Report
    | TransactionBegun
    | Transacted
)


class Session(Protocol):
    """
    What the owner of a session may rely on; `session/smtp.py` and `session/pop3.py` provide it.
    """

    conceal: Callable[[bytes], bytes]
    """What is done to the text of a reply before it is passed on; its owner knows the secrets that it may hold."""
    policy: Any
    """The habits and bounds that it was made with."""
    recorder: NoRecorder
    """Keeps what the session hears; its owner tells it of what it says to the session."""

    @property
    def reading(self) -> bool:
        """Whether more octets of the mail client are welcome."""

    @property
    def reading_upstream(self) -> bool:
        """Whether more octets of the mail server are welcome."""

    @property
    def waiting(self) -> Waiting:
        """Whose turn it is."""

    @property
    def wait_serial(self) -> int:
        """A number that changes with every new wait."""

    @property
    def has_spoken(self) -> bool:
        """Whether the mail client has ever said a line, or more than fits into one; what it was does not matter."""

    @property
    def helo(self) -> tuple[bytes, bool]:
        """What the mail client called itself last, empty if it has not, and whether that was with EHLO."""

    def start(self) -> None:
        """The mail client is connected (behind TLS where the listener says so)."""

    def downstream_secured(self) -> None:
        """The TLS handshake that `StartTLS` has begun is done; the octets that follow came through it."""

    def receive_downstream(self, chunk: bytes) -> None:
        """Octets of the mail client, cut anywhere."""

    def downstream_ended(self) -> None:
        """The mail client will send no more, yet may still read (half-close)."""

    def downstream_lost(self) -> None:
        """The mail client is gone."""

    def upstream_opened(self, capabilities: object, *, reused: bool, messages: int) -> None:
        """
        `OpenUpstream` has succeeded; `capabilities` is what the mail server offers after its login.

        `reused`: others have used the connection before, and have begun so many `messages` on it.
        """

    def upstream_wanted(self) -> None:
        """Others wait for a connection like this session's, which lets go of it if it is in the middle of nothing."""

    def upstream_failed(self, error: MailProxyError) -> None:
        """`OpenUpstream` has failed."""

    def receive_upstream(self, chunk: bytes) -> None:
        """Octets of the mail server, cut anywhere."""

    def upstream_lost(self, error: MailProxyError) -> None:
        """The connection to the mail server ended without our asking."""

    def expired(self) -> None:
        """The deadline of the current wait has passed."""

    def drain(self) -> None:
        """
        The listener goes away: nothing new is begun.

        Who is in the middle of something finishes it; everybody else is told, and closed at once, with the outcome
        "shutdown".  Once is enough.
        """

    def cut(self, *, last: bool) -> None:
        """
        The time to drain is over: the session ends now, and nothing is completed by that.

        Only who waits for the reply to the end of its mail data, or to its QUIT of POP3, waits on, until `last`.
        """

    def next_action(self) -> Action | None:
        """Take the next thing to do, or None."""

    def untold(self) -> Sequence[Report]:
        """What has happened and nobody has been told of, should the session end now; it is not said again."""

    def account(self) -> Sequence[Transacted | MaildropVisited]:
        """What the ledger has to hear of yet, should the session end now; nothing more is said of it then."""

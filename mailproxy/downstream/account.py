"""
What a session tells the ledger: what it has noted itself, and who it was, from where, and with whom.

Clients and mail servers are looked at while they are there; a record is made when they may be gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred

from mailproxy.downstream.surroundings import Book, Upstream
from mailproxy.downstream.whereabouts import host_of
from mailproxy.ledger.keyed import address_of
from mailproxy.ledger.queueid import queue_id
from mailproxy.ledger.record import ForwardPath, POP3Session, Transaction, encode, readable
from mailproxy.session.actions import MaildropVisited, Transacted


@frozen
class Client:
    """A client that is there: its connection, whether through TLS, and the `place` that it comes from."""

    transport: Any
    place: Any
    secure: bool


class Account:
    """
    Of one session.

    Args:
        book: where it goes.
        session: its number.
    """

    def __init__(self, book: Book, session: str) -> None:
        self._book = book
        self._session = session
        self._begin = 0.0
        self._client: dict[str, Any] = {}
        self._route: dict[str, Any] = {}
        self._user: str | None = None
        self._upstream: Upstream | None = None

    @property
    def open(self) -> bool:
        """Whether anything has begun."""
        return self._begin > 0

    def begun(self, client: Client | None, upstream: Upstream | None) -> None:
        """What will have to be told begins, for this client and with this mail server; None for who is not there."""
        self._begin = self._book.now()
        if client is not None and not self._client:
            self._client = _client(client)
        if upstream is None or upstream is not self._upstream:
            self.met(upstream)

    def secured(self, client: Client) -> None:
        """The client speaks through TLS from now on."""
        self._client = _client(client)

    def met(self, upstream: Upstream | None) -> None:
        """The session has this connection to a mail server from now on, or none."""
        self._upstream = upstream
        self._route = {} if upstream is None else _route(upstream)
        credentials = None if upstream is None else upstream.login.credentials
        self._user = None if credentials is None else credentials.user

    def transacted(self, told: Transacted) -> Deferred[None] | None:
        """A mail transaction is over; what fires when its client may be told that its message is taken."""
        written = self._book.write(encode(self._transaction(told)))
        return written if told.ending == "accepted" else None

    def ended(self, told: Iterable[Transacted | MaildropVisited], outcome: str) -> None:
        """The session is over, and this is still to be told."""
        for each in told:
            if isinstance(each, MaildropVisited):
                self._book.write(encode(self._visit(each, outcome)))
            else:
                self.transacted(each)

    def _transaction(self, told: Transacted) -> Transaction:
        text = None if told.code is None else readable(told.text)
        return Transaction(
            **self._peers(),
            outcome=told.ending,
            ehlo=readable(told.ehlo) if told.ehlo else None,
            reverse_path=self._hidden(told.reverse_path),
            forward_paths=tuple(
                ForwardPath(self._hidden(each.path), each.code, None if each.code is None else self._said(each.text))
                for each in told.recipients
            ),
            forward_paths_left_out=told.left_out,
            octets=told.octets,
            message_id=None if told.message_id is None else readable(told.message_id),
            sha256=told.sha256,
            reply_code=told.code,
            reply_text=None if text is None else self._book.key.hide_in(text),
            reply_by=_who(told),
            queue_id=queue_id(text) if text is not None and told.ending == "accepted" else None,
        )

    def _visit(self, told: MaildropVisited, outcome: str) -> POP3Session:
        user = self._user if told.user is None else readable(told.user)
        return POP3Session(
            **self._peers(),
            outcome=outcome,
            user=None if user is None else self._book.key.hide(user),
            retrieved=told.retrieved,
            deleted=told.deleted,
            committed=told.committed,
            octets=told.octets,
        )

    def _peers(self) -> dict[str, Any]:
        book = self._book
        return {
            "begin": self._begin,
            "end": max(self._begin, book.now()),
            "session": self._session,
            "tenant": book.tenant,
            "destination": book.destination,
            **self._client,
            **self._route,
        }

    def _hidden(self, path: bytes) -> str:
        return self._book.key.hide(readable(address_of(path)))

    def _said(self, text: bytes) -> str:
        return self._book.key.hide_in(readable(text))


def _who(told: Transacted) -> str | None:
    if told.code is None:
        return None
    return "upstream" if told.upstream_said_so else "mailproxy"


def _client(client: Client) -> dict[str, Any]:
    """From where a client comes, and how; a local socket has no address."""
    version, cipher = _tls(client.transport) if client.secure else (None, None)
    return {
        "client_address": host_of(client.place),
        "client_port": getattr(client.place, "port", None),
        "client_tls": version,
        "client_cipher": cipher,
        "client_certificate": _subject(client.transport) if client.secure else None,
    }


def _route(upstream: Upstream) -> dict[str, Any]:
    """Where a mail server is, and how we speak with it."""
    peer = upstream.transport.getPeer()
    version, cipher = _tls(upstream.transport) if upstream.secured else (None, None)
    return {
        "upstream_host": upstream.login.destination.host,
        "upstream_address": host_of(peer),
        "upstream_port": getattr(peer, "port", None),
        "upstream_tls": version,
        "upstream_cipher": cipher,
    }


def _tls(transport: Any) -> tuple[str | None, str | None]:
    """Version and cipher of a connection on which TLS is there."""
    connection = _connection(transport)
    return connection.get_protocol_version_name(), connection.get_cipher_name()


def _subject(transport: Any) -> str | None:
    """Whose certificate the client has shown, if any (RFC 4514)."""
    certificate = _connection(transport).get_peer_certificate()
    return None if certificate is None else certificate.to_cryptography().subject.rfc4514_string()


def _connection(transport: Any) -> Any:
    """OpenSSL's; with Twisted's own layer it is that layer that has it, which stands where a protocol would."""
    handle = transport.getHandle()
    return handle if hasattr(handle, "get_cipher_name") else transport.protocol.getHandle()

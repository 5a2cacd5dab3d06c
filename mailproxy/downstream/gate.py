"""
A listener behind balancers: nobody is talked to before a PROXY header has said who it is.

Theory of operation.  A connection that is accepted gets no session yet, but somebody who waits for the header, with a
deadline and a bound on how many may wait.  When it is there, its address decides about the limits as the connection's
own would, a session is made for it, and takes the connection over:

    unlisted address -> closed at once
    listed -> [implicit TLS, where the header is inside] -> header -> session, which begins TLS itself if that is next

Behind a header that comes before TLS stand octets that OpenSSL has to read from the socket itself.  So the transport is
asked for no more octets than certainly belong to the header.

What is refused is closed without a word: whoever forgot the header would take it for the greeting.  The log folds its
lines, since anybody in a listed network can cause as many as they like.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import attrs
from twisted.internet.protocol import Protocol as TwistedProtocol

from mailproxy.downstream.balancers import Balancers
from mailproxy.downstream.connection import ClientConnection
from mailproxy.downstream.surroundings import Surroundings
from mailproxy.downstream.turnedaway import Crowd
from mailproxy.downstream.whereabouts import place_of, source_of
from mailproxy.errors import BadProxyHeader
from mailproxy.observe.sessions import ListenerLog
from mailproxy.session.encryption import Encryption
from mailproxy.wire.proxyprotocol import Addresses, Header, HeaderParser

Welcome = Callable[[Any, Addresses | None], ClientConnection]
"""Makes what talks to the client at an address; with what a header said, if one did."""


class Refused(Enum):
    """Why a connection is not taken; the value is what the log counts many of a kind as."""

    __hash__ = object.__hash__  # each is one object

    UNLISTED = "from addresses that are not listed (proxy_protocol_from)"
    CROWDED = "while too many waited for their header (max_pending_headers)"
    HEADER = "without a good header"
    LATE = "without a header in time (proxy_header_seconds)"


class Gate:
    """
    Lets in who has a header.

    Args:
        balancers: who they are, and what is expected of them.
        around: of the listener.
        log: of the listener.
        welcome: whom a client gets.
        fewer: called when one connection less waits for its header.
    """

    def __init__(
        self,
        balancers: Balancers,
        around: Surroundings,
        log: ListenerLog,
        welcome: Welcome,
        fewer: Callable[[], None],
    ) -> None:
        self.balancers = balancers
        self.implicit = around.encryption is Encryption.IMPLICIT
        first = Encryption.IMPLICIT if balancers.inside_tls else Encryption.PLAINTEXT
        self._around = attrs.evolve(around, encryption=first)
        self._log = log
        self._welcome = welcome
        self._fewer = fewer
        self._crowd = Crowd(
            around.clock, log, "proxy_header_refused", "PROXY protocol: more connections were refused, {counts}"
        )
        self._draining = False
        self.waiting: dict[AwaitingHeader, None] = {}
        """In the order in which they came."""

    def enter(self, address: Any) -> TwistedProtocol | None:
        """Whoever waits for the header of a connection from there; None where it is closed instead."""
        if not self.balancers.include(address):
            self.refuse(address, Refused.UNLISTED, "its address is not in proxy_protocol_from", "proxy_peer_unlisted")
            return None
        if len(self.waiting) >= self.balancers.most:
            self.refuse(address, Refused.CROWDED, "too many wait for their header already", "too_many_sessions")
            return None
        protocol = AwaitingHeader(self, self._around, address)
        self.waiting[protocol] = None
        return protocol

    def let_in(self, address: Any, header: Header) -> ClientConnection:
        """Whom the client gets that is at the header's address, or else at this one."""
        known = header.addresses
        return self._welcome(address if known is None else source_of(known), known)

    def refuse(self, address: Any, why: Refused, sentence: str, outcome: str) -> None:
        """A connection from there is not taken; when the listener goes away nobody needs to hear why."""
        self._log.refused_connection(outcome)
        if not self._draining:
            self._crowd.note(why, f"PROXY protocol: the connection from {place_of(address)} was refused: {sentence}")

    def missing(self) -> None:
        """A connection ended before its first octet, as those of health checks do: that is counted, not told."""
        self._log.refused_connection("proxy_header_missing")

    def broken(self, *, counted: bool) -> None:
        """An exception that nobody foresaw is being handled; the connection's end may be `counted` already."""
        self._log.crashed("internal error while a PROXY header was awaited", None)
        if not counted:
            self._log.refused_connection("internal_error")

    def gone(self, protocol: AwaitingHeader) -> None:
        """It does not wait any more."""
        self.waiting.pop(protocol, None)
        self._fewer()

    def drain(self) -> None:
        """The listener goes away: who has a header coming is told so behind it, but for those in a handshake."""
        self._draining = True
        for protocol in list(self.waiting):
            protocol.drain()

    def stop(self) -> None:
        """All connections end now."""
        for protocol in list(self.waiting):
            protocol.cut_short("shutdown")

    def silence(self) -> None:
        """What was not said yet is said, and no timer is left."""
        self._crowd.stop()

    def note_outcome(self, outcome: str) -> None:
        """A connection that waited ended for another reason."""
        self._log.refused_connection(outcome)


class AwaitingHeader(ClientConnection):
    """
    A connection whose header is still to come.

    Args:
        gate: decides what becomes of it.
        around: of the listener; TLS comes first only where the header is inside.
        address: of the other end.
    """

    def __init__(self, gate: Gate, around: Surroundings, address: Any) -> None:
        super().__init__(around, hurried=False)
        self._gate = gate
        self._address = address
        self._parser = HeaderParser(gate.balancers.versions)
        self._exact = gate.implicit and not gate.balancers.inside_tls
        self._over = False

    def connectionMade(self) -> None:
        """The balancer is connected."""
        self._ask_for_no_more()
        super().connectionMade()

    def ready(self) -> None:
        """The header may come."""
        self._bound.set(self._gate.balancers.seconds, self._late)

    def dataReceived(self, data: bytes) -> None:
        """The header, or a part of it, and maybe what is behind it."""
        self._parser.feed(data)
        try:
            header = self._parser.next_header()
        except BadProxyHeader as error:
            self._refuse(Refused.HEADER, str(error))
            return
        if header is None:
            self._ask_for_no_more()
        else:
            self._hand_over(header)

    def client_ended(self) -> None:
        """There will be no more of the header."""
        self._ended_early()
        self.give_up()

    def client_gone(self) -> None:
        """The balancer has closed the connection, or we have."""
        self._ended_early()
        self._gate.gone(self)

    def handshake_failed(self, sentence: str) -> None:
        """There will be no header inside TLS."""
        self._refuse(Refused.HEADER, f"no TLS in front of its header: {sentence}")

    def crashed(self) -> None:
        """The listener goes on."""
        self._gate.broken(counted=self._over)
        self._over = True
        self.give_up()

    def drain(self) -> None:
        """The listener goes away: who is not through its handshake will not be."""
        if self._handshaking:
            self.cut_short("shutdown")

    def cut_short(self, outcome: str) -> None:
        """It ends now, and not for its own fault."""
        if not self._over:
            self._over = True
            self._gate.note_outcome(outcome)
        self.give_up()

    def _late(self) -> None:
        self._refuse(Refused.LATE, f"no header within {self._gate.balancers.seconds:g} s")

    def _ended_early(self) -> None:
        if not self._over and not self._parser.beginning:
            self._over = True
            self._gate.missing()
        self._refuse(Refused.HEADER, "it ended inside its header")

    def _refuse(self, why: Refused, sentence: str) -> None:
        if not self._over:
            self._over = True
            outcome = "proxy_header_refused"
            if why is Refused.LATE and not self._parser.beginning:
                outcome = "proxy_header_missing"
            self._gate.refuse(self._address, why, sentence, outcome)
            self.give_up()

    def _ask_for_no_more(self) -> None:
        """Of our own transport's reads the next one does not go beyond the header, where OpenSSL has to do that."""
        if self._exact:
            self.transport.bufferSize = self._parser.wanted

    def _hand_over(self, header: Header) -> None:
        """The connection is the client's from now on, with whatever came behind the header."""
        self._over = True
        self._connected = self._listening = False
        self._bound.clear()
        client, rest = self._gate.let_in(self._address, header), self._parser.take_all()
        if self._exact:
            del self.transport.bufferSize
            assert not rest, "the transport gave more than it was asked for"
        self._gate.gone(self)
        transport = self.transport
        if self._over_tls:
            client.behind_tls()
        if transport.protocol is self:
            transport.protocol = client
        else:  # Twisted's TLS layer is between us
            transport.protocol.wrappedProtocol = client
        client.makeConnection(transport)
        if rest:
            client.dataReceived(rest)

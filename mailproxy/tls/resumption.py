"""
TLS sessions that are taken up again (RFC 8446 §2.2): half of what a connection to a mail server costs is its handshake.

Theory of operation
-------------------

In a resumed handshake the peer shows no certificate.  It proves that it is who it was, by a key that only the two of
us know since then.  So nothing is judged, and what was judged then has to hold still:

- The chain and the name depend on the certificates, on whom we believe, on the host that we want, and on the time.
  The first three are the key to a session, in full: it is offered only in the very context that it was made in, which
  is made anew when the trust changes, and for the very host, judged in the same way.
- Only the time has changed.  A session is dropped when the first certificate of its chain expires.
- Each hour everything is judged once more, by a handshake with all there is to it, so that a certificate that was
  withdrawn, or replaced by one that we would not take, is not believed for ever.

A session is kept only when its owner says so, which is when the login is done: by then the ticket has arrived
(RFC 8446 §4.6.1), and the peer has shown that it is good for something.  Each is used once, the freshest first, so that
nobody can tell that two connections belong together (RFC 8446 §C.4), and there are as many as there were handshakes
at a time.

A handshake that offered a session and came to nothing speaks against sessions: for an hour there are none.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from attrs import frozen
from OpenSSL import SSL

from mailproxy.tls.contexts import bring_large_key, used_large_key
from mailproxy.tls.stepped import SteppedConnection

FULL_AGAIN_SECONDS = 3600.0
"""How long nobody has to show a certificate again; much less than the week of RFC 8446 §4.6.1."""

DEPTH = 32
"""How many sessions are kept: they are of use when as many connections begin at a time."""


@frozen
class Proof:
    """What a full handshake has proved holds from `since` until the first certificate of the chain expires."""

    since: float
    until: float

    def holds(self, now: float) -> bool:
        """Whether it is to be believed now."""
        return self.since <= now < min(self.until, self.since + FULL_AGAIN_SECONDS)


@frozen(eq=False)
class Kept:
    """A session, and what it stands for."""

    session: SSL.Session
    proof: Proof


class Resumption:
    """
    The sessions of one owner, who shares them with nobody: of one tenant with one mail server.

    They all have one key.  The first session with another one takes the place of all.

    Args:
        seconds: the time, as certificates know it.
        depth: how many are kept.
    """

    def __init__(self, seconds: Callable[[], float], depth: int = DEPTH) -> None:
        self._seconds = seconds
        self._key: Hashable = None
        self._kept: deque[Kept] = deque(maxlen=depth)
        self._doubted: float | None = None
        self.wants_large_key = False
        """The peer has asked for another key exchange than we had prepared; the next connection has it prepared."""

    def __len__(self) -> int:
        return len(self._kept)

    def now(self) -> float:
        """The time."""
        return self._seconds()

    def take(self, key: Hashable) -> Kept | None:
        """The freshest session with this very key, for one use."""
        while self._kept and key == self._key:
            kept = self._kept.pop()
            if kept.proof.holds(self._seconds()):
                return kept
        return None

    def put(self, key: Hashable, kept: Kept) -> None:
        """The session may be taken; the oldest goes when there are too many."""
        if self._doubted is not None and abs(self._seconds() - self._doubted) < FULL_AGAIN_SECONDS:
            return
        if key != self._key:
            self._kept.clear()
            self._key = key
        self._kept.append(kept)

    def doubt(self) -> None:
        """There are no sessions for a while."""
        self._doubted = self._seconds()
        self._kept.clear()


class ResumableConnection(SteppedConnection):
    """
    A client connection that may have been resumed, and may be.

    Args:
        context: to be had from `ClientTLS`.
        connection: None for Twisted's layer.
        judged: whether the peer's certificate was judged in this very handshake, and found good.
    """

    def __init__(self, context: SSL.Context, connection: socket.socket | None, judged: Callable[[], bool]) -> None:
        super().__init__(context, connection)
        self._judged = judged
        self._resumption: Resumption | None = None
        self._key: Hashable = None
        self._proof: Proof | None = None

    def resume(self, resumption: Resumption, key: Hashable) -> None:
        """The peer is offered a session, if there is one, and may still want the whole handshake."""
        self._resumption = resumption
        self._key = (self.get_context(), key)
        if resumption.wants_large_key:
            bring_large_key(self)
        kept = resumption.take(self._key)
        if kept is not None:
            self.set_session(kept.session)
            self._proof = kept.proof

    def keep(self) -> None:
        """The session may be resumed by another connection; what is kept of it is told to nobody twice."""
        resumption, self._resumption = self._resumption, None
        if resumption is not None:
            resumption.wants_large_key = used_large_key(self)
        proof = None if resumption is None else self._prove(resumption.now())
        self._proof = proof or self._proof
        session = None if proof is None else self.get_session()
        if resumption is not None and proof is not None and session is not None:
            resumption.put(self._key, Kept(session, proof))
        self._key = None

    @property
    def proven_until(self) -> float | None:
        """When the first certificate of the peer's chain expires; None where nothing is known to be proven."""
        return None if self._proof is None else self._proof.until

    def do_handshake(self) -> None:
        """
        The handshake is done.

        Raises:
            SSL.WantReadError: the peer has to say more.
            SSL.WantWriteError: the socket is full.
            SSL.Error: it came to nothing.
        """
        try:
            super().do_handshake()
        except (SSL.WantReadError, SSL.WantWriteError):
            raise
        except SSL.Error:
            if self._resumption is not None and self._proof is not None:
                self._resumption.doubt()
            raise

    def _prove(self, now: float) -> Proof | None:
        """What this handshake has proved itself, or the one that it has resumed."""
        if not self._judged():
            return self._proof
        chain = self.get_verified_chain(as_cryptography=True)
        return Proof(now, min(each.not_valid_after_utc.timestamp() for each in chain)) if chain else None


def keep_session(transport: Any) -> None:
    """The next connection of the same owner may resume the session of this one; nothing where that cannot be."""
    connection = transport.getHandle()
    if isinstance(connection, ResumableConnection):
        connection.keep()

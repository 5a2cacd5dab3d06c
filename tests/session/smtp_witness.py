"""
An SMTP session, watched from both sides by somebody who believes nothing.

The witness is the session's owner: it hands events in, carries nothing out but writes everything down, and knows by
itself what a client may believe and what a mail server has really said.  What must hold whatever happens is asserted
as soon as it can be; `settle` goes through the whole conversation once more, command by command.
"""

from collections import Counter

from mailproxy.errors import ConnectionLost
from mailproxy.session.actions import (
    AbortDownstream,
    AbortUpstream,
    CloseDownstream,
    OpenUpstream,
    ReleaseUpstream,
    Report,
    SendDownstream,
    SendUpstream,
    StartTLS,
    Transacted,
    TransactionBegun,
    Waiting,
)
from mailproxy.session.encryption import Encryption
from mailproxy.session.smtp import SMTPSession
from mailproxy.wire.smtp import Extensions
from tests.session.smtp_server_side import Server
from tests.session.smtp_walk import Walk

MOST_SILENCES = 200
"""So often nothing may happen until it is over."""

CLIENTS_TURN = frozenset(
    {
        Waiting.DOWNSTREAM_FIRST_COMMAND,
        Waiting.DOWNSTREAM_COMMAND,
        Waiting.DOWNSTREAM_LINE,
        Waiting.DOWNSTREAM_CONTENT,
        Waiting.DOWNSTREAM_HANDSHAKE,
    }
)
SERVERS_TURN = frozenset(
    {
        Waiting.UPSTREAM_REPLY,
        Waiting.UPSTREAM_DATA_REPLY,
        Waiting.UPSTREAM_FINAL_REPLY,
        Waiting.UPSTREAM_RSET_REPLY,
    }
)


class SMTPWitness:
    """
    Args:
        policy: the session's.
        size: the client's octets are handed in in pieces of this size; None for as they come.
        known: what the mail server has offered lately, or None.
    """

    def __init__(self, policy, *, size=None, known=None):
        self.session = SMTPSession(
            policy, lambda: None if known is None else _extensions(known), may_record=lambda: True
        )
        self.policy = policy
        self.size = size
        self.heard = b""
        """What the session was given of the client's octets."""
        self.said = b""
        self.outcome = None
        self.reports = Counter()
        self.upstream = None
        self.answers = []
        self.servers = []
        self.server_octets = 0
        self._unread = []
        self._reading = False
        self._half_closed = False
        self._client_gone = False
        self.tls_at = None
        self._handshaking = False
        self.secure_now = policy.encryption is Encryption.IMPLICIT
        self._said_in_handshake = False
        self._draining = False
        self._fresh = False
        self._serial = 0
        self._begun = False
        self._again = 0
        self.told = []
        """What the ledger has heard of."""
        self._do(self.session.start)

    @property
    def server(self):
        """The mail server that is connected."""
        assert self.upstream == "ready"
        return self.servers[-1]

    @property
    def asked(self):
        """What went to mail servers, but for mail data that was broken off."""
        return [server.log for server in self.servers]

    # Events

    def client(self, octets):
        """The client sends; what is not read stays in its socket, and during a handshake it belongs to TLS."""
        if self._half_closed or self._client_gone or self._handshaking or self.outcome is not None:
            return
        size = self.size or len(octets) or 1
        self._unread += [octets[start : start + size] for start in range(0, len(octets), size)]
        self._read()

    def _read(self):
        if self._reading:
            return
        self._reading = True
        while self._unread and self.session.reading and not self._handshaking and self.outcome is None:
            chunk = self._unread.pop(0)
            self.heard += chunk
            self._do(self.session.receive_downstream, chunk)
        self._reading = False
        if self._handshaking:
            # Octets behind the command that the session has not seen: TLS reads them, and makes nothing of them.
            self._unread.clear()

    def half_close(self):
        if not self._half_closed and not self._client_gone and self.outcome is None and not self._unread:
            self._half_closed = True
            self._do(self.session.downstream_ended)

    def vanish(self):
        if not self._client_gone and self.outcome is None:
            self._client_gone = True
            self._unread.clear()
            self._do(self.session.downstream_lost)

    def secure(self):
        """The client's TLS handshake is done."""
        if self._handshaking:
            self._handshaking = False
            self.secure_now = True
            self._do(self.session.downstream_secured)

    def open(self, *keywords, reused=False):
        """There is a connection; `reused` says that others have had it before, which a fresh one never is."""
        if self.upstream == "opening":
            self.upstream = "ready"
            reused = reused and not self._fresh
            self.servers.append(Server(self.answers, "PIPELINING" in keywords, reused=reused))
            self._do(lambda: self.session.upstream_opened(_extensions(keywords), reused=reused))

    def want(self):
        """Others wait for a connection like ours: it is let go unless something is under way."""
        self._do(self.session.upstream_wanted)
        if self.upstream == "ready":
            waiting = self.session.waiting
            busy = self.server.open or self.server.unanswered or waiting is Waiting.DOWNSTREAM_CONTENT
            assert busy or self._handshaking, "a connection is kept for nothing"

    def refuse(self, error):
        """It has failed."""
        if self.upstream == "opening":
            self.upstream = None
            self._do(self.session.upstream_failed, error)

    def speak(self, octets):
        """The mail server sends."""
        if self.upstream != "ready" or not octets:
            return
        server = self.server
        believable = server.say(octets)
        self.server_octets += len(octets)
        self._do(self.session.receive_upstream, octets)
        if not believable:
            assert self.upstream != "ready" or self.server is not server, "a server that has lied was kept"

    def hang_up(self):
        """The mail server's connection is lost."""
        if self.upstream == "ready":
            self.upstream = None
            self._do(self.session.upstream_lost, ConnectionLost("gone"))

    def expire(self):
        if self.outcome is None:
            self._do(self.session.expired)

    def drain(self):
        if self.outcome is None:
            self._draining = True
            self._do(self.session.drain)

    def cut(self, *, last):
        if self.outcome is None:
            waits = not last and self.session.waiting is Waiting.UPSTREAM_FINAL_REPLY
            self._do(lambda: self.session.cut(last=last))
            assert (self.outcome is None) == waits, "who may wait on and who may not"

    def come_late(self):
        """Whatever is heard behind the end changes nothing."""
        session = self.session
        assert self.outcome is not None
        late = (session.downstream_ended, session.downstream_lost, session.expired, session.drain)
        for event in (*late, session.upstream_wanted):
            self._do(event)
        self._do(session.receive_downstream, b"NOOP\r\n")
        self._do(session.receive_upstream, b"250 late\r\n")
        self._do(session.upstream_failed, ConnectionLost("late"))
        self._do(session.upstream_lost, ConnectionLost("late"))
        self._do(session.downstream_secured)
        for last in (False, True):
            self._do(lambda last=last: session.cut(last=last))

    # Actions

    def _do(self, hear, *arguments):
        hear(*arguments)
        while (action := self.session.next_action()) is not None:
            assert self.outcome is None or isinstance(action, Report), f"{action} behind the end"
            _DEEDS[type(action)](self, action)
        self._look()
        self._read()

    def _send_downstream(self, action):
        assert action.raw
        self._said_in_handshake |= self._handshaking
        self.said += action.raw

    def _send_upstream(self, action):
        assert action.raw
        before = len(self.server.unanswered)
        self.server.hear(action.raw, len(self.heard))
        if self._draining:
            assert not any(line[:4] == b"MAIL" for line in self.server.unanswered[before:]) or self._retries()

    def _retries(self):
        """Whether MAIL goes out once more because a connection that had done its work before was lost."""
        return len(self.servers) > 1

    def _open_upstream(self, action):
        assert self.upstream is None
        self._fresh = action.fresh
        if action.fresh:
            self._again += 1
            last = self.servers[-1]
            assert last.reused or last.last_data is not None, "another one in place of one that was fresh"
            assert any(line[:4] == b"MAIL" for line in last.log)
        assert self.secure_now or self.policy.encryption is not Encryption.REQUIRED, "a login before TLS"
        self.upstream = "opening"

    def _leave_upstream(self, action):
        assert self.upstream is not None
        if isinstance(action, ReleaseUpstream):
            assert self.server.believable
            assert self.server.unanswered == []
            assert self.server.data is None
            assert action.reset == self.server.open, "RSET goes with a transaction, and only with one"
            assert action.messages == self.server.begun
            assert (action.taken, action.refusals) == (self.server.taken, self.server.refusals)
            assert not (action.sound and self.server.half_said), "octets that nobody asked for are left to others"
        self.upstream = None

    def _start_tls(self, _action):
        assert self.policy.encryption.by_command
        assert not self.secure_now
        self._handshaking = True
        self.tls_at = len(self.heard)

    def _end(self, action):
        assert self.outcome is None
        self.outcome = action.outcome
        assert isinstance(action, CloseDownstream) or self._handshaking, "SMTP always has a last word"

        rest = self.session.account()
        assert len(rest) == self._begun, "what was under way is told of at the end"
        assert self.session.account() == []
        self.told += rest
        self._begun = False
        asked = sum(server.begun for server in self.servers)
        assert asked <= len(self.told) + self._again, "each MAIL is on record"

    def _report(self, action):
        self.reports[action.event] += 1

    def _begin(self, _action):
        assert not self._begun, "a transaction begins inside of another"
        self._begun = True

    def _tell(self, action):
        assert self._begun, "a transaction is told of twice, or never began"
        self._begun = False
        self.told.append(action)
        if action.ending == "accepted":
            assert action.upstream_said_so
            assert action.code // 100 == 2
        assert (action.ending in ("accepted", "unknown")) <= (action.sha256 is not None)

    # What holds at any moment

    def _look(self):
        session = self.session
        waiting = session.waiting
        assert session.wait_serial >= self._serial
        self._serial = session.wait_serial
        assert (waiting is Waiting.NOBODY) == (self.outcome is not None)
        if waiting in CLIENTS_TURN:
            assert session.reading, "it waits for octets that it does not read"
            assert not self._client_gone
            assert not self._half_closed or waiting is Waiting.DOWNSTREAM_HANDSHAKE
        # Only a last word: it goes through TLS, or nowhere.
        assert not self._said_in_handshake or self.outcome is not None
        if waiting is Waiting.UPSTREAM_LOGIN:
            assert self.upstream == "opening"
        if waiting in SERVERS_TURN:
            assert self.server.unanswered
        if self.outcome is not None:
            assert self.upstream is None, "the mail server's connection was forgotten"
        between = waiting in CLIENTS_TURN and waiting is not Waiting.DOWNSTREAM_CONTENT
        if self._draining and between and self.upstream == "ready":
            assert self.server.open, "there is nothing to wait for any more"

    # The whole conversation

    def silence(self):
        """Nobody says anything any more."""
        for _ in range(MOST_SILENCES):
            if self.outcome is not None:
                return
            if self.upstream == "opening":
                self.refuse(ConnectionLost("gone"))
            else:
                self.expire()
        raise AssertionError(f"it still waits for {self.session.waiting}")

    def settle(self):
        """Each reply that the client got answers a command, in order, and promises nothing that is ours to promise."""
        Walk(self).go()


def _extensions(keywords):
    return Extensions(b"mail.test", dict(keyword.partition("=")[::2] for keyword in keywords))


_DEEDS = {
    SendDownstream: SMTPWitness._send_downstream,
    SendUpstream: SMTPWitness._send_upstream,
    OpenUpstream: SMTPWitness._open_upstream,
    ReleaseUpstream: SMTPWitness._leave_upstream,
    AbortUpstream: SMTPWitness._leave_upstream,
    StartTLS: SMTPWitness._start_tls,
    CloseDownstream: SMTPWitness._end,
    AbortDownstream: SMTPWitness._end,
    Report: SMTPWitness._report,
    TransactionBegun: SMTPWitness._begin,
    Transacted: SMTPWitness._tell,
}

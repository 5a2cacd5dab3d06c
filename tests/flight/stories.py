"""
Sessions that were recorded: driven the way their owner drives them, without sockets.
"""

from __future__ import annotations

from mailproxy.errors import ConnectionLost
from mailproxy.flight.flights import Flight
from mailproxy.session.actions import AbortDownstream, CloseDownstream
from mailproxy.session.pop3 import POP3Session
from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.session.recording import Event, Recorder
from mailproxy.session.smtp import SMTPSession
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.pop3 import POP3Capabilities
from mailproxy.wire.smtp import Extensions

OFFERED = Extensions(b"mx.test", {"PIPELINING": "", "8BITMIME": "", "SIZE": "10000000"})
CAPABLE = POP3Capabilities({"TOP": (), "UIDL": ()})


class Recorded:
    """
    A session, and what its owner records of what it tells it; each method carries out what is decided.

    `said` is what the client was told, `sent` what the mail server was.
    """

    def __init__(self, session):
        self.session = session
        self.recorder = session.recorder
        self.outcome = None
        self.said = self.sent = b""

    @classmethod
    def smtp(cls, *, known=None, may_record=None, **policy):
        policy = SMTPPolicy("proxy.test", **policy)
        return cls(SMTPSession(policy, lambda: known, may_record=may_record, recorder=Recorder()))

    @classmethod
    def pop3(cls, *, may_record=None, **policy):
        return cls(POP3Session(POP3Policy(**policy), may_record=may_record, recorder=Recorder()))

    def _carry_out(self):
        while (action := self.session.next_action()) is not None:
            self.said += action.raw if type(action).__name__ == "SendDownstream" else b""
            self.sent += action.raw if type(action).__name__ == "SendUpstream" else b""
            if self.outcome is None and isinstance(action, CloseDownstream | AbortDownstream):
                self.outcome = action.outcome
        return self

    def start(self):
        self.recorder.note(Event.START)
        self.session.start()
        return self._carry_out()

    def client(self, *chunks):
        for chunk in chunks:
            self.recorder.arrived(Event.CLIENT, len(chunk))
            self.session.receive_downstream(chunk)
            self._carry_out()
        return self

    def server(self, *chunks):
        for chunk in chunks:
            self.recorder.arrived(Event.SERVER, len(chunk))
            self.session.receive_upstream(chunk)
            self._carry_out()
        return self

    def opened(self, capabilities, *, reused=False, messages=0):
        self.recorder.refer(Event.OPENED, capabilities, b"reused %d" % messages if reused else b"")
        self.session.upstream_opened(capabilities, reused=reused, messages=messages)
        return self._carry_out()

    def failed(self, error):
        self.recorder.refer(Event.FAILED, error)
        self.session.upstream_failed(error)
        return self._carry_out()

    def lost(self, error):
        self.recorder.refer(Event.LOST, error)
        self.session.upstream_lost(error)
        return self._carry_out()

    def tell(self, event, number=0):
        self.recorder.note(event, number)
        tell = {
            Event.EXPIRED: self.session.expired,
            Event.CLIENT_LOST: self.session.downstream_lost,
            Event.CLIENT_ENDED: self.session.downstream_ended,
            Event.DRAIN: self.session.drain,
            Event.SECURED: self.session.downstream_secured,
        }[event]
        tell()
        return self._carry_out()

    def end(self, outcome):
        """From outside."""
        self.recorder.note(Event.OWNER, 0, outcome.encode())
        self.outcome = outcome
        return self

    def flight(self, *, session="00000a", client="127.0.0.1:5000", ended=1_795_000_000.0, trouble=None):
        ledger = self.session.policy is not None and self._ledger
        return Flight(session, client, ended, self.outcome, trouble, self.session.policy, ledger, self.recorder)

    @property
    def _ledger(self):
        return any(frame.event is Event.RECORDABLE for frame in self.recorder.frames())


def smtp_in_transaction(**more):
    """An SMTP session that has come as far as RCPT, with a fresh connection."""
    told = Recorded.smtp(**more).start().client(b"EHLO client.test\r\n").opened(OFFERED)
    told.client(b"MAIL FROM:<a@example.com>\r\n").server(b"250 2.1.0 sender\r\n")
    return told.client(b"RCPT TO:<b@example.com>\r\n").server(b"250 2.1.5 recipient\r\n")


def sends(told, body=b"Subject: x\r\n\r\nHello\r\n"):
    """It sends a message behind that, which is taken."""
    told.client(b"DATA\r\n").server(b"354 go on\r\n")
    return told.client(body + b".\r\n").server(b"250 2.0.0 queued\r\n")


def lost_in_data():
    """The mail server is gone in the middle of the mail data; the client hears of it, and leaves."""
    told = smtp_in_transaction().client(b"DATA\r\n").server(b"354 go on\r\n").client(b"Subject: x\r\n\r\nHel")
    told.lost(ConnectionLost("the mail server closed the connection"))
    return told.client(b"lo\r\n.\r\nQUIT\r\n")

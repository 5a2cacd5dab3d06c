"""
Conversations as scripts: what each side sends, what it gets, and what the session asks of its owner.

A script has one step a line.  A step that is not met fails with its line's number and text.

    C: text     the client sends a line                 c: text     it sends just these octets (`\\r`, `\\n`, `\\x00`)
    M: text     the mail server sends a line            m: text     it sends just these octets
    S: text     the client is sent a line               s: text     it is sent just these octets
    P: text     the mail server is sent a line          p: text     it is sent just these octets
    > event     start, secured, opened, failed ERROR, client ended, client lost, server lost, expired, drain, cut,
                cut last
    = action    open, tls, abort server, release server, close OUTCOME, abort OUTCOME
    ? word      whose turn it is, by the value of `Waiting`
    # text      a remark

Everything that an input has caused must have been met before the next input, and at the end.
"""

import codecs

from mailproxy import errors
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
)

_ACTIONS = {
    OpenUpstream: lambda _: "open",
    StartTLS: lambda _: "tls",
    AbortUpstream: lambda _: "abort server",
    ReleaseUpstream: lambda _: "release server",
    CloseDownstream: lambda action: f"close {action.outcome}",
    AbortDownstream: lambda action: f"abort {action.outcome}",
}


class Script:
    """
    Drives one session.

    Args:
        session: it has not been started.
        capabilities: what `> opened` hands over.
        size: octets are handed in in pieces of this size; None for whole.
    """

    def __init__(self, session, capabilities, *, size=None):
        self.session = session
        self.capabilities = capabilities
        self.size = size
        self.reports = []
        self._caused = []
        """What the session did and no step has met yet: ("S" or "P", octets) or ("=", words), neighbours merged."""

    def play(self, text):
        """Play all steps; returns the script, so that one can go on from there."""
        for number, line in enumerate(text.strip("\n").split("\n"), 1):
            step = line.strip()
            if step and not step.startswith("#"):
                self._where = f"line {number}: {step}"
                self._step(step[0], step[1:].removeprefix(":").removeprefix(" "))
        self._where = "at the end"
        self._nothing_left()
        return self

    def _step(self, kind, text):
        if kind in "CcMmSsPp":
            octets = codecs.escape_decode(text.encode("latin-1"))[0] + (b"\r\n" if kind.isupper() else b"")
            if kind in "SsPp":
                self._meet(kind.upper(), octets)
            else:
                self._nothing_left()
                self._receive(kind.upper(), octets)
        elif kind == "=":
            self._meet("=", text)
        elif kind == "?":
            assert self.session.waiting.value == text, f"{self._where}: it is {self.session.waiting.value}"
        elif kind == ">":
            self._nothing_left()
            self._event(text)
        else:
            raise AssertionError(f"{self._where}: no such step")

    def _receive(self, kind, octets):
        receive = self.session.receive_downstream if kind == "C" else self.session.receive_upstream
        size = self.size or len(octets) or 1
        for start in range(0, len(octets), size):
            receive(octets[start : start + size])
            self._collect()

    def _event(self, text):
        word, _, error = text.partition(" ")
        events = {
            "start": self.session.start,
            "expired": self.session.expired,
            "secured": self.session.downstream_secured,
            "drain": self.session.drain,
            "cut": lambda: self.session.cut(last=False),
            "cut last": lambda: self.session.cut(last=True),
            "opened": lambda: self.session.upstream_opened(self.capabilities),
            "failed": lambda: self.session.upstream_failed(make_error(error)),
            "client ended": self.session.downstream_ended,
            "client lost": self.session.downstream_lost,
            "server lost": lambda: self.session.upstream_lost(errors.ConnectionLost("connection reset")),
        }
        events[text if text in events else word]()
        self._collect()

    def _collect(self):
        while (action := self.session.next_action()) is not None:
            if isinstance(action, Report):
                self.reports.append(action)
            elif isinstance(action, SendDownstream | SendUpstream):
                self._note("S" if isinstance(action, SendDownstream) else "P", action.raw)
            else:
                self._note("=", _ACTIONS[type(action)](action))

    def _note(self, kind, what):
        if kind != "=" and self._caused and self._caused[-1][0] == kind:
            what = self._caused.pop()[1] + what
        self._caused.append((kind, what))

    def _meet(self, kind, wanted):
        assert self._caused, f"{self._where}: nothing happened"
        got_kind, got = self._caused.pop(0)
        if kind == got_kind and kind != "=" and got.startswith(wanted) and got != wanted:
            self._caused.insert(0, (kind, got[len(wanted) :]))
            got = wanted
        assert (got_kind, got) == (kind, wanted), f"{self._where}: it was {got_kind} {got!r}"

    def _nothing_left(self):
        assert not self._caused, f"{self._where}: before it there was also {self._caused!r}"


def make_error(name):
    """The error of this class name; `RefusedLogin later IN-USE` is a temporary one with its response code."""
    kind, *details = name.split()
    if kind == "RefusedLogin":
        code = details[1] if len(details) > 1 else None
        return errors.RefusedLogin("secret words", temporary=details[:1] == ["later"], response_code=code)
    if kind == "DestinationUnusable":
        return errors.DestinationUnusable("mail.pop3.port", "secret words")
    return getattr(errors, kind)("secret words of host.example")

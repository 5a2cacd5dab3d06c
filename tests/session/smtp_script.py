"""Conversations of an SMTP session as scripts, one step a line; a failure names the line.

    C: text      the client sends the line (with CRLF)     c: octets   the same without CRLF, escapes as in Python
S: text      the client is sent exactly this line next
U: text      the mail server sends the line                 u: octets   without CRLF
M: text      the mail server is sent exactly this line next m: octets   exactly these octets next
open [KEYWORD ...]     the session asks for the mail server, and gets one that offers these keywords; before them there
                       may be `reused` for one that others have used, and `fresh` where it has to ask for another one;
                       `ask` is only asking, and `opened` and `failed` are only the answer
fail [fresh] CLASS     the session asks for the mail server, and this error comes
lost / eof / gone      the mail server is lost / the client half-closes / the client is gone
expire WAITING         the session waits for that, and the deadline passes
abort / release / ask  the mail server's connection is aborted / released / asked for next
tls / secured          TLS with the client is asked for next / is there
wanted                 others wait for a connection like the session's
drain / cut / cut last the listener goes away / the time for that is over / also for who waits for the final reply
close OUTCOME          the client's connection is closed with that outcome next
break OUTCOME          it is aborted with that outcome next
quiet                  nothing else was decided
"""

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
    Waiting,
)
from mailproxy.session.smtp import SMTPSession
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.smtp import Extensions


def extensions(*keywords):
    return Extensions(b"mail.test", dict(each.partition("=")[::2] for each in keywords))


def make_error(name):
    if name.startswith("RefusedLogin"):
        return errors.RefusedLogin("refused", temporary=name.endswith("temporary"))
    if name == "DestinationUnusable":
        return errors.DestinationUnusable("Type", "no")
    return getattr(errors, name)("it failed")


class Script:
    """
    Runs a script against a session; `cut` says how octets are cut into chunks, `known` what others were offered lately.
    """

    def __init__(self, policy=None, cut=None, known=None):
        self.session = SMTPSession(policy or SMTPPolicy("proxy.test"), lambda: known)
        self.cut = cut or (lambda data: [data])
        self.down = b""
        self.up = b""
        self.deeds = []
        self.reports = []
        self.session.start()
        self._collect()

    def _collect(self):
        while (action := self.session.next_action()) is not None:
            if isinstance(action, SendDownstream):
                self.down += action.raw
            elif isinstance(action, SendUpstream):
                self.up += action.raw
            elif isinstance(action, Report):
                self.reports.append(action.event)
            else:
                self.deeds.append(action)

    def client(self, octets):
        for chunk in self.cut(octets):
            self.session.receive_downstream(chunk)
            self._collect()

    def server(self, octets):
        for chunk in self.cut(octets):
            self.session.receive_upstream(chunk)
            self._collect()

    def run(self, script):
        for number, line in enumerate(script.strip("\n").splitlines(), 1):
            step = line.strip()
            if step and not step.startswith("#"):
                try:
                    self._step(*(step.split(" ", 1) if " " in step else (step, "")))
                except AssertionError as error:
                    raise AssertionError(f"line {number}: {step!r}: {error}") from error
        return self

    def _step(self, verb, rest):
        raw = rest.encode("utf-8").decode("unicode_escape").encode("latin-1")
        act = {
            "C:": lambda: self.client(rest.encode() + b"\r\n"),
            "c:": lambda: self.client(raw),
            "U:": lambda: self.server(rest.encode() + b"\r\n"),
            "u:": lambda: self.server(raw),
            "S:": lambda: self._take("down", rest.encode() + b"\r\n"),
            "M:": lambda: self._take("up", rest.encode() + b"\r\n"),
            "m:": lambda: self._take("up", raw),
            "open": lambda: self._asked(rest) or self._opened(rest),
            "opened": lambda: self._opened(rest),
            "fail": lambda: self._asked(rest) or self._failed(rest),
            "failed": lambda: self._failed(rest),
            "lost": lambda: self.session.upstream_lost(errors.ConnectionLost("gone")),
            "eof": self.session.downstream_ended,
            "gone": self.session.downstream_lost,
            "tls": lambda: self._deed(StartTLS()),
            "secured": self.session.downstream_secured,
            "drain": self.session.drain,
            "wanted": self.session.upstream_wanted,
            "cut": lambda: self.session.cut(last=bool(rest)),
            "expire": lambda: self._expire(rest),
            "abort": lambda: self._deed(AbortUpstream()),
            "release": lambda: self._released(rest),
            "ask": lambda: self._deed(OpenUpstream(fresh=rest == "fresh")),
            "close": lambda: self._deed(CloseDownstream(rest)),
            "break": lambda: self._deed(AbortDownstream(rest)),
            "quiet": self._quiet,
        }[verb]
        act()
        self._collect()

    def _take(self, side, wanted):
        have = getattr(self, side)
        assert have.startswith(wanted), f"got {have!r}"
        setattr(self, side, have[len(wanted) :])

    def _deed(self, wanted):
        assert self.deeds, "nothing was decided"
        assert self.deeds.pop(0) == wanted, f"{self.deeds!r} follows"

    def _released(self, rest):
        """
        With `2 reset unsound` behind it after two messages, in a transaction, and not to be used again; `no:3` where
        the mail server has said no three times since it last took a message.
        """
        assert self.deeds, "nothing was decided"
        deed = self.deeds.pop(0)
        assert isinstance(deed, ReleaseUpstream), f"{deed!r} and {self.deeds!r} follow"
        if rest:
            words = [str(deed.messages), *(["reset"] if deed.reset else []), *([] if deed.sound else ["unsound"])]
            words += [f"no:{deed.refusals}"] if deed.refusals else []
            assert rest.split() == words, f"released: {words}"

    def _asked(self, rest):
        self._deed(OpenUpstream("fresh" in rest.split()))

    def _opened(self, rest):
        """With `reused` where others have had it, and `begun:2` where they have begun two messages on it."""
        words = rest.split()
        begun = sum(int(word.removeprefix("begun:")) for word in words if word.startswith("begun:"))
        keywords = [word for word in words if word not in ("fresh", "reused") and not word.startswith("begun:")]
        self.session.upstream_opened(extensions(*keywords), reused="reused" in words, messages=begun)

    def _failed(self, rest):
        self.session.upstream_failed(make_error(rest.removeprefix("fresh ")))

    def _expire(self, rest):
        assert self.session.waiting is Waiting[rest], self.session.waiting
        self.session.expired()

    def _quiet(self):
        assert (self.down, self.up, self.deeds) == (b"", b"", [])


def play(script, policy=None, cut=None, known=None):
    return Script(policy, cut, known).run(script)

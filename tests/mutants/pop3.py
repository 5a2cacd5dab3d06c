"""
Guards of POP3 sessions: what is deleted, where a response ends.
"""

from __future__ import annotations

from tests.mutants.guard import Guard

SESSION = ("session",)

POP3 = (
    Guard(
        "QUIT goes to the mail server only because the client said so",
        "session/pop3.py",
        before="""
if self._upstream_there:
    self._act(AbortUpstream())
""",
        after="""
if self._upstream_there:
    self._act(SendUpstream(b'QUIT\\r\\n'))
    self._act(AbortUpstream())
""",
        tests=SESSION,
        seeds=100,
    ),
    Guard(
        "only the mail server ends a response",
        "session/pop3.py",
        before="""
self._finish(AbortDownstream(error.outcome))
""",
        after="""
self._say(b'\\r\\n.\\r\\n')
self._finish(CloseDownstream(error.outcome))
""",
        tests=SESSION,
        seeds=400,
    ),
    Guard(
        "a response that nobody asked for is passed on to nobody",
        "session/pop3.py",
        before="""
    self.recorder.note(Event.MALFORMED, len(chunk))
    self._desync(chunk)
""",
        after="""
    self.recorder.note(Event.MALFORMED, len(chunk))
    self._say(chunk)
""",
        tests=SESSION,
    ),
    Guard(
        "the commands that are relayed are a closed list",
        "session/pop3_commands.py",
        before="if command.keyword not in RELAYED or (",
        after="if (",
        tests=SESSION,
    ),
    Guard(
        "a command is relayed only as its grammar has it",
        "session/pop3_commands.py",
        before="""
if not command.fits:
    return _INVALID_ARGUMENT
""",
        after="",
        tests=SESSION,
        seeds=200,
    ),
    Guard(
        "what the mail server says is passed on without our secret",
        "session/pop3.py",
        before="relayed(self.conceal(line))",
        after="relayed(line)",
        tests=SESSION,
    ),
    Guard(
        "what a client sends ahead has a limit in POP3",
        "session/pop3.py",
        before="self.reading = len(self._lines) < self.policy.max_queued_octets",
        after="self.reading = True",
        tests=SESSION,
    ),
    Guard(
        "over-long lines have a limit",
        "session/pop3.py",
        before="""
if self._lines.skipped > self.policy.max_skipped_octets:
""",
        after="""
if False:
""",
        tests=SESSION,
    ),
    Guard(
        "nothing may stand behind STLS",
        "session/pop3.py",
        before="""
if len(self._lines):
    self._agenda.report("bad_pipeline")
""",
        after="""
if False:
    self._agenda.report("bad_pipeline")
""",
        tests=("session/test_pop3_tls.py",),
    ),
    Guard(
        "nothing is relayed before the TLS that is required in POP3",
        "session/pop3_commands.py",
        before="return self._before_tls(command) if self.locked else self._run(command)",
        after="return self._run(command)",
        tests=("session/test_pop3_tls.py",),
    ),
    Guard(
        "no maildrop is opened before the TLS that is required",
        "session/pop3.py",
        before="""
if self._commands.locked:
    self._greet()
""",
        after="""
if False:
    self._greet()
""",
        tests=("session/test_pop3_tls.py",),
        seeds=100,
    ),
    Guard(
        "a response is not cut in two by a drain",
        "session/pop3.py",
        before="""
if self._draining and self._turn in _AT_REST:
""",
        after="""
if self._draining:
""",
        tests=("session/test_pop3_drain.py",),
    ),
    Guard(
        "who waits for the response to QUIT is not cut off with the others",
        "session/pop3.py",
        before="""
elif self._turn is not Waiting.UPSTREAM_QUIT_REPLY:
    self._shut_down(SHUTDOWN)
""",
        after="""
elif True:
    self._shut_down(SHUTDOWN)
""",
        tests=("session/test_pop3_drain.py",),
    ),
)

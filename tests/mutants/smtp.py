"""
Guards of SMTP sessions: whose reply it is, what is mail data, when it ends.
"""

from __future__ import annotations

from tests.mutants.guard import Guard

SESSION = ("session",)

SMTP = (
    Guard(
        "the final dot goes out only when every check has passed",
        "session/smtp_upstream.py",
        before="""
if self._content.verdict:
    self.transaction = Transaction.NONE
    self.notes.ruled(self._content.verdict)
    self.notes.end("rejected")
    return False
""",
        after="",
        tests=SESSION,
    ),
    Guard(
        "mail data that is refused aborts the connection",
        "session/smtp_upstream.py",
        before="""
if content.verdict and not spoiled:
    self.abandon()
""",
        after="",
        tests=SESSION,
        seeds=200,
    ),
    Guard(
        "mail data behind the verdict goes nowhere",
        "session/smtp_content.py",
        before='sound, clean = (0, b"") if self.verdict else self._checked(body)',
        after="sound, clean = (0, body) if self.verdict else self._checked(body)",
        tests=SESSION,
    ),
    Guard(
        "mail data has a size limit",
        "session/smtp_content.py",
        before="return 0 < self._max_octets < keeper.octets",
        after="return False",
        tests=SESSION,
        seeds=200,
    ),
    Guard(
        "what is read of refused mail data has a limit",
        "session/smtp.py",
        before="elif content.discarded > self.policy.max_discarded_octets:",
        after="elif False:",
        tests=SESSION,
    ),
    Guard(
        "a declared size has a limit",
        "session/smtp_ehlo.py",
        before="""
if max_octets and int(value) > max_octets:
""",
        after="""
if False:
""",
        tests=SESSION,
    ),
    Guard(
        "mail data whose mail server is lost gets no end",
        "session/smtp_upstream.py",
        before="""
if self.receiving:
    self._content.spoil(LOST_IN_DATA)
elif not self._replies.awaited and self.transaction is Transaction.OPEN:
""",
        after="""
if not self._replies.awaited and self.transaction is Transaction.OPEN:
""",
        tests=SESSION,
    ),
    Guard(
        "a client that is lost in mail data takes the connection along",
        "session/smtp_upstream.py",
        before="if self.state is Upstream.READY and not self._replies.awaited and not self.receiving:",
        after="if self.state is Upstream.READY and not self._replies.awaited:",
        tests=SESSION,
    ),
    Guard(
        "an early positive reply is no success",
        "session/smtp_upstream.py",
        before="believed = reply.negative and reply.code not in _OUR_LOGIN",
        after="believed = reply.code not in _OUR_LOGIN",
        tests=SESSION,
        seeds=300,
    ),
    Guard(
        "a positive reply to DATA is none",
        "session/smtp_upstream.py",
        before="""
return reply.code == 354 or reply.negative
""",
        after="""
return True
""",
        tests=SESSION,
        seeds=300,
    ),
    Guard(
        "a reply belongs to a command that can have it",
        "session/smtp_upstream.py",
        before="""
return reply.code // 100 != 3 and reply.code not in _OUT_OF_PLACE
""",
        after="""
return True
""",
        tests=SESSION,
    ),
    Guard(
        "a reply that nobody asked for is passed on to nobody",
        "session/smtp_upstream.py",
        before="""
else:
    self._desync()
""",
        after="",
        tests=SESSION,
    ),
    Guard(
        "half a reply that nobody asked for is not taken for the next one",
        "session/smtp_upstream.py",
        before="out_of_turn = self._parser.pending and not self._replies.awaited",
        after="out_of_turn = False",
        tests=SESSION,
        seeds=500,
    ),
    Guard(
        "half a reply in mail data is not taken for the one to its end",
        "session/smtp_upstream.py",
        before="if not self._content.verdict and self._parser.pending:",
        after="if False:",
        tests=SESSION,
    ),
    Guard(
        "a desynchronised connection is aborted",
        "session/smtp_upstream.py",
        before="""
self._agenda.report("upstream_dropped", reason=str(error))
self.abandon()
""",
        after="""
self._agenda.report("upstream_dropped", reason=str(error))
""",
        tests=SESSION,
    ),
    Guard(
        "a mail server that does not reset is not asked any more",
        "session/smtp_upstream.py",
        before="""
self._replies.settle(OK)
self.abandon()
""",
        after="""
self._replies.settle(OK)
""",
        tests=SESSION,
    ),
    Guard(
        "replies are given in order",
        "session/reply_queue.py",
        before="""
self._owed.append(Owed(None, raw, outcome, stage=self.stage, upstream=upstream))
""",
        after="""
self._owed.insert(0, Owed(None, raw, outcome, stage=self.stage, upstream=upstream))
""",
        tests=SESSION,
        seeds=100,
    ),
    Guard(
        "MAIL is tried again only where a message went through before",
        "session/smtp_upstream.py",
        before="return self._reused and bool(self._replies.awaited)",
        after="return bool(self._replies.awaited)",
        tests=SESSION,
    ),
    Guard(
        "MAIL is tried again only where the mail server said nothing",
        "session/smtp_upstream.py",
        before=" and not (self._parser.pending or isinstance(error, UpstreamTimeout | Violation)):",
        after=":",
        tests=SESSION,
    ),
    Guard(
        "what the mail server says of our login is not the client's",
        "session/smtp_upstream.py",
        before="""
if reply.code in _OUR_LOGIN:
    self._agenda.report("upstream_login_refused", code=reply.code, text=reply.text)
""",
        after="""
if False:
    self._agenda.report("upstream_login_refused", code=reply.code, text=reply.text)
""",
        tests=SESSION,
    ),
    Guard(
        "mail data that comes ahead of a refused DATA is no commands",
        "session/smtp_upstream.py",
        before="""
elif self._replies.awaited[0].ahead:
    self._agenda.report("bad_pipeline")
""",
        after="""
elif False:
    self._agenda.report("bad_pipeline")
""",
        tests=SESSION,
    ),
    Guard(
        "nothing may stand behind DATA, EHLO, STARTTLS",
        "session/smtp_commands.py",
        before='if ahead and (command.verb in LAST_OF_A_GROUP or (command.verb == b"DATA" and',
        after='if False and (command.verb in LAST_OF_A_GROUP or (command.verb == b"DATA" and',
        tests=SESSION,
        seeds=600,
    ),
    Guard(
        "who has to wait for a reply says nothing",
        "session/smtp.py",
        before="""
elif self._must_be_silent:
    self._desync("downstream_desync")
""",
        after="",
        tests=SESSION,
    ),
    Guard(
        "a chunk of BDAT is never read as commands",
        "session/smtp_commands.py",
        before="return Next.CHUNK",
        after="return self.refuse_chunk() or Next.COMMAND",
        tests=SESSION,
        seeds=500,
    ),
    Guard(
        "another protocol is told so and heard no further",
        "session/smtp_input.py",
        before="""
if begins_other_protocol(line):
""",
        after="""
if False:
""",
        tests=SESSION,
    ),
    Guard(
        "the client's AUTH= is not ours",
        "session/smtp_ehlo.py",
        before='kept = tuple(each for each in parameters if each.keyword != "AUTH")',
        after="kept = tuple(parameters)",
        tests=SESSION,
    ),
    Guard(
        "a parameter that was not announced goes nowhere",
        "session/smtp_ehlo.py",
        before="""
if known.get(each.keyword) not in keywords:
""",
        after="""
if False:
""",
        tests=SESSION,
    ),
    Guard(
        "recipients have a limit",
        "session/smtp_commands.py",
        before="if self._policy.max_recipients and self._server.recipients >= self._policy.max_recipients:",
        after="if False:",
        tests=SESSION,
    ),
    Guard(
        "errors have a limit",
        "session/smtp_answers.py",
        before="""
if self._errors >= self._policy.max_errors:
""",
        after="""
if False:
""",
        tests=SESSION,
    ),
    Guard(
        "idle talk has a limit",
        "session/smtp_answers.py",
        before="""
if self._junk > self._policy.max_junk_commands:
""",
        after="""
if False:
""",
        tests=SESSION,
    ),
    Guard(
        "what a client sends ahead has a limit",
        "session/smtp.py",
        before="return len(self._input) < self.policy.max_buffered_octets or self._server.receiving or self._deaf",
        after="return True",
        tests=SESSION,
    ),
    Guard(
        "a session ends once",
        "observe/sessions.py",
        before="""
if not self._ended:
    self._ended = True
    self._count_end(outcome)
""",
        after="""
if True:
    self._count_end(outcome)
""",
        tests=("observe/test_sessions.py",),
    ),
    Guard(
        "TLS at a command makes the client begin anew",
        "session/smtp.py",
        before="""
self._input = CommandInput(self.policy)
self._commands = self._new_commands(secure=True)
""",
        after="""
self._commands._secure = True
""",
        tests=("session/test_smtp_tls.py",),
    ),
    Guard(
        "no transaction without TLS where it is required",
        "session/smtp_commands.py",
        before="""
if self._locked and command.verb not in _WITHOUT_TLS:
""",
        after="""
if False:
""",
        tests=("session/test_smtp_tls.py",),
        seeds=100,
    ),
    Guard(
        "no login at the mail server before the TLS that is required",
        "session/smtp_commands.py",
        before="if self._server.state is Upstream.NONE and not self._locked:",
        after="if self._server.state is Upstream.NONE:",
        tests=("session/test_smtp_tls.py",),
        seeds=200,
    ),
    Guard(
        "a transaction that is open is not ended by a drain",
        "session/smtp.py",
        before="return not busy and self._server.transaction is not Transaction.OPEN",
        after="return not busy",
        tests=("session/test_smtp_drain.py",),
        seeds=600,
    ),
    Guard(
        "who waits for the reply to his message is not cut off with the others",
        "session/smtp.py",
        before="""
if not self._final_awaited:
    self._server.abandon()
""",
        after="""
if True:
    self._server.abandon()
""",
        tests=("session/test_smtp_drain.py",),
    ),
)

"""
Guards of the way to the mail server: TLS, the login, and how often it is tried.
"""

from __future__ import annotations

from tests.mutants.guard import Guard

UPSTREAM = ("upstream",)
TLS = ("tls",)
SOCKETS = ("sockets",)

WAY = (
    Guard(
        "no octet waits behind the go-ahead for STARTTLS",
        "upstream/smtp.py",
        before="elif self._parser.pending:",
        after="elif False:",
        tests=UPSTREAM,
    ),
    Guard(
        "no octet waits behind the go-ahead for STLS",
        "upstream/pop3.py",
        before="if self._completes(line) and len(self._lines):",
        after="if self._completes(line) and False:",
        tests=UPSTREAM,
    ),
    Guard(
        "what was offered before TLS is forgotten",
        "upstream/smtp.py",
        before="""
    self._offered = Extensions(b"", {})
    self.begin_tls(self.context)

def tls_ready(self) -> None:
    \"""Behind STARTTLS the conversation begins anew; behind implicit TLS the greeting is still to come.\"""
    if self.login.destination.tls.mode is TLSMode.IMPLICIT:
        self.doing = "waiting for the greeting"
        return
    self._parser = ReplyParser()
    self.esmtpState_ehlo(220, b"")
""",
        after="""
    self.begin_tls(self.context)

def tls_ready(self) -> None:
    if self.login.destination.tls.mode is TLSMode.IMPLICIT:
        self.doing = "waiting for the greeting"
        return
    self.authenticate(220, b"", self._offered)
""",
        tests=UPSTREAM,
    ),
    Guard(
        "what was offered before STLS is forgotten",
        "upstream/pop3.py",
        before="""
await self._secure()
offered = await self._ask_capabilities()
""",
        after="""
await self._secure()
""",
        tests=UPSTREAM,
    ),
    Guard(
        "TLS that is required is not left out where it is not offered",
        "upstream/smtp.py",
        before="elif wanted and mode is TLSMode.REQUIRED:",
        after="elif False:",
        tests=UPSTREAM,
        seeds=200,
    ),
    Guard(
        "credentials go through verified TLS only",
        "upstream/smtp.py",
        before="if not (self.secured or self._allow_plaintext_auth):",
        after="if False:",
        tests=UPSTREAM,
        seeds=100,
    ),
    Guard(
        "credentials go through verified TLS only, in POP3 too",
        "upstream/pop3.py",
        before="if not (self.secured or self._allow_plaintext_auth):",
        after="if False:",
        tests=UPSTREAM,
    ),
    Guard(
        "a certificate's name is compared",
        "tls/client.py",
        before="problem = None if self.wanted is None else name_problem(certificate, self.wanted)",
        after="problem = None",
        tests=TLS,
    ),
    Guard(
        "a certificate's chain has to lead to somebody whom we believe",
        "tls/client.py",
        before="error = _chain_error(number, depth) if not good else",
        after="error = None if not good else",
        tests=TLS,
    ),
    Guard(
        "a connection that wants nobody in particular gets nobody",
        "tls/client.py",
        before="return isinstance(connection, _Connection) and connection.check.verify(",
        after="return not isinstance(connection, _Connection) or connection.check.verify(",
        tests=TLS,
    ),
    Guard(
        "TLS is 1.2 at least",
        "tls/contexts.py",
        before="context.set_min_proto_version(_version(minimum))",
        after="context.set_min_proto_version(SSL.TLS1_VERSION)",
        tests=TLS,
    ),
    Guard(
        "a session is resumed towards the very host that it was made with",
        "tls/resumption.py",
        before="while self._kept and key == self._key:",
        after="while self._kept:",
        tests=TLS,
    ),
    Guard(
        "everything is judged again after an hour",
        "tls/resumption.py",
        before="return self.since <= now < min(self.until, self.since + FULL_AGAIN_SECONDS)",
        after="return self.since <= now < self.until",
        tests=TLS,
    ),
    Guard(
        "who was refused stays refused, whatever OpenSSL says",
        "sockets/tls.py",
        before="if self._refused is not None:  # whatever OpenSSL made of it",
        after="if False:",
        tests=SOCKETS,
    ),
    Guard(
        "nothing is sent past Twisted's layer",
        "sockets/eager.py",
        before="if self.TLS:  # Twisted's layer is on top of us, and seals octets itself",
        after="if False:",
        tests=SOCKETS,
    ),
    Guard(
        "256 KiB of a connection are read in a turn",
        "sockets/tls.py",
        before="while len(chunks) < most:",
        after="while True:",
        tests=SOCKETS,
    ),
    Guard(
        "who is slow is read in small portions",
        "sockets/portions.py",
        before="> LONG_PAUSE_SECONDS:",
        after="> LONG_PAUSE_SECONDS * 1000:",
        tests=SOCKETS,
    ),
    Guard(
        "a record that is OpenSSL's own ends a read",
        "tls/stepped.py",
        before="_lib.SSL_clear_mode(connection._ssl, _lib.SSL_MODE_AUTO_RETRY)",
        after="pass",
        tests=SOCKETS,
    ),
    Guard(
        "a handshake goes a bounded number of records at a time",
        "tls/stepped.py",
        before="for _ in range(RECORDS_AT_ONCE):",
        after="while True:",
        tests=SOCKETS,
    ),
    Guard(
        "a client's certificate is judged where that is required",
        "tls/server.py",
        before="if verify != SSL.VERIFY_NONE:",
        after="if False:",
        tests=TLS,
    ),
    Guard(
        "no octet waits behind the login",
        "upstream/stream.py",
        before="if pending:",
        after="if False:",
        tests=UPSTREAM,
    ),
    Guard(
        "a mail server that is ourselves is a loop",
        "upstream/connector.py",
        before="if self._is_ours(stream.transport.getPeer(), stream.transport.getHost()):",
        after="if False:",
        tests=UPSTREAM,
    ),
    Guard(
        "a mail server with our name is a loop",
        "upstream/smtp.py",
        before="if self._offered.domain.lower() == self._own_name:",
        after="if False:",
        tests=UPSTREAM,
    ),
    Guard(
        "what has failed is left alone for a while",
        "upstream/holdoff.py",
        before="(self._probe is not None or self._clock.seconds() < self._backoff.until)",
        after="self._probe is not None",
        tests=UPSTREAM,
        seeds=300,
    ),
    Guard(
        "behind the pause one tries, and not all",
        "upstream/holdoff.py",
        before="""
if self._error is not None:
    self._probe = who
""",
        after="",
        tests=UPSTREAM,
    ),
    Guard(
        "a login that may be wrong is tried by one session",
        "upstream/trials.py",
        before="while self._probe is not None and not self._good:",
        after="while False:",
        tests=UPSTREAM,
        seeds=100,
    ),
    Guard(
        "who has not shown a refused login yet does not show it",
        "upstream/trials.py",
        before="other.refused(copied(error, str(error)))",
        after="pass",
        tests=UPSTREAM,
    ),
    Guard(
        "logins under way have a limit",
        "upstream/turns.py",
        before="while self._free and self._waiting:",
        after="while self._waiting:",
        tests=UPSTREAM,
        seeds=200,
    ),
    Guard(
        "a mail server that is not reached is left alone",
        "upstream/connector.py",
        before="self._reach.enter(destination, attempt)",
        after="pass",
        tests=UPSTREAM,
    ),
)

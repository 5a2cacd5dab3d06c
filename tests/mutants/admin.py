"""
Guards of the admin endpoint: who is told anything, and how much of us they may take.
"""

from __future__ import annotations

from tests.mutants.guard import Guard

ADMIN = (
    Guard(
        "without the token nobody is told anything",
        "admin/desk.py",
        before="if path.private and not self._admitted(asked):",
        after="if False:",
        tests=("admin/test_desk.py",),
    ),
    Guard(
        "why not is for who has the token",
        "admin/desk.py",
        before="""
if not self._admitted(asked):
    del said["reasons"]
""",
        after="",
        tests=("admin/test_desk.py",),
    ),
    Guard(
        "a foreign host name gets nothing",
        "admin/desk.py",
        before='if not self.guard.knows_host(asked.headers.get("host")):',
        after="if False:",
        tests=("admin/test_desk.py",),
    ),
    Guard(
        "an endpoint that others reach needs a token",
        "config/crosscheck.py",
        before="if admin.token_file is None and not admin.allow_without_token and not endpoint.local:",
        after="if False:",
        tests=("test_config.py",),
    ),
    Guard(
        "the admin endpoint is never where mail is listened for",
        "config/crosscheck.py",
        before="if endpoint.collides(other):",
        after="if False:",
        tests=("test_config.py",),
    ),
    Guard(
        "a question of an operator has a deadline",
        "admin/channel.py",
        before="self._deadline.set(CONNECTION_SECONDS, self.abort)",
        after="pass",
        tests=("admin/test_channel.py",),
    ),
    Guard(
        "the oldest connection makes room for a probe",
        "admin/channel.py",
        before="oldest.abort()",
        after="pass",
        tests=("admin/test_channel.py",),
    ),
    Guard(
        "no body of a question is read",
        "admin/channel.py",
        before="if self.length == 0:",
        after="if True:",
        tests=("admin/test_channel.py",),
    ),
    Guard(
        "a line is recorded in words only if it is on the list",
        "session/kept_words.py",
        before="if _may_be_shown(command):",
        after="if True:",
        tests=("session/test_recording.py",),
    ),
    Guard(
        "a line in a login is recorded without its words",
        "session/kept_words.py",
        before="None if secret else pop3.parse_command(line)",
        after="pop3.parse_command(line)",
        tests=("session/test_recording.py",),
    ),
    Guard(
        "a recording has a limit",
        "session/recording.py",
        before="while len(tape) > MAX_TAPE_OCTETS:",
        after="while False:",
        tests=("session/test_recording.py",),
    ),
    Guard(
        "senders are shown for a token alone",
        "admin/desk.py",
        before="addresses=self.guard.wants_token",
        after="addresses=True",
        tests=("admin/test_desk.py",),
    ),
)

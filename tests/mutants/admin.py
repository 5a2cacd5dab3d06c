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
        before='shown = said if self._admitted(asked) else {"ready": said["ready"]}',
        after="shown = said",
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
    Guard(
        "an answer is made once at a time",
        "admin/answers.py",
        before="if key in self._waiting:",
        after="if False:",
        tests=("admin/test_answers.py",),
    ),
    Guard(
        "long answers let others have their turn",
        "admin/turns.py",
        before="while clock.seconds() < until:",
        after="while True:",
        tests=("admin/test_turns.py",),
    ),
    Guard(
        "a worker that hangs does not hold up an answer",
        "workers/mate.py",
        before="deadline.set(LOOK_SECONDS, partial(self._missed, what, done))",
        after="pass",
        tests=("workers/test_mate.py",),
    ),
    Guard(
        "a worker that hangs is not asked again and again",
        "workers/mate.py",
        before="was_asked = what in self._looking",
        after="was_asked = False",
        tests=("workers/test_mate.py",),
    ),
    Guard(
        "a recording of a worker takes no more than one of ours",
        "flight/recording.py",
        before="    if not is_modest(recording):",
        after="    if False:",
        tests=("workers/test_shelf.py",),
    ),
    Guard(
        "no more recordings are kept of a worker than it may have",
        "workers/shelf.py",
        before=" or len(self._told) == 2 * MAX_SHOWN",
        after="",
        tests=("workers/test_shelf.py",),
    ),
    Guard(
        "what a dead worker has counted stays",
        "workers/conditions.py",
        before="self._bury(self._alive.pop(worker, {}))",
        after="self._alive.pop(worker, {})",
        tests=("workers/test_conditions.py",),
    ),
    Guard(
        "a word of a worker is no line of anybody else's making",
        "workers/counts.py",
        before="or not all(map(_WORD.fullmatch, raw))",
        after="",
        tests=("workers/test_counts.py",),
    ),
)

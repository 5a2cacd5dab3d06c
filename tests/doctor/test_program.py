"""`mailproxy check` as a process: its exit status, its two forms, its progress."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from mailproxy.destination.model import MailProtocol
from mailproxy.doctor import program
from mailproxy.doctor.examination import Subject
from mailproxy.doctor.program import Progress, main
from tests.doctor.ward import NAME
from tests.support.pages import page, span
from tests.support.tools import CHECKOUT


def run(config, *arguments):
    """The command as an operator runs it."""
    command = [sys.executable, "-m", "mailproxy", "check", "--config", str(config), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest_twisted.ensureDeferred
async def test_all_is_well(ward):
    status, said, errors = await deferToThread(run, ward.world.config, "example-dest-pop3s", "example-dest-smtp/acme")
    assert (status, errors) == (0, "")
    assert "example-dest-pop3s/globex (pop3): ok" in said
    table = said.rpartition("\n\n")[2].splitlines()
    assert [line.split() for line in table] == [
        ["acme", "globex"],
        ["example-dest-pop3s", "(pop3)", "ok", "ok"],
        ["example-dest-smtp", "(smtp)", "ok", "-"],
    ]


@pytest_twisted.ensureDeferred
async def test_one_that_fails_makes_the_status_1(ward):
    ward.file(ward.properties(mail__password="not this one"))
    status, said, errors = await deferToThread(run, ward.write(), "--json")
    assert (status, errors) == (1, "")
    found = json.loads(said)
    assert (found["format"], found["ok"], found["checks"][0]["destination"]) == (1, False, NAME)
    trouble = next(step["trouble"] for step in found["checks"][0]["steps"] if step["status"] == "failed")
    assert trouble["outcome"] == "upstream_refused_login"
    assert "not this one" not in said


@pytest_twisted.ensureDeferred
async def test_a_configuration_that_cannot_be_used_makes_it_2(ward, tmp_path):
    status, said, errors = await deferToThread(run, tmp_path / "none.toml")
    assert (status, said) == (2, "")
    assert "none.toml" in errors
    ward.service = 'binding = "nowhere"'
    status, said, errors = await deferToThread(run, ward.write())
    assert (status, said) == (2, "")
    assert "destination_services.here.binding" in errors


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        ("x = [", "line 1, column"),
        ("nonsense = 1", "nonsense: unknown key"),
        ("", "destinations: is missing: there is nothing to listen for"),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_file_that_is_missing_broken_or_empty_is_named_with_its_problem(tmp_path, capsys, text, problem, form):
    config = tmp_path / "mailproxy.toml"
    if text is not None:
        config.write_text(text)
    assert main(["--config", str(config), *form]) == 2
    said, errors = capsys.readouterr()
    assert said == ""
    assert errors.startswith(f"{config}: {problem}")


@pytest_twisted.ensureDeferred
async def test_a_report_that_cannot_be_written_makes_it_2(ward):
    ward.file(ward.properties())
    command = [sys.executable, "-m", "mailproxy", "check", "--config", str(ward.write())]

    def run_into(path):
        with Path(path).open("wb") as output:
            return subprocess.run(command, stdout=output, stderr=subprocess.PIPE, cwd=CHECKOUT, timeout=60, check=False)

    done = await deferToThread(run_into, "/dev/full")
    assert (done.returncode, done.stderr) == (2, b"the report cannot be written: No space left on device\n")


def test_who_has_read_enough_is_no_trouble():
    reading, writing = os.pipe()
    os.close(reading)
    script = "import sys; from mailproxy.doctor.program import _show; sys.exit(_show('x' * 100000))"
    with os.fdopen(writing, "wb") as output:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=output, stderr=subprocess.PIPE, cwd=CHECKOUT, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_page_has_every_exit_status():
    statuses = {int(span(row["Status"])) for row in page("reference/check.md").table("Status", "When")}
    assert statuses == {0, program._FAILED, program._OF_NO_USE, program._INTERRUPTED}
    assert all(f"{status} " in program._ABOUT for status in statuses)


@pytest_twisted.ensureDeferred
async def test_somebody_unknown_makes_it_2(ward):
    status, said, errors = await deferToThread(run, ward.write(), f"{NAME}/globex")
    assert (status, said) == (2, "")
    assert f"there is no {NAME}/globex, but there is {NAME}/acme" in errors


@pytest_twisted.ensureDeferred
async def test_somebody_who_does_not_want_to_wait(ward):
    """The port is silent, and Ctrl-C is heard."""
    begun = Event()

    def script(visit):
        begun.set()
        visit.read_some(1)

    ward.file(ward.properties(mail__smtp__port=str(ward.scripted(script))))
    command = [sys.executable, "-m", "mailproxy", "check", "--config", str(ward.write())]
    assert await deferToThread(interrupted, command, begun) == (130, b"", b"")


def interrupted(command, begun):
    """What becomes of a process that gets Ctrl-C once it has begun."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=CHECKOUT) as process:
        try:
            assert begun.wait(60)
            process.send_signal(signal.SIGINT)
            said, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, said, errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["--timeout", "0"],
        ["--timeout", "601"],
        ["--timeout", "nan"],
        ["--timeout", "soon"],
        ["--send-to", "nobody"],
        ["--send-to", "a@b\r\nRCPT TO:<c@d>"],
        ["--send-from", "<a@b>"],
        ["--unknown"],
    ],
)
def test_arguments_that_make_no_sense(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert re.search(r"is no number of seconds|is no mail address|unrecognized arguments", capsys.readouterr().err)


class Terminal(io.StringIO):
    def isatty(self):
        return True


SUBJECT = Subject("dest", "acme", MailProtocol.SMTP)


def test_a_terminal_sees_what_is_under_way():
    terminal = Terminal()
    progress = Progress(terminal)
    progress.tell(SUBJECT, "token")
    progress.tell(SUBJECT, "name")
    progress.clear()
    shown = terminal.getvalue().split("\r")
    assert shown[1] == "dest/acme: asking for an access token ..."
    assert shown[2].rstrip() == "dest/acme: looking up the host name ..."
    assert len(shown[2]) == len(shown[1])
    assert shown[3].strip() == shown[4] == ""


def test_nobody_else_sees_it():
    stream = io.StringIO()
    progress = Progress(stream)
    progress.tell(SUBJECT, "token")
    progress.clear()
    assert stream.getvalue() == ""

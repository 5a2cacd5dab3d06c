"""`mailproxy replay`: what it shows, and how it ends."""

from __future__ import annotations

import io
import json
import sys

import attrs
import pytest

from mailproxy.cli import main
from mailproxy.flight.recording import recording_of, written
from tests.flight.stories import lost_in_data
from tests.support.pages import page


@pytest.fixture
def replay(tmp_path, capsys):
    """Writes a file and replays it; the exit status, and what was printed."""

    def replay(given, *options):
        path = tmp_path / "status.json"
        path.write_text(given if isinstance(given, str) else json.dumps(given))
        status = main(["replay", str(path), *options])
        printed = capsys.readouterr()
        return status, printed.out + printed.err.replace(str(path), "FILE")

    return replay


def recording(**changes):
    flight = lost_in_data().flight(trouble="the mail server was lost")
    return written(attrs.evolve(recording_of(flight, "acme/mail"), **changes))


def test_a_session_that_ends_as_it_did(replay):
    status, said = replay(recording())
    assert status == 0
    first, *lines = said.splitlines()
    assert first == "session 00000a of acme/mail, client 127.0.0.1:5000, ended 2026-11-18T11:06:40Z"
    assert "  server is lost: the mail server closed the connection" in lines
    assert lines[-2:] == ["ended then: quit", "ended now:  quit"]


def test_the_manual_shows_what_is_printed(replay):
    assert f"```text\n{replay(recording())[1]}```\n" in page("how-to/replay-a-session.md").text


@pytest.mark.parametrize("wrap", [lambda each: [each], lambda each: {"recordings": [each], "version": "1"}])
def test_an_answer_of_status_and_a_list_do_as_well(replay, wrap):
    assert replay(wrap(recording())) == replay(recording())


def test_one_session_of_several(replay):
    both = [recording(session="000001"), recording(session="000002")]
    assert replay(both, "--session", "000002")[1].startswith("session 000002")
    assert replay(both)[1].count("ended now") == 2
    assert replay(both, "--session", "000003") == (2, "mailproxy replay: FILE: holds no session 000003\n")


def test_another_end_is_told(replay):
    status, said = replay(recording(outcome="upstream_lost"))
    assert status == 1
    assert said.endswith("ended then: upstream_lost\nended now:  quit\n")


def test_our_own_mistake_is_told(replay, monkeypatch):
    recorded = recording(outcome="internal_error")
    monkeypatch.setattr("mailproxy.session.smtp.SMTPSession.upstream_lost", lambda *_: 1 / 0)
    status, said = replay(recorded)
    assert status == 0
    assert said.endswith("by a mistake of mailproxy's: ZeroDivisionError: division by zero\n")


def test_a_lost_beginning_is_told(replay):
    status, said = replay(recording(whole=False))
    assert status == 1
    assert "  client -> DATA\n" in said
    assert said.endswith("its beginning is lost: it cannot be replayed\n")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "is no JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[" * 100_000, "is no JSON: "),
        ("[]", "holds no recordings"),
        ('{"recordings": []}', "holds no recordings"),
        ('{"ready": true}', "protocol: is missing"),
        ("[3]", "a recording: is no JSON object"),
    ],
)
def test_a_file_that_cannot_be_used(replay, given, words):
    status, said = replay(given)
    assert status == 2
    assert said.startswith(f"mailproxy replay: FILE: {words}")


def test_a_file_that_is_too_large(replay, monkeypatch):
    monkeypatch.setattr("mailproxy.flight.program.MAX_FILE_OCTETS", 100)
    assert replay(recording()) == (2, "mailproxy replay: FILE: is larger than 100 octets\n")


def test_a_file_that_is_not_there(capsys):
    assert main(["replay", "/nowhere/status.json"]) == 2
    assert capsys.readouterr().err == "mailproxy replay: /nowhere/status.json: No such file or directory\n"


def test_standard_input(monkeypatch, capsys):
    given = io.TextIOWrapper(io.BytesIO(json.dumps(recording()).encode()))
    monkeypatch.setattr(sys, "stdin", given)
    assert main(["replay", "-"]) == 0
    assert "ended now:  quit" in capsys.readouterr().out


def test_what_peers_said_cannot_move_the_cursor(replay):
    hostile = recording(client="\x1b[2J", trouble=None)
    hostile["events"].append({"event": "owner", "text": "\x1b[2J"})
    assert "\x1b" not in replay(hostile)[1]


def test_help_says_what_the_exit_status_means(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["replay", "--help"])
    assert ended.value.code == 0
    assert "Exit status" in capsys.readouterr().out

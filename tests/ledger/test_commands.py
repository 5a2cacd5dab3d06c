import json

import pytest

from mailproxy import cli
from mailproxy.ledger.chain import read
from mailproxy.ledger.commands import run
from mailproxy.ledger.keyed import AddressKey
from mailproxy.ledger.record import encode
from tests.ledger.books import files, transaction, writer, written


def test_a_ledger_in_order(tmp_path, capsys):
    (path,) = written(tmp_path, 2)
    assert run(["verify", str(path)]) == 0
    last = read(path.read_bytes().splitlines()[-1]).link
    assert capsys.readouterr().out == f"{tmp_path / 'mail.jsonl'}: ok, 3 records, the last one is {last}\n"
    assert run(["verify", "--last", str(last), str(path)]) == 0


def test_a_ledger_that_is_not(tmp_path, capsys):
    (path,) = written(tmp_path, 2)
    path.write_bytes(path.read_bytes().replace(b"acme", b"evil"))
    assert run(["verify", str(path)]) == 1
    assert capsys.readouterr().out == f"{path}:2: was altered: it does not fit its own hash\n"


def test_an_empty_file_holds_no_records(tmp_path, capsys):
    path = tmp_path / "mail.000000000001.jsonl"
    path.touch()
    assert run(["verify", str(path)]) == 0
    assert capsys.readouterr().out.endswith("mail.jsonl: ok, no records\n")


def test_what_a_crash_has_left_is_said_and_is_no_fault(tmp_path, capsys):
    (path,) = written(tmp_path, 2)
    with path.open("ab") as file:
        file.write(b"torn")
    written(tmp_path, 1)
    assert run(["verify", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{path}:4: what a crash has left of a record stands here\n")


def test_records_are_shown_as_they_are(tmp_path, capsys):
    (path,) = written(tmp_path, 3)
    assert run(["search", "--address", "<to2@x.test>", str(path)]) == 0
    assert capsys.readouterr().out.encode() == path.read_bytes().splitlines(keepends=True)[2]


def test_hidden_addresses_need_the_key(tmp_path, capsys):
    key = AddressKey(b"0123456789abcdef")
    (tmp_path / "key").write_bytes(key.key)
    book = writer(tmp_path)
    book.append(encode(transaction(reverse_path=key.hide("robot@acme.test"))))
    book.close()
    (path,) = files(tmp_path)
    assert run(["search", "--address", "robot@acme.test", str(path)]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "mailproxy ledger: records with hidden addresses, which only --key-file can find: 1\n"
    assert run(["search", "--address", "robot@acme.test", "--tenant", "globex", str(path)]) == 0
    assert capsys.readouterr().err == ""
    assert run(["search", "--address", "robot@acme.test", "--key-file", str(tmp_path / "key"), str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["session"] == "000001"


def test_all_questions_are_options(tmp_path, capsys):
    (path,) = written(tmp_path, 3)
    options = ["--message-id", "2@acme.test", "--since", "2026-11-21T12:00", "--until", "2026-11-21T12:00:03Z"]
    assert run(["search", *options, "--tenant", "acme", "--session", "000002", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["seq"] == 3


def test_a_line_that_is_no_record(tmp_path, capsys):
    (path,) = written(tmp_path, 1)
    path.write_bytes(b"torn\n" + path.read_bytes())
    assert run(["search", str(path)]) == 0
    said = capsys.readouterr()
    assert said.err == f"mailproxy ledger: {path}:1: is no record of a ledger\n"
    assert json.loads(said.out)["kind"] == "transaction"


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert run(["verify", str(tmp_path / "mail.000000000001.jsonl")]) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["verify"],
        ["mend", "x"],
        ["search", "--since", "yesterday", "x"],
        ["search", "--key-file", "/nowhere", "x"],
        ["verify", "--last", "7", "x"],
    ],
)
def test_what_is_not_understood(arguments, capsys):
    assert run(arguments) == 2
    assert "usage: mailproxy ledger" in capsys.readouterr().err


def test_help_is_no_mistake(capsys):
    assert run(["--help"]) == 0
    assert "verify" in capsys.readouterr().out


# The program


def test_the_program_knows_its_commands(tmp_path, capsys):
    (path,) = written(tmp_path, 1)
    assert cli.main(["ledger", "verify", str(path)]) == 0
    assert "ok, 2 records" in capsys.readouterr().out


def test_the_program_says_what_there_is(capsys, monkeypatch):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said and command.summary in said for name, command in cli.COMMANDS.items())
    monkeypatch.setattr("sys.argv", ["mailproxy"])
    assert cli.main() == 2
    assert cli.main(["fly"]) == 2
    assert "usage: mailproxy COMMAND" in capsys.readouterr().err

"""The command `mailproxy`: it finds the command that is asked for, and says which there are."""

import tomllib

import pytest

from mailproxy import cli
from tests.support.pages import ROOT


def test_a_command_gets_its_arguments_and_gives_the_status(monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "count", cli.Command("counts", len))
    assert cli.main(["count", "a", "--b"]) == 2


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["--verbose"]])
def test_what_is_no_command_is_a_mistake(arguments, capsys):
    assert cli.main(arguments) == cli.USAGE_STATUS
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("usage: mailproxy COMMAND")


def test_help_has_every_command(capsys):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name}" in said and command.summary in said for name, command in cli.COMMANDS.items())


def test_the_arguments_are_those_of_the_process_by_default(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mailproxy", "-h"])
    assert cli.main() == 0
    assert capsys.readouterr().out


def test_the_wheel_installs_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"mailproxy": "mailproxy.cli:main"}

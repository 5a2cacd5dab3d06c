"""`twistd mailproxy` on the command line: the real twistd, run from a checkout."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins

from mailproxy.options import logs_to_stdout
from tests.support.ports import free_port
from tests.support.waiting import listens, until

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent
TWISTD = Path(sys.executable).parent / "twistd"
SOUND = """
[destination_services.local]
directory = "destinations"
[[destinations]]
name = "example-dest-smtp"
protocol = "smtp"
listen = "tcp:{port}"
"""


@pytest.fixture
def folder(tmp_path):
    """A directory with a configuration that is sound, and a destination for it."""
    (tmp_path / "destinations").mkdir()
    example = ROOT / "etc/destinations/example-dest-smtp.json"
    (tmp_path / "destinations/example-dest-smtp.json").write_bytes(example.read_bytes())
    (tmp_path / "mailproxy.toml").write_text(SOUND.format(port=free_port()))
    return tmp_path


@pytest.fixture
def twistd(folder):
    """Runs twistd in the folder; exit status, output, error output."""

    def twistd(*arguments):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        done = subprocess.run(
            [TWISTD, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr

    return twistd


def test_the_plugin_is_found():
    (maker,) = [each for each in getPlugins(IServiceMaker) if each.tapname == "mailproxy"]
    assert maker.module == "mailproxy.options"


def test_twistd_knows_of_us(twistd):
    status, output, _ = twistd("--help")
    assert status == 0
    assert "mailproxy        An SMTP and POP3 proxy" in output


def test_help_says_how_to_start_and_how_to_check(twistd):
    status, output, _ = twistd("mailproxy", "--help")
    assert status == 0
    assert output.startswith("Usage: twistd [options] mailproxy --config FILE [--check]\n")
    for word in ("--config=", "--check", "--nodaemon", "--pidfile", "--logfile", "--umask"):
        assert word in output


@pytest.mark.parametrize("before", [(), ("-n",), ("--nodaemon", "--pidfile=")])
def test_check_says_that_all_is_well(twistd, before):
    assert twistd(*before, "mailproxy", "--config", "mailproxy.toml", "--check") == (0, "", "configuration ok\n")


def test_check_works_beside_a_running_proxy(twistd, folder):
    (folder / "twistd.pid").write_text(str(os.getpid()))
    with socket.socket() as running:
        running.bind(("127.0.0.1", 0))
        running.listen()
        (folder / "mailproxy.toml").write_text(SOUND.format(port=running.getsockname()[1]))
        assert twistd("mailproxy", "--config", "mailproxy.toml", "--check") == (0, "", "configuration ok\n")
    assert (folder / "twistd.pid").read_text() == str(os.getpid())


def test_check_prints_all_problems_at_once_also_those_of_files(twistd, folder):
    path = folder / "mailproxy.toml"
    path.write_text('zzz = 1\ntrust.ca_files = ["none.pem"]\n' + path.read_text() + "[tenants.nobody]\n")
    status, output, problems = twistd("-n", "mailproxy", "--config", "mailproxy.toml", "--check")
    assert (status, output) == (1, "")
    first, second, third = problems.splitlines()
    assert first == f"{path}: zzz: unknown key"
    assert second == f"{path}: tenants.nobody: no destination listens for this tenant"
    assert third.startswith(f"{path}: trust.ca_files[0]: ")
    assert "No such file or directory" in third


def test_check_goes_on_where_nobody_is_trusted(twistd, folder):
    path = folder / "mailproxy.toml"
    path.write_text("trust.platform = false\n" + path.read_text())
    (folder / "destinations/example-dest-smtp.json").unlink()
    status, _, problems = twistd("mailproxy", "--config", "mailproxy.toml", "--check")
    assert status == 1
    assert problems.splitlines() == [
        f"{path}: trust.platform: false leaves nobody to trust; name ca_files",
        f"{path}: example-dest-smtp: there is no example-dest-smtp.json for tenant provider in {folder}/destinations",
    ]


@pytest.mark.parametrize("before", [(), ("-n",)])
def test_a_configuration_with_mistakes_does_not_start(twistd, folder, before):
    (folder / "mailproxy.toml").write_text("a = 1\nb = 2\n")
    status, output, problems = twistd(*before, "mailproxy", "--config", "mailproxy.toml")
    assert (status, output) == (1, "")
    assert problems.splitlines() == [
        f"{folder}/mailproxy.toml: a: unknown key",
        f"{folder}/mailproxy.toml: b: unknown key",
        f"{folder}/mailproxy.toml: destinations: is missing: there is nothing to listen for",
    ]


def test_a_file_that_is_named_but_cannot_be_used_keeps_us_from_starting(twistd, folder):
    path = folder / "mailproxy.toml"
    path.write_text('trust.ca_files = ["none.pem"]\n' + path.read_text())
    status, output, problems = twistd("-n", "mailproxy", "--config", "mailproxy.toml")
    assert (status, output) == (1, "")
    assert problems.startswith(f"{path}: trust.ca_files[0]: ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "--config FILE is missing; twistd mailproxy --help says more\n"),
        (("--config", "none.toml"), "{folder}/none.toml: cannot be read: No such file or directory\n"),
        (("--check", "--config", "none.toml"), "{folder}/none.toml: cannot be read: No such file or directory\n"),
    ],
)
def test_without_a_configuration_there_is_one_clear_sentence(twistd, folder, arguments, expected):
    assert twistd("-n", "mailproxy", *arguments) == (1, "", expected.format(folder=folder))


def test_the_example_is_sound(twistd):
    example = ROOT / "etc/mailproxy.example.toml"
    assert twistd("mailproxy", "--config", str(example), "--check") == (0, "", "configuration ok\n")


@pytest.mark.parametrize("workers", [1, 2])
def test_daemon_pidfile_logfile_and_umask_are_twistds_own(twistd, folder, workers):
    """Files are found from where twistd was started, also when it runs elsewhere."""
    port = free_port()
    (folder / "etc").mkdir()
    sound = SOUND.format(port=port).replace('"destinations"', '"../destinations"')
    (folder / "etc/mailproxy.toml").write_text(f"workers = {workers}{sound}")
    (folder / "elsewhere").mkdir()
    twistds = ("--rundir", "elsewhere", "--pidfile", "it.pid", "--logfile", "it.log", "--umask", "027")
    assert twistd(*twistds, "mailproxy", "--config", "etc/mailproxy.toml") == (0, "", "")
    pid = int((folder / "it.pid").read_text())
    try:
        until(lambda: listens(port), f"port {port}")
        assert Path(f"/proc/{pid}/cwd").readlink() == folder / "elsewhere"
        assert os.getsid(pid) != os.getsid(0)
        until(lambda: "ready; listeners: 1" in (folder / "it.log").read_text(), "the start")
        assert (folder / "it.pid").stat().st_mode & 0o777 == 0o640
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not (folder / "it.pid").exists(), "the end")
    assert "Traceback" not in (folder / "it.log").read_text()


@pytest.mark.parametrize(
    ("options", "stdout"),
    [
        ({}, False),
        ({"nodaemon": 1}, True),
        ({"nodaemon": 1, "logfile": "-"}, True),
        ({"nodaemon": 1, "logfile": "x.log"}, False),
        ({"nodaemon": 1, "syslog": 1}, False),
        ({"nodaemon": 1, "logger": "x.y"}, False),
    ],
)
def test_where_the_log_goes_is_read_off_twistds_options(options, stdout):
    twistd = {"nodaemon": 0, "logfile": None, "syslog": 0, "logger": None} | options
    assert logs_to_stdout(twistd) is stdout

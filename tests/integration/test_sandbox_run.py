"""`make run`: the sandbox's commands as a newcomer uses them, with the real twistd in between."""

import signal
import subprocess
import sys
import threading

import pytest

from mailproxy.sandbox.demo import read_listeners
from mailproxy.sandbox.run import proxy_command, python_path
from tests.support.programs import Daemon, run
from tests.support.waiting import until

pytestmark = pytest.mark.integration

SANDBOX = [sys.executable, "-m", "mailproxy.sandbox"]
TENANTS = ("acme", "globex")


def check_transcript(text):
    """Both tenants send and collect through all four destinations, and log in as themselves only."""
    parts = {}
    for part in text.split("\n--- ")[1:]:
        title, _, body = part.partition("\n")
        parts[title] = body
    titles = list(parts)
    for tenant in TENANTS:
        other = next(name for name in TENANTS if name != tenant)
        sessions = [title for title in titles if title.startswith(f"{tenant} ")]
        assert len(sessions) == 4, titles
        for title in sessions:
            assert other not in parts[title]
            if "sends" in title:
                assert "C: MAIL FROM:sender@transparentproxy.com\nS: 250" in parts[title]
                assert "EHLO" not in parts[title]
                assert "\nC: .\nS: 250" in parts[title]
            else:
                assert "\nC: list\nS: +OK" in parts[title]
                assert f"S: Some test data of {tenant}, number " in parts[title]
                assert f"(authenticated as robot@{tenant}.example by " in parts[title]
    logins = parts["who logged in at the sandbox's mail servers"]
    for tenant in TENANTS:
        for protocol in ("smtp", "pop3"):
            assert len([line for line in logins.splitlines() if protocol in line and f"@{tenant}." in line]) == 2
    assert "over none" not in logins


def test_run_once_shows_the_transcript_for_both_tenants_and_both_protocols():
    done = subprocess.run([*SANDBOX, "run", "--once"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    check_transcript(done.stdout)
    assert "telnet 127.0.0.1 " in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_stays_until_it_is_told_to_end_and_leaves_nothing(tmp_path, number):
    with subprocess.Popen(
        # A test run in the background of a script ignores SIGINT, and what it starts would, too.
        ["env", "--default-signal=INT", *SANDBOX, "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
    ) as process:
        bound = threading.Timer(60, process.kill)
        bound.start()
        text = ""
        assert process.stdout is not None
        for line in process.stdout:
            text += line
            if "Ctrl-C ends everything" in line:
                break
        assert [path.name.startswith("mailproxy-sandbox-") for path in tmp_path.iterdir()] == [True], text
        process.send_signal(number)
        rest = process.stdout.read()
        bound.cancel()
        assert process.wait(20) == 0, text + rest
    check_transcript(text)
    assert rest == ""
    assert not list(tmp_path.iterdir())


def test_sandbox_proxy_and_demonstration_also_run_apart(tmp_path):
    sandbox = Daemon.start([*SANDBOX, "serve", "--directory", tmp_path / "world"], log=tmp_path / "sandbox.log")
    try:
        config = tmp_path / "world" / "mailproxy.toml"
        until(lambda: "The sandbox is up" in sandbox.text, "the sandbox", seconds=20)
        command, env = proxy_command(config), {"PYTHONPATH": python_path()}
        proxy = Daemon.start(command, log=tmp_path / "proxy.log", env=env)
        try:
            proxy.wait_for(*(listener.port for listener in read_listeners(config)))
            for _ in range(2):
                check_transcript(run([*SANDBOX, "demo", "--config", config]).decode())
            assert "Traceback" not in proxy.text
        finally:
            proxy.stop()
        refused = run([*SANDBOX, "demo", "--config", config], expect=1).decode()
        assert "The demonstration failed: no connection to port" in refused
    finally:
        sandbox.stop()

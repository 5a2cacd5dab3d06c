"""The demonstration notices what must not be, and the whole command ends well when it does."""

import tempfile
from types import SimpleNamespace

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from mailproxy.sandbox import run as run_module
from mailproxy.sandbox.__main__ import main
from mailproxy.sandbox.demo import (
    Listener,
    _check_logins,
    _check_mail,
    read_listeners,
    run_demo,
    wait_for_listeners,
)
from mailproxy.sandbox.mailboxes import Login
from mailproxy.sandbox.run import Proxy, Run
from mailproxy.sandbox.telnet import Unexpected
from mailproxy.sandbox.world import World
from tests.sandbox.open_proxy import OpenProxy
from tests.support.waiting import until

ACME = Listener("d", "smtp", "acme", 1)
GLOBEX = Listener("d", "smtp", "globex", 2)


def logins(*tenants, tls="TLSv1.3", mechanisms=("PLAIN", "XOAUTH2")):
    return [
        Login(number, "smtp", f"robot@{tenant}.example", mechanism, tls)
        for number, (tenant, mechanism) in enumerate((tenant, name) for tenant in tenants for name in mechanisms)
    ]


def test_every_mail_in_its_tenants_mailbox_is_right():
    _check_mail("acme", ["number one", "number two"], {ACME: "one", GLOBEX: "three"})


@pytest.mark.parametrize(
    ("mail", "words"),
    [([], "sent through d is missing"), (["number one", "number two"], "that globex sent through d went to acme")],
)
def test_a_mail_that_is_missing_or_in_the_wrong_mailbox_is_noticed(mail, words):
    with pytest.raises(Unexpected, match=words):
        _check_mail("acme", mail, {ACME: "one", GLOBEX: "two"})


def test_every_tenant_by_password_and_by_token_is_right():
    _check_logins([ACME, GLOBEX], logins("acme", "globex"))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (logins("acme"), "robot@globex.example did not log in with a password"),
        (logins("acme", "globex", mechanisms=("LOGIN",)), "robot@acme.example did not log in with a token"),
        (logins("acme", "globex", tls="none"), "without TLS"),
    ],
)
def test_a_login_that_is_missing_or_not_protected_is_noticed(seen, words):
    with pytest.raises(Unexpected, match=words):
        _check_logins([ACME, GLOBEX], seen)


@pytest_twisted.async_yield_fixture
async def proxy(world):
    proxy = OpenProxy(reactor, world)
    yield proxy
    await proxy.close()


@pytest_twisted.ensureDeferred
async def test_the_demonstration_shows_every_session_and_who_logged_in(world, proxy):
    transcript = []
    await deferToThread(wait_for_listeners, read_listeners(world.config), 10, lambda: True)
    for _ in range(2):  # the first leaves nothing behind that disturbs the second
        transcript.clear()
        await deferToThread(run_demo, world.config, transcript.append)
    titles = [line for line in transcript if line.startswith("\n--- ")]
    assert [title.split()[1:3] for title in titles] == [
        *[["acme", "sends:"], ["globex", "sends:"]] * 2,
        *[["acme", "collects:"], ["globex", "collects:"]] * 2,
        ["who", "logged"],
    ]
    assert transcript[1].startswith("S: 220 ")
    assert transcript[2] == "C: MAIL FROM:sender@transparentproxy.com"
    assert sum(line.startswith("smtp session ") for line in transcript) == 4
    assert not any(world.mailboxes.mailbox(tenant.user).messages for tenant in world.tenants)


@pytest_twisted.ensureDeferred
async def test_the_demonstration_alone_is_a_command(world, proxy, capsys):
    assert await deferToThread(main, ["demo", "--config", str(world.config)]) == 0
    assert "--- globex collects" in capsys.readouterr().out
    await proxy.close()
    assert await deferToThread(main, ["demo", "--config", str(world.config)]) == 1
    assert "The demonstration failed: no connection" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["serve"], ["demo"], ["fly"]])
def test_other_commands_are_told_how(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m mailproxy.sandbox" in capsys.readouterr().err


@pytest.fixture(autouse=True)
def temporary(monkeypatch, tmp_path):
    """Whatever happens, what `Run` leaves is under this test's own directory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


class StoppableReactor:
    """The real reactor, but that it only says so when it is asked to stop."""

    def __init__(self):
        self.stopped = Deferred()
        self.shut_down = None

    def __getattr__(self, name):
        return getattr(reactor, name)

    def addSystemEventTrigger(self, phase, event, call):
        assert (phase, event) == ("before", "shutdown")
        self.shut_down = call

    def stop(self):
        self.stopped.callback(None)


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Makes `Run` start a program of ours as mailproxy."""

    def start(text):
        child = program(tmp_path / "twistd", text)
        monkeypatch.setattr(run_module, "proxy_command", lambda _: [child])

    return start


@pytest.fixture
def with_open_proxy(monkeypatch):
    """Makes `Run` meet working listeners, whatever its child does."""
    proxies = []

    def open_world(reactor, directory):
        world = World.open(reactor, directory)
        proxies.append(OpenProxy(reactor, world))
        return world

    monkeypatch.setattr(run_module, "World", SimpleNamespace(open=open_world))
    yield
    for proxy in proxies:
        pytest_twisted.blockon(Deferred.fromCoroutine(proxy.close()))


@pytest.mark.parametrize("once", [True, False])
@pytest_twisted.ensureDeferred
async def test_the_whole_command_ends_with_success(started, with_open_proxy, capsys, once):
    started("exec sleep 60")
    stoppable = StoppableReactor()
    run = Run(stoppable, once=once)
    await run.start()
    assert stoppable.stopped.called == once
    await stoppable.shut_down()
    said = capsys.readouterr().out
    assert run.status == 0
    assert said.count("--- acme sends") == 2
    assert ("now you" in said) != once
    assert not run._proxy.running
    assert not run._directory.exists()


@pytest_twisted.ensureDeferred
async def test_a_proxy_that_ends_later_is_told(started, with_open_proxy, capsys):
    started("read line; exec sleep 60")
    stoppable = StoppableReactor()
    run = Run(stoppable, once=False)
    await run.start()
    assert run.status == 0
    run._proxy.transport.signalProcess("KILL")
    await stoppable.stopped
    await stoppable.shut_down()
    assert run.status == 1
    assert "mailproxy has ended by itself" in capsys.readouterr().out


@pytest_twisted.ensureDeferred
async def test_our_own_mistake_stops_everything_too(started, monkeypatch):
    started("exec sleep 60")
    monkeypatch.setattr(run_module, "wait_for_listeners", lambda *_: 1 / 0)
    stoppable = StoppableReactor()
    run = Run(stoppable, once=True)
    with pytest.raises(ZeroDivisionError):
        await run.start()
    await stoppable.stopped
    await stoppable.shut_down()
    assert run.status == 1


@pytest_twisted.ensureDeferred
async def test_a_proxy_that_does_not_start_is_told_with_its_log(started, capsys):
    started("echo the reason, in words; exit 3")
    stoppable = StoppableReactor()
    run = Run(stoppable, once=True)
    await run.start()
    await stoppable.stopped
    await stoppable.shut_down()
    said = capsys.readouterr().out
    assert run.status == 1
    assert "The demonstration failed: the proxy has ended before it listened" in said
    assert "the reason, in words" in said
    assert not run._directory.exists()


def test_a_proxy_that_has_ended_before_its_start_returns_does_not_run(started, tmp_path):
    class ReapsAtOnce:
        def spawnProcess(self, protocol, *_, **__):
            protocol.makeConnection(None)
            protocol.processEnded(Failure(ProcessDone(0)))

    started("exit 3")
    proxy = Proxy()
    proxy.start(ReapsAtOnce(), tmp_path / "mailproxy.toml", tmp_path / "log")
    assert not proxy.running
    assert proxy.ended.called


def _fail(*_):
    raise Unexpected("enough")


@pytest_twisted.ensureDeferred
async def test_a_proxy_that_does_not_end_when_asked_is_ended(started, tmp_path, monkeypatch):
    deaf = tmp_path / "deaf"
    started(f"trap '' TERM; touch {deaf}; exec sleep 60")
    monkeypatch.setattr(run_module, "_STOP_SECONDS", 0.05)
    monkeypatch.setattr(run_module, "wait_for_listeners", lambda *_: until(deaf.exists, "the child"))
    monkeypatch.setattr(run_module, "run_demo", _fail)
    stoppable = StoppableReactor()
    run = Run(stoppable, once=True)
    await run.start()
    await stoppable.stopped
    await stoppable.shut_down()
    assert run.status == 1
    assert not run._proxy.running


def test_without_twistd_there_is_a_clear_word(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unexpected, match="there is no twistd"):
        run_module.proxy_command(tmp_path)


class Gone:
    """The transport of a process that has ended, before anybody was told so."""

    def signalProcess(self, name):
        raise ProcessExitedAlready


def test_a_proxy_that_has_just_ended_by_itself_is_waited_for():
    proxy, clock = run_module.Proxy(), Clock()
    proxy.transport, proxy.running = Gone(), True
    stopped = Deferred.fromCoroutine(proxy.stop(clock))
    assert not stopped.called
    proxy.processEnded(Failure(ProcessDone(0)))
    assert stopped.called
    assert clock.getDelayedCalls() == []

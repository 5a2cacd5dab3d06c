"""
Sandbox, proxy and demonstration in one command.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from mailproxy.sandbox.demo import Listener, read_listeners, run_demo, wait_for_listeners
from mailproxy.sandbox.layout import mailbox_of
from mailproxy.sandbox.telnet import Unexpected
from mailproxy.sandbox.world import World

LOG_FILE = "mailproxy.log"

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_SHOWN_LOG_LINES = 100


def proxy_command(config: Path) -> list[str]:
    """
    The command line that starts mailproxy the way an operator does.

    Raises:
        Unexpected: no twistd belongs to this Python.
    """
    beside = Path(sys.executable).parent
    twistd = shutil.which("twistd", path=f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    if twistd is None:
        raise Unexpected(f"there is no twistd beside {sys.executable}")
    return [twistd, "-n", "--pidfile=", "mailproxy", "--config", str(config)]


def python_path() -> str:
    """A PYTHONPATH with which twistd finds our plugin, also in a checkout that was not installed."""
    return os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))


class Proxy(ProcessProtocol):
    """mailproxy as a child, started the way an operator starts it; its log goes to a file."""

    def __init__(self) -> None:
        self.running = False
        self.ended: Deferred[None] = Deferred()

    def start(self, reactor: Any, config: Path, log: Path) -> None:
        """The child runs; nothing is known about its listeners yet."""
        command = proxy_command(config)
        environment = {**os.environ, "PYTHONPATH": python_path()}
        with log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
            files = {0: nothing.fileno(), 1: output.fileno(), 2: output.fileno()}
            reactor.spawnProcess(self, command[0], command, environment, childFDs=files)

    def connectionMade(self) -> None:
        """It runs; perhaps not for long: a child that ends at once is reaped before `spawnProcess` returns."""
        self.running = True

    def processEnded(self, reason: Failure) -> None:
        """It is gone."""
        del reason
        self.running = False
        self.ended.callback(None)

    async def stop(self, reactor: Any) -> None:
        """It was asked to end, then told to, and is gone."""
        if not self.running:
            return
        self._signal("TERM")
        kill = reactor.callLater(_STOP_SECONDS, self._signal, "KILL")
        await self.ended
        if kill.active():
            kill.cancel()

    def _signal(self, name: str) -> None:
        assert self.transport is not None
        with suppress(ProcessExitedAlready):  # and we are about to be told so
            self.transport.signalProcess(name)


class Run:
    """
    The whole command; `status` is what the process ends with.

    Args:
        once: end after the transcript instead of staying.
    """

    def __init__(self, reactor: Any, *, once: bool) -> None:
        self.status = 1
        self._reactor = reactor
        self._once = once
        self._directory = Path(tempfile.mkdtemp(prefix="mailproxy-sandbox-"))
        self._world: World | None = None
        self._proxy = Proxy()
        self._stopping = False

    async def start(self) -> None:
        """Everything was started and shown; the reactor goes on if it is to stay."""
        self._reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(self._shut_down()))
        try:
            await self._show()
        except Unexpected as failure:
            self._fail(str(failure))
        except BaseException:
            self._stop()
            raise  # our own mistake: Twisted prints it
        else:
            self.status = 0
            if self._once:
                self._stop()

    async def _show(self) -> None:
        print("Starting the sandbox's mail servers and services, and mailproxy in front of them.")
        self._world = World.open(self._reactor, self._directory)
        config = self._world.config
        self._proxy.start(self._reactor, config, self._log)
        self._proxy.ended.addCallback(self._proxy_ended)
        listeners = read_listeners(config)
        await deferToThread(wait_for_listeners, listeners, _START_SECONDS, lambda: self._proxy.running)
        await deferToThread(run_demo, config, print)
        if not self._once:
            print(_hints(listeners, self._directory))

    @property
    def _log(self) -> Path:
        return self._directory / LOG_FILE

    def _proxy_ended(self, _: None) -> None:
        if self.status == 0 and not self._stopping:
            self.status = 1
            self._fail("mailproxy has ended by itself")

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()

    def _fail(self, reason: str) -> None:
        if self._stopping:
            return
        lines = self._log.read_text(errors="backslashreplace").splitlines() if self._log.exists() else []
        print(
            f"\nThe demonstration failed: {reason}\n\nThe end of mailproxy's log:\n",
            *lines[-_SHOWN_LOG_LINES:],
            sep="\n",
        )
        self._reactor.stop()

    async def _shut_down(self) -> None:
        self._stopping = True
        await self._proxy.stop(self._reactor)
        if self._world is not None:
            await self._world.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def _hints(listeners: list[Listener], directory: Path) -> str:
    lines = ["\n--- now you: in another terminal, type what stands behind C: above\n"]
    for tenant in dict.fromkeys(listener.tenant for listener in listeners):
        lines.append(f"{tenant} (mailbox {mailbox_of(tenant)})")
        for listener in listeners:
            if listener.tenant == tenant:
                does = "sends   " if listener.protocol == "smtp" else "collects"
                lines.append(f"  {does}  telnet 127.0.0.1 {listener.port:<5}  # {listener.destination}")
        collecting = next(item for item in listeners if (item.tenant, item.protocol) == (tenant, "pop3"))
        sending = next(item for item in listeners if (item.tenant, item.protocol) == (tenant, "smtp"))
        lines += [
            f"  without telnet:  nc -C 127.0.0.1 {sending.port}",
            f"                   printf 'list\\r\\nretr 1\\r\\nquit\\r\\n' | nc 127.0.0.1 {collecting.port}",
        ]
    return "\n".join([*lines, f"\nConfiguration and log are in {directory}; Ctrl-C ends everything and removes it."])

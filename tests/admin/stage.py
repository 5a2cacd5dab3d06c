"""
The admin endpoint with a picture of our own behind it, as a process:

    python -m tests.admin.stage PORT SCENE [TOKEN]

A question for /scene/NAME changes the picture.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint

from mailproxy.admin.answers import Answer
from mailproxy.admin.channel import Door
from mailproxy.admin.desk import Asked, Desk
from mailproxy.admin.guard import Guard
from mailproxy.admin.values import Picture
from tests.admin.scenes import SCENES, pages
from tests.support.ports import free_port
from tests.support.programs import Daemon
from tests.support.tools import CHECKOUT


class Stage(Desk):
    """The desk, whose picture can be changed."""

    scene = "healthy"

    def __init__(self, scene: str, token: Callable[[], str] | None) -> None:
        self.scene = scene
        super().__init__(pages(self._picture), Guard((), token), reactor.seconds)

    def _picture(self) -> Picture:
        return SCENES[self.scene]()

    async def answer(self, asked: Asked) -> Answer:
        """As the desk; the picture changes on demand."""
        name = asked.path.removeprefix("/scene/")
        if name in SCENES:
            self.scene = name
            return Answer(200, "text/plain", b"")
        return await super().answer(asked)


@contextmanager
def running_stage(folder: Path, scene: str, token: str = "") -> Iterator[str]:
    """It runs: its address."""
    port = free_port()
    command = [sys.executable, "-m", "tests.admin.stage", str(port), scene, token]
    daemon = Daemon.start(command, log=folder / "stage.log", env={"PYTHONPATH": str(CHECKOUT)}, cwd=CHECKOUT)
    try:
        daemon.wait_for(port)
        yield f"http://127.0.0.1:{port}/"
    finally:
        daemon.stop()
    assert "Traceback" not in daemon.text, daemon.text


def main(port: str, scene: str, token: str) -> None:
    """It serves until it is ended."""
    desk = Stage(scene, (lambda: token) if token else None)
    TCP4ServerEndpoint(reactor, int(port), interface="127.0.0.1").listen(Door(desk, reactor))
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

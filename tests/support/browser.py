"""
A real Chromium without a screen, driven through ChromeDriver by plain HTTP (W3C WebDriver).
"""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define

from tests.support.ports import free_port
from tests.support.programs import Daemon, program
from tests.support.waiting import until

ANSWER_SECONDS = 60
_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
]
"""What it takes as root, and so that it asks nobody but the page's own server."""


@define
class Browser:
    """One window."""

    port: int
    session: str = ""

    def open(self, url: str) -> None:
        """The page is there, with what it loads."""
        self._session("POST", "url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """What the script, a function's body, returns."""
        return self._session("POST", "execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, condition: str, what: str) -> Any:
        """The value of an expression, once it is true."""
        return until(lambda: self.run(f"return {condition}"), what, seconds=20)

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        """The page has so much room."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone},
        )

    def prefer(self, **features: str) -> None:
        """The page is told what its reader prefers; dashes are written as underscores."""
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.command("Emulation.setEmulatedMedia", {"features": wanted})

    def command(self, name: str, parameters: Any = None) -> Any:
        """What a command of Chromium's own answers."""
        return self._session("POST", "goog/cdp/execute", {"cmd": name, "params": parameters or {}})

    def picture(self, path: Path, width: int, height: int, *, scale: float = 1) -> None:
        """The upper left part of the page is in a file, so large, and then scaled."""
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": scale}
        shot = self.command("Page.captureScreenshot", {"format": "png", "clip": clip})
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[str]:
        """What the console has said since it was asked last."""
        return [entry["message"] for entry in self._session("POST", "se/log", {"type": "browser"})]

    def asked(self) -> list[str]:
        """Every address that was asked for since it was asked last."""
        entries = self._session("POST", "se/log", {"type": "performance"})
        events = [json.loads(entry["message"])["message"] for entry in entries]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """ChromeDriver's answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        value = answer["value"]
        assert not (isinstance(value, dict) and "error" in value), value
        return value

    def _session(self, method: str, path: str, body: Any) -> Any:
        return self.ask(method, f"/session/{self.session}/{path}", body)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Chromium runs, with nothing of before in it; nothing of it is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mpbrowser"))
    port = free_port()
    daemon = Daemon.start(["chromedriver", f"--port={port}"], log=folder / "chromedriver.log")
    try:
        daemon.wait_for(port)
        browser = Browser(port)
        options = {
            "binary": program("chromium"),
            "args": [*_ARGUMENTS, f"--user-data-dir={folder / 'profile'}"],
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        browser.session = browser.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        try:
            yield browser
        finally:
            browser.ask("DELETE", f"/session/{browser.session}")
    finally:
        daemon.stop()
        shutil.rmtree(folder, ignore_errors=True)

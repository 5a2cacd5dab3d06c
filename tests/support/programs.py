"""
Other people's programs: found, run, started, stopped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import define

from tests.support.waiting import listens, until

_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"


def program(name: str) -> str:
    """The path of an installed program; a missing one fails the test and says what to do."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_FOLDERS}")
    assert path, f"{name} is not installed; `make deps` installs what the integration tests need"
    return path


def run(
    command: Sequence[str | Path],
    *,
    stdin: bytes = b"",
    seconds: float = 60,
    expect: int | None = 0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> bytes:
    """
    Output (and error output) of a program that ran to its end with the expected exit status; None takes any.
    """
    done = subprocess.run(
        [program(str(command[0])), *map(str, command[1:])],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds,
        env=None if env is None else {**os.environ, **env},
        cwd=cwd,
        check=False,
    )
    text = done.stdout.decode(errors="replace")
    assert expect is None or done.returncode == expect, f"{command[0]} ended with {done.returncode}:\n{text}"
    return done.stdout


@define
class Daemon:
    """
    A server that we started and that we will end; its output goes to a file.
    """

    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(
        cls,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Daemon:
        """The program runs; nothing is known about its ports yet."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                [program(str(command[0])), *map(str, command[1:])],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if env is None else {**os.environ, **env},
                cwd=cwd,
            )
        return cls(process, log)

    @property
    def text(self) -> str:
        """All that it has said so far."""
        return self.log.read_text(errors="replace")

    def wait_for(self, *ports: int, seconds: float = 20) -> None:
        """Every port is listened on; the program's end before that fails the test with its words."""
        for port in ports:
            until(lambda port=port: self._ended() or listens(port), f"port {port}\n{self.text}", seconds=seconds)
            assert not self._ended(), f"ended with {self.process.returncode} before it listened:\n{self.text}"

    def stop(self, *, seconds: float = 20) -> int:
        """It was asked to end with SIGTERM, and did; its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not end within {seconds} s of SIGTERM:\n{self.text}") from None

    def _ended(self) -> bool:
        return self.process.poll() is not None

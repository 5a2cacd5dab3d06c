"""
What clients need on disk: a scratch folder, the compiled Java program, nodemailer.

`python -m tests.support.tools` fetches nodemailer from the package registry; after that tests need no network.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from attrs import frozen

from tests.support.programs import run

CHECKOUT = Path(__file__).resolve().parents[2]

_SOURCES = Path(__file__).resolve().parent
_NODE_FOLDER = CHECKOUT / "build" / "node"
_NODE_FILES = ("package.json", "package-lock.json", "send.mjs")
_JARS = ("jakarta-mail.jar", "jakarta-activation.jar")


@frozen
class Tools:
    """`node` is a folder with `send.mjs` and nodemailer; `class_path` is Java's."""

    scratch: Path
    node: Path
    class_path: str

    @classmethod
    def prepare(cls, scratch: Path) -> Tools:
        """Everything is compiled and installed."""
        return cls(scratch, install_nodemailer(), _compile(scratch / "classes"))


def install_nodemailer() -> Path:
    """The folder that holds nodemailer as the lock file has it; fetched only when it is not there yet."""
    wanted = (_SOURCES / "node" / "package-lock.json").read_bytes()
    installed = _NODE_FOLDER / "node_modules" / "nodemailer" / "package.json"
    lock = _NODE_FOLDER / "package-lock.json"
    complete = installed.exists() and lock.exists() and lock.read_bytes() == wanted
    _NODE_FOLDER.mkdir(parents=True, exist_ok=True)
    for name in _NODE_FILES:
        shutil.copy(_SOURCES / "node" / name, _NODE_FOLDER / name)
    if not complete:
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=_NODE_FOLDER, seconds=120)
    return _NODE_FOLDER


def _compile(classes: Path) -> str:
    jars = [Path("/usr/share/java") / jar for jar in _JARS]
    for jar in jars:
        assert jar.exists(), f"{jar} is missing; `make deps` installs libjakarta-mail-java"
    class_path = ":".join(map(str, [classes, *jars]))
    run(["javac", "-cp", class_path, "-d", classes, _SOURCES / "java" / "Mail.java"])
    return class_path


if __name__ == "__main__":
    install_nodemailer()

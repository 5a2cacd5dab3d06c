"""
Writes what the doctor says now into its pages: `python -m tests.doctor.quote`, after every change of its words.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from tests.doctor.providers import FAULTS, Stage
from tests.doctor.ward import CASES, opened
from tests.support.pages import DOCS, page


async def _rewrite(reactor):
    path = DOCS / "how-to" / "doctor.md"
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            ward = opened(reactor, Path(folder) / "ward")
            case(ward)
            await _replace(path, name, ward.said)
            await ward.close()
    for name, fault in FAULTS.items():
        where = page(f"how-to/{fault.page}.md")
        with tempfile.TemporaryDirectory() as folder:
            stage = Stage(reactor, Path(folder), fault)
            await _replace(where.path, name, lambda command, stage=stage, where=where: stage.said(where, command))


async def _replace(path, name, say):
    """The block of that name holds what is said to its first line now."""
    text = path.read_text()
    found = re.search(rf"^```text {name}\n\$ (.*)\n((?:.*\n)*?)```$", text, re.MULTILINE)
    assert found is not None, f"{path}: there is no block for {name}"
    path.write_text(text.replace(found[0], f"```text {name}\n{await say(found[1])}```"))


if __name__ == "__main__":
    react(lambda each: Deferred.fromCoroutine(_rewrite(each)))

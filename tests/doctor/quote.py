"""
Writes what the doctor says now into its page: `python -m tests.doctor.quote`, after every change of its words.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from tests.doctor.ward import CASES, opened
from tests.support.pages import DOCS


async def _rewrite(reactor):
    path = DOCS / "how-to" / "doctor.md"
    text = path.read_text()
    for name, case in CASES.items():
        found = re.search(rf"^```text {name}\n\$ (.*)\n((?:.*\n)*?)```$", text, re.MULTILINE)
        assert found is not None, f"the page has no block for {name}"
        with tempfile.TemporaryDirectory() as folder:
            ward = opened(reactor, Path(folder) / "ward")
            case(ward)
            said = await ward.said(found[1])
            await ward.close()
        text = text.replace(found[0], f"```text {name}\n{said}```")
    path.write_text(text)


if __name__ == "__main__":
    react(lambda each: Deferred.fromCoroutine(_rewrite(each)))

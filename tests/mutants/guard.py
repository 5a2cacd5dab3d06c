"""
A guard of the proxy, and what is left when it is taken away.
"""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent

from attrs import frozen


@frozen
class Guard:
    """
    Args:
        name: what it guards, in the words of the documentation.
        file: where it stands, below `mailproxy/`.
        before: its text, which stands there once: a part of a line, or whole lines however far they are indented.
        after: what stands there without it.
        tests: files or folders of tests, or single tests, below `tests/`, one of which must fail then.
        seeds: in how many worlds of the simulation one must fail; 0 where it cannot notice.
    """

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...] = ()
    seeds: int = 0

    def path(self, tree: Path) -> Path:
        return tree / "mailproxy" / self.file

    def without(self, tree: Path) -> str:
        """The text of the file when the guard is gone."""
        text = self.path(tree).read_text()
        before = self._pattern()
        found = before.findall(text)
        if len(found) != 1:
            raise LookupError(f"{self.name}: its text stands {len(found)} times in {self.file}")
        return before.sub(self._instead, text)

    def take_away(self, tree: Path) -> None:
        self.path(tree).write_text(self.without(tree))

    def _pattern(self) -> re.Pattern[str]:
        if "\n" not in self.before:
            return re.compile(re.escape(self.before))
        first, *more = self.before.strip("\n").split("\n")
        lines = ["^( *)" + re.escape(first), *(r"\1" + re.escape(line) if line else "" for line in more)]
        return re.compile("\n".join(lines) + "\n", re.MULTILINE)

    def _instead(self, place: re.Match[str]) -> str:
        if "\n" not in self.before:
            return self.after
        lines = self.after.strip("\n")
        return indent(lines, place.group(1)) + "\n" if lines else ""

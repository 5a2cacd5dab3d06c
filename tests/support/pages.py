"""
The documentation, taken apart: pages, headings, links, tables and blocks of code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from attrs import frozen

from mailproxy.destination.model import MailProtocol

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PROTOCOLS = {
    "smtp": MailProtocol.SMTP,
    "smtps": MailProtocol.SMTP,
    "pop3": MailProtocol.POP3,
    "pop3s": MailProtocol.POP3,
}
"""What the listener speaks, for each protocol of a destination."""

_FENCE = re.compile(r"^```(\w*) ?(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
_CELLS = re.compile(r"(?<!\\)\|")


@frozen
class Block:
    """A block of code; `name` is what stands behind its language, by our habit a file's path."""

    language: str
    name: str
    text: str


@frozen
class Page:
    """One file of Markdown."""

    path: Path

    @property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text()

    @property
    def prose(self) -> str:
        """All of it without blocks of code."""
        return _FENCE.sub("", self.text)

    @property
    def blocks(self) -> list[Block]:
        """Its blocks of code."""
        return [Block(*found.groups()) for found in _FENCE.finditer(self.text)]

    @property
    def anchors(self) -> set[str]:
        """What a link can lead to, as GitHub makes it out of headings."""
        headings = re.findall(r"^#+ (.*)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    @property
    def links(self) -> list[str]:
        """Where its links lead to."""
        return re.findall(r"\]\(([^)\s]+)\)", self.prose)

    @property
    def spans(self) -> set[str]:
        """What stands in its text as code."""
        return set(spans(self.prose))

    def tables(self) -> Iterator[tuple[list[str], list[list[str]]]]:
        """Each table as its head and its rows, cell by cell."""
        for found in re.finditer(r"(?:^\|.*\|\n)+", self.prose, re.MULTILINE):
            head, _, *rows = [_cells(line) for line in found.group().splitlines()]
            assert all(len(row) == len(head) for row in rows), f"{self.path}: a row of {head} has another length"
            yield head, rows

    def table(self, *head: str) -> list[dict[str, str]]:
        """The rows of all tables whose head begins so."""
        found = [(each, rows) for each, rows in self.tables() if each[: len(head)] == list(head)]
        assert found, f"{self.path}: there is no table with {head}"
        return [dict(zip(each, row, strict=True)) for each, rows in found for row in rows]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in _CELLS.split(line)[1:-1]]


def spans(text: str) -> list[str]:
    """What stands in a text as code."""
    return re.findall(r"`([^`\n]+)`", text)


def span(cell: str) -> str:
    """The one thing in a cell, which is code."""
    found = re.fullmatch(r"`([^`]+)`", cell)
    assert found, f"{cell!r} is not code alone"
    return found[1]


@cache
def page(name: str) -> Page:
    """A page below `docs`."""
    return Page(DOCS / name)


def pages() -> list[Page]:
    """README, SECURITY and all pages."""
    return [
        *(Page(ROOT / name) for name in ("README.md", "SECURITY.md")),
        *(Page(path) for path in sorted(DOCS.rglob("*.md"))),
    ]


def unique(items: Iterable[str]) -> set[str]:
    """The items as a set; one that stands there twice is a mistake."""
    found = list(items)
    assert len(found) == len(set(found)), sorted(item for item in found if found.count(item) > 1)
    return set(found)

"""
Sessions of workers that ended badly, as parts of messages: what a supervisor shows of them.

A worker tells a recording once, with a number, when somebody looks; and the numbers of those that count, when others do
than before.  So that looking costs it little, however often.

A recording is a text that holds JSON, and not JSON in the message: octets that are no UTF-8 stand in it as what has no
UTF-8 either, and only between quotes of its own may they.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from mailproxy.flight.latest import MAX_SHOWN
from mailproxy.flight.recording import NoRecording, Recording, is_modest, read, written
from mailproxy.workers.counts import as_list, as_number

MAX_RECORDING_CHARACTERS = 1 << 20
"""
Of the text of one.  A tape of 8 KiB comes to 100,000 at most; the rest is for what mail servers offered, which is far
less unless one offers as much as it may, and something else each time.  In a message it is at most twice as long.
"""


class Telling:
    """What a worker has told of its recordings."""

    def __init__(self) -> None:
        self._count = count(1)
        self._numbers: dict[Recording, int | None] = {}
        """Of those that counted last; None for what cannot be told."""

    def news(self, recordings: Iterable[Recording]) -> Iterator[dict[str, Any]]:
        """What is to be said so that these are known, the last one first, and no others; from now on it is said."""
        before, self._numbers = self._numbers, {}
        for recording in recordings:
            if recording in before:
                self._numbers[recording] = before[recording]
                continue
            text = format_recording(recording)
            number = self._numbers[recording] = None if text is None else next(self._count)
            if number is not None:
                yield {"recording": [number, text]}
        if list(self._numbers.values()) != list(before.values()):
            yield {"shelf": [number for number in self._numbers.values() if number is not None]}


class Shelf:
    """The recordings of one worker, as it has told them."""

    def __init__(self) -> None:
        self._told: dict[int, Recording] = {}

    def put(self, raw: object) -> None:
        """
        One that it has told.

        Raises:
            ValueError: it is none, or one too many.
        """
        number, text = as_list(raw, [2])
        if as_number(number) in self._told or len(self._told) == 2 * MAX_SHOWN:
            raise ValueError("a recording is told twice, or one too many")
        self._told[number] = parse_recording(text)

    def keep(self, raw: object) -> tuple[Recording, ...]:
        """
        Those that count, in the worker's order; the others are gone.

        Raises:
            ValueError: one of them was never told.
        """
        numbers = [as_number(each) for each in as_list(raw, range(MAX_SHOWN + 1))]
        if not self._told.keys() >= set(numbers):
            raise ValueError("a recording counts that was not told")
        self._told = {number: self._told[number] for number in numbers}
        return tuple(self._told.values())


def format_recording(recording: Recording) -> str | None:
    """Its text; None where it is larger than any that should be shown."""
    text = json.dumps(written(recording), separators=(",", ":"))
    return text if len(text) <= MAX_RECORDING_CHARACTERS and is_modest(recording) else None


def parse_recording(raw: object) -> Recording:
    """
    The recording in a text.

    Raises:
        ValueError: there is none in it, or more than there can be.
    """
    if not isinstance(raw, str) or len(raw) > MAX_RECORDING_CHARACTERS:
        raise ValueError("a recording is no text, or too long")
    try:
        return read(json.loads(raw))
    except (NoRecording, RecursionError, ValueError):
        raise ValueError("a recording is none") from None

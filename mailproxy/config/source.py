"""
A configuration file to plain TOML values.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from mailproxy.errors import ConfigError

MAX_FILE_OCTETS = 1 << 20
"""More than any configuration needs; it bounds what a wrong path can cost."""


def read_source(path: Path) -> bytes:
    """
    What a file holds.

    Raises:
        ConfigError: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_FILE_OCTETS + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    if len(octets) > MAX_FILE_OCTETS:
        raise ConfigError([f"{path}: is larger than {MAX_FILE_OCTETS} octets"])
    return octets


def parse_toml(path: Path, octets: bytes) -> dict[str, Any]:
    """
    The tables in what a file holds.

    Raises:
        ConfigError: it is no TOML; a syntax error names its line and column.
    """
    try:
        return tomllib.loads(octets.decode())
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: {_place(octets[: error.start])}: not UTF-8"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: {_syntax_error(str(error), octets)}"]) from error
    except RecursionError as error:
        raise ConfigError([f"{path}: nested too deeply"]) from error
    except ValueError as error:  # Python turns no more than 4300 digits into a number
        raise ConfigError([f"{path}: a number is too long"]) from error


def _place(before: bytes) -> str:
    """The line and column that follow these octets."""
    return f"line {before.count(10) + 1}, column {len(before) - before.rfind(10)}"


def _syntax_error(text: str, octets: bytes) -> str:
    """What tomllib says, with the place in front."""
    found = re.fullmatch(r"(.*) \(at (line \d+, column \d+|end of document)\)", text, re.DOTALL)
    if found is None:
        return text
    place = _place(octets) if found[2] == "end of document" else found[2]
    return f"{place}: {found[1]}"

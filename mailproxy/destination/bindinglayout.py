"""
The forms in which a service key is handed to a program, all turned into one set of fields.

- a file with the key as JSON, or with `{"credentials": {...}}` around it;
- a directory with one file per field, as in servicebinding.io and in a mounted Secret of SAP's operator, whose
  `.metadata` says which fields are JSON and which one holds all credentials at once;
- a directory in which one file holds everything as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from mailproxy.destination.files import Stamp, read_small, stamp
from mailproxy.destination.jsontext import load_object

_MAX_FILES = 100
_METADATA = ".metadata"

Fields = Mapping[str, object]

A = TypeVar("A")
R = TypeVar("R")


def layout_stamp(path: Path) -> tuple[Stamp, ...]:
    """
    Changes when anything of the key does.

    Raises:
        OSError: it cannot be looked at.
    """
    stamps = [stamp(path)]
    if path.is_dir():
        stamps += [stamp(file) for file in _files(path)]
        metadata = path / _METADATA
        stamps += [stamp(metadata)] if metadata.exists() else []
    return tuple(stamps)


def read_fields(path: Path) -> Fields:
    """
    The fields of the key at a path.

    Raises:
        ValueError: there is none that can be read.  The text names the file at fault, if it is not `path` itself.
    """
    try:
        return _read_directory(path) if path.is_dir() else _load_fields(read_small(path))
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error


def _files(path: Path) -> list[Path]:
    """The files with the fields; names with a dot in front belong to whoever mounted them."""
    files = sorted(file for file in path.iterdir() if not file.name.startswith(".") and file.is_file())
    if len(files) > _MAX_FILES:
        raise ValueError(f"holds more than {_MAX_FILES} files")
    return files


def _read_directory(path: Path) -> Fields:
    formats, containers = _read_metadata(path / _METADATA)
    contents = {file.name: _read_named(file) for file in _files(path)}
    fields: dict[str, object] = {}
    for name, content in contents.items():
        if name in containers:
            fields |= _named(name, _load_fields, content)
        else:
            fields[name] = _named(name, _load_value if formats.get(name) == "json" else _load_text, content)
    return fields if "clientid" in fields else fields | _find_all_in_one(contents)


def _read_metadata(path: Path) -> tuple[dict[str, str], set[str]]:
    """The format of each field, and the fields that hold all credentials; both empty without metadata."""
    if not path.exists():
        return {}, set()
    properties = _named(path.name, load_object, _read_named(path)).get("credentialProperties")
    entries = [entry for entry in properties if isinstance(entry, dict)] if isinstance(properties, list) else []
    formats = {str(entry.get("name")): str(entry.get("format")) for entry in entries}
    return formats, {str(entry.get("name")) for entry in entries if entry.get("container") is True}


def _find_all_in_one(contents: Mapping[str, bytes]) -> dict[str, object]:
    """The credentials in the one file that holds them all; empty if there is no such file, or more than one."""
    found = []
    for content in contents.values():
        try:
            fields = _load_fields(content)
        except ValueError:
            continue
        found += [fields] if "clientid" in fields else []
    return found[0] if len(found) == 1 else {}


def _load_fields(content: bytes) -> dict[str, object]:
    """The fields of a key in JSON, out of whatever is around them."""
    outer = load_object(content, unique_keys=True)
    inner = [value for value in outer.values() if isinstance(value, dict) and "clientid" in value]
    return outer if "clientid" in outer or len(inner) != 1 else inner[0]


def _load_value(content: bytes) -> object:
    """Any JSON value."""
    return load_object(b'{"value":' + content + b"}")["value"]


def _load_text(content: bytes) -> str:
    """
    The text without the newline that an editor put at its end; a PEM block keeps it, there it belongs to the text.
    """
    text = content.decode("utf-8")
    return text if text.startswith("-----BEGIN ") else text.removesuffix("\n").removesuffix("\r")


def _read_named(file: Path) -> bytes:
    return _named(file.name, read_small, file)


def _named(name: str, read: Callable[[A], R], argument: A) -> R:
    """What `read` makes of it; its error says which file it was."""
    try:
        return read(argument)
    except UnicodeDecodeError:
        raise ValueError(f"{name}: is no UTF-8 text") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error.__cause__

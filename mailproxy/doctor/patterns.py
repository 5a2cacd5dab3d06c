"""
Regular expressions that cannot be made to run for long, whatever the text: the texts come from strangers.

Python's engine tries one way after the other.  So there is nothing here that multiplies ways: no repetition without an
end, none of a group, no group that looks around or refers back, and few repetitions in one expression.
"""

from __future__ import annotations

import re

MAX_PATTERN_CHARACTERS = 300
MAX_REPEATED = 300
"""The longest repetition of one character."""
MAX_REPETITIONS = 3
"""How many repetitions of more than 20 characters may stand in one alternative after the other."""

_SHORT = 20

# What stands in a pattern, one after the other; a class counts as one character.
_TOKEN = re.compile(
    r"""
    (?P<escape>\\.)
  | (?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])
  | (?P<open>\((?:\?:)?)
  | (?P<close>\))
  | (?P<count>\{(?P<least>\d{1,4})(?P<more>,(?P<most>\d{0,4}))?\})
  | (?P<many>[*+])
  | (?P<optional>\?)
  | (?P<or>\|)
  | (?P<other>[^\\])
    """,
    re.VERBOSE | re.DOTALL,
)


def compiled(text: str) -> re.Pattern[str]:
    """
    The pattern, which ignores case, and to which each line is one.

    Raises:
        ValueError: it is none, or one that could take long.
    """
    if not 0 < len(text) <= MAX_PATTERN_CHARACTERS:
        raise ValueError(f"is not 1 to {MAX_PATTERN_CHARACTERS} characters long")
    _check(text)
    try:
        return re.compile(text, re.IGNORECASE | re.MULTILINE)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None


def _check(text: str) -> None:
    before, wide, place = "", 0, 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None:
            raise ValueError("is no regular expression")
        kind, place = str(token.lastgroup), token.end()
        if kind == "escape" and token[0][1].isdigit():
            raise ValueError("refers back to a group")
        if kind == "many":
            raise ValueError("repeats without an end")
        if kind == "optional" and before in ("open", "count", "optional", ""):
            raise ValueError("looks around, or repeats lazily")
        if kind == "count":
            wide += _width(token, before)
        if kind == "or":
            wide = 0
        if wide > MAX_REPETITIONS:
            raise ValueError(f"repeats more than {MAX_REPETITIONS} times")
        before = kind


def _width(token: re.Match[str], before: str) -> int:
    """1 for a repetition that costs something."""
    if before not in ("escape", "set", "other"):
        raise ValueError("repeats a group")
    least, most = int(token["least"]), token["most"]
    longest = least if token["more"] is None else int(most) if most else MAX_REPEATED + 1
    if longest > MAX_REPEATED:
        raise ValueError(f"repeats more than {MAX_REPEATED} characters")
    return 1 if longest - least > _SHORT else 0

"""
Under which name a mail server keeps a message, as far as its reply to the end of mail data tells.

Each server says it in its own way, and only those are listed whose shape leaves no doubt.
"""

from __future__ import annotations

import re

_SHAPES = (
    re.compile(r"\bqueued as ([0-9A-Za-z]{5,64})\b"),
    re.compile(r"\bOK id=([0-9A-Za-z-]{10,64})(?![0-9A-Za-z-])"),
    re.compile(r"\[InternalId=([0-9]{1,64})\b"),
    re.compile(r"(?:^|\s)([0-9A-Za-z]{8,64}) Message accepted for delivery\b"),
)
"""Those of Postfix, Exim, Exchange and Sendmail, in this order."""


def queue_id(text: str) -> str | None:
    """The name in the text of a positive reply; None where none is recognised."""
    for shape in _SHAPES:
        if found := shape.search(text):
            return found.group(1)
    return None

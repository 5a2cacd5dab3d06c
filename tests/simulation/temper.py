"""
How a peer behaves: mostly well, sometimes late, wrong, silent or gone.
"""

from __future__ import annotations

from attrs import define

GARBAGE = (
    b"hello there\r\n", b"\xff\xfe\x00\r\n", b"2x0 ok\r\n", b"250-one\r\n251 two\r\n", b"999 no such code\r\n",
    b"250" + b"x" * 6000 + b"\r\n", b"-ERR\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\r\n",
    b"\x15\x03\x01\x00\x02\x02\x16", b"+OKAY\r\n", b"250-" + b"y" * 200 + b"\r\n",
)  # fmt: skip

FAULTS = (
    ("slow", 30),
    ("very slow", 8),
    ("stall", 6),
    ("close", 8),
    ("abort", 6),
    ("bye", 6),
    ("garbage", 6),
    ("endless", 2),
    ("twice", 8),
    ("again later", 8),
    ("half again", 6),
    ("wrong", 6),
    ("refuse", 12),
    ("our login", 3),
)
_NAMES = [name for name, _ in FAULTS]
_WEIGHTS = [weight for _, weight in FAULTS]


@define(eq=False)
class Temper:
    """`share` of what a peer does goes wrong, in some of the ways there are."""

    random: object
    share: float

    def fault(self):
        """What goes wrong this time; None for nothing."""
        if self.random.random() >= self.share:
            return None
        return self.random.choices(_NAMES, _WEIGHTS)[0]

    def happens(self, times=1.0):
        """Whether something goes wrong that is so many times as likely as usual."""
        return self.random.random() < self.share * times

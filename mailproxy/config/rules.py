"""
What a value must be beyond its type; written next to the type as `Annotated[float, Between(0.01, 86400)]`.

A rule is called with the value and returns what is wrong with it, or None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Annotated

from attrs import frozen

LOCAL = "unix"
"""In the place of a network: whoever reaches a local socket."""

Rule = Callable[[object], str | None]


@frozen
class Between:
    """A finite number from `least` to `most`, both included; `zero` names what 0 means where it is allowed besides."""

    least: float
    most: float
    zero: str = ""

    def __call__(self, value: object) -> str | None:
        """What is wrong with the value."""
        if not isinstance(value, int | float):
            return "must be a number"
        if math.isfinite(value) and (self.least <= value <= self.most or (self.zero and value == 0)):
            return None
        wanted = f"must be between {self.least:.15g} and {self.most:.15g}"
        return f"{wanted}, or 0 for {self.zero}" if self.zero else wanted


@frozen
class Matches:
    """A text that matches `pattern` as a whole; `wanted` says so in words."""

    pattern: str
    wanted: str

    def __call__(self, value: object) -> str | None:
        """What is wrong with the value."""
        return None if re.fullmatch(self.pattern, str(value)) else f"must be {self.wanted}"


@frozen
class InNetwork:
    """An address, a network of them that is not all there are, or the word for local sockets."""

    wanted: str = f"an address, a network such as 10.0.0.0/8, or {LOCAL!r}"

    def __call__(self, value: object) -> str | None:
        """What is wrong with the value."""
        if value == LOCAL:
            return None
        try:
            network = ip_network(str(value))
        except ValueError:
            return f"must be {self.wanted}"
        if getattr(network.network_address, "ipv4_mapped", None) is not None:
            return "must be written as what it is, an address or network of IPv4"
        return None if network.prefixlen else "must not be everybody: whoever is listed is believed in all it says"


# RFC 1035 §2.3.1 with the relaxation of RFC 1123 §2.1: label = let-dig [ *61( let-dig / "-" ) let-dig ]
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = rf"(?=.{{1,253}}\Z)(?i:{_LABEL}(?:\.{_LABEL})*)"
# RFC 5321 §4.1.3, as far as a name of ours goes; what is inside the brackets is the operator's to know
_LITERAL = r"\[[0-9A-Za-z:.]{2,60}\]"
_NAME = r"[A-Za-z0-9_-]{1,200}"  # what the destination service allows
_LEVEL = r"(?:subaccount|instance|provider_subaccount|provider_instance)"
_FRAGMENT = rf"{_NAME}(?:@{_LEVEL})?"

Seconds = Annotated[float, Between(0.01, 86_400)]
LABEL = Matches(_LABEL, "one DNS label: lower case letters, digits and inner hyphens")
DNSLabel = Annotated[str, LABEL]
Domain = Annotated[str, Matches(rf"{_DOMAIN}|{_LITERAL}", "a host name or an address in brackets")]
NAME = Matches(_NAME, "1 to 200 letters, digits, '_' or '-'")
Name = Annotated[str, NAME]
FragmentName = Annotated[str, Matches(rf"{_FRAGMENT}(?: *, *{_FRAGMENT})*", "NAME or NAME@LEVEL, several with commas")]
STAT_PREFIX_TENANT = "{tenant}"
"""Stands for the tenant's name."""
StatPrefix = Annotated[
    str,
    Matches(
        r"(?:[A-Za-z0-9_.-]|\{tenant\}){1,200}",
        "1 to 200 letters, digits, '_', '.' or '-', with {tenant} for the tenant",
    ),
]
Balancer = Annotated[str, InNetwork()]
TenantID = Annotated[str, Matches(r"[A-Za-z0-9._-]{1,64}", "1 to 64 letters, digits, '.', '_' or '-'")]

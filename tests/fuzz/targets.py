"""
All targets, by name.
"""

from tests.fuzz import destination_targets, login_targets, proxy_targets, session_targets, text_targets, wire_targets
from tests.fuzz.target import TARGETS

__all__ = [
    "TARGETS",
    "destination_targets",
    "login_targets",
    "proxy_targets",
    "session_targets",
    "text_targets",
    "wire_targets",
]

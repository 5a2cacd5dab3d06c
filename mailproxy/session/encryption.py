"""
Whether, and when, a mail client speaks TLS with us.
"""

from __future__ import annotations

from enum import Enum


class Encryption(Enum):
    """What a listener does about TLS; the values are those of `listener_tls.NAME.mode`, and of having none."""

    PLAINTEXT = "plaintext"
    """There is no TLS."""
    OFFERED = "offered"
    """The session begins in plain text; the client may change to TLS with STARTTLS or STLS."""
    REQUIRED = "required"
    """The same, and before the change there is next to nothing that it may do."""
    IMPLICIT = "implicit"
    """TLS comes before the first octet of the session."""

    @property
    def by_command(self) -> bool:
        """Whether the session begins in plain text and can change to TLS."""
        return self in (Encryption.OFFERED, Encryption.REQUIRED)

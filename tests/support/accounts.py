"""
Who has a mailbox on the throw-away mail servers.
"""

from __future__ import annotations

from attrs import field, frozen


@frozen
class Account:
    """A tenant's robot: its login on the mail server, and the address that is delivered into its mailbox."""

    tenant: str
    user: str
    password: str = field(repr=False)

    @property
    def address(self) -> str:
        """Where its mail arrives."""
        return f"{self.tenant}@inbox.test"


ACME = Account("acme", "acme-robot", "acme-sentinel-pa55word")
GLOBEX = Account("globex", "globex-robot", "globex-sentinel-pa55word")
ACCOUNTS = (ACME, GLOBEX)

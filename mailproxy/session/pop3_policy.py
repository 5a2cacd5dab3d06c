"""
What an operator may decide about a POP3 session.
"""

from __future__ import annotations

from attrs import frozen

from mailproxy.session.encryption import Encryption


@frozen
class POP3Policy:
    """
    Habits and bounds; sizes in octets.

    `max_queued_octets` bounds what is kept of a client that sends ahead; one more read may come on top of it.
    `max_skipped_octets` of over-long lines end the session.
    """

    encryption: Encryption = Encryption.PLAINTEXT
    accept_any_login: bool = True
    fix_newlines: bool = False
    max_line_octets: int = 512
    max_skipped_octets: int = 8192
    max_queued_octets: int = 65536
    max_status_octets: int = 4096

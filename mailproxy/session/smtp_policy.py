"""
What an operator may decide about an SMTP session.
"""

from __future__ import annotations

from attrs import frozen

from mailproxy.session.encryption import Encryption
from mailproxy.wire.transparency import BareNewlines


@frozen
class SMTPPolicy:
    """
    Habits and bounds; sizes in octets, and 0 is no limit for `max_message_octets` and `max_recipients`.

    The keys of the configuration have the same names; `docs/reference/configuration.md` explains them.
    """

    server_name: str
    encryption: Encryption = Encryption.PLAINTEXT
    bare_newline: BareNewlines = BareNewlines.NORMALIZE
    lone_lf_ends_command: bool = False
    strict_sync: bool = True
    require_helo: bool = False
    max_message_octets: int = 0
    max_recipients: int = 0
    max_line_octets: int = 4096
    max_skipped_octets: int = 65536
    max_buffered_octets: int = 65536
    max_pipelined_commands: int = 1000
    max_discarded_octets: int = 256 * 1024 * 1024
    max_errors: int = 20
    max_junk_commands: int = 100
    max_failed_logins: int = 3

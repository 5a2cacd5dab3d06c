"""
How much is done in each case: for figures, for a glance, and for a test of the programs themselves.
"""

from __future__ import annotations

from attrs import frozen

from tests.bench import server_pop3

_MEBIBYTE = 1 << 20


@frozen
class Scale:
    """
    So much.

    Attributes:
        seconds: that a load lasts where its sessions are not counted.
        warm_sessions: before it.
        mail_octets, message: a large mail to send, and the number of one to collect.
        transfers: of them in all.
        flow_octets, flow_message: those of a slow flow.
        crowd_divisor: by which crowds of sessions and listeners are smaller than their name says.
        far_sessions: over a long link, one after the other.
    """

    seconds: float = 4.0
    warm_sessions: int = 40
    mail_octets: int = 25 * _MEBIBYTE
    message: int = server_pop3.LARGE
    transfers: int = 16
    flow_octets: int = 100 * _MEBIBYTE
    flow_message: int = server_pop3.HUGE
    flow_seconds: float = 2.0
    crowd_divisor: int = 1
    far_sessions: int = 9


SCALES = {
    "full": Scale(),
    "quick": Scale(
        seconds=1.0,
        mail_octets=4 * _MEBIBYTE,
        message=server_pop3.MIDDLE,
        transfers=24,
        flow_seconds=1.0,
        crowd_divisor=5,
    ),
    "tiny": Scale(
        seconds=0.2,
        warm_sessions=4,
        mail_octets=_MEBIBYTE,
        message=server_pop3.MIDDLE,
        transfers=8,
        flow_octets=4 * _MEBIBYTE,
        flow_seconds=0.2,
        crowd_divisor=100,
        far_sessions=2,
    ),
}

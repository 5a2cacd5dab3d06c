"""
What is known of mail services for many: how many connections each of their users may have.
"""

from __future__ import annotations

EXCHANGE_ONLINE_CONNECTIONS = 3
"""
Connections of one mailbox that may send at a time; a further one hears `432 4.3.2`.

Source: Microsoft, Exchange Online limits.
"""

_EXCHANGE_ONLINE = ("office365.com", "outlook.com", "office365.us", "partner.outlook.cn")


def most_connections(host: str, workers: int = 1) -> int | None:
    """How many connections one login may have there, from each of our processes; None where nothing is known."""
    name = host.lower().rstrip(".")
    hosted = any(name == domain or name.endswith(f".{domain}") for domain in _EXCHANGE_ONLINE)
    return max(1, EXCHANGE_ONLINE_CONNECTIONS // workers) if hosted else None

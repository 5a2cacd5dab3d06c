"""
The name of a socket between supervisor and workers: both read it off the same configuration.
"""

from __future__ import annotations

import json

from mailproxy.config.endpoints import parse_endpoint
from mailproxy.recipes import Order


def place_of(order: Order) -> str:
    """Equal exactly where `Order.place` is."""
    endpoint, who = parse_endpoint(order.endpoint), order.recipe.identity
    identity = [] if endpoint.place else [who.destination, who.tenant, who.service, who.protocol.value]
    return json.dumps([endpoint.kind, sorted(endpoint.settings.items()), identity])

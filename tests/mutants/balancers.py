"""
Guards of listeners behind balancers, and of what mail servers are told of clients.
"""

from __future__ import annotations

from tests.mutants.guard import Guard

GATE = ("downstream/test_gate.py",)

BALANCERS = (
    Guard(
        "only who is listed is believed",
        "downstream/balancers.py",
        before="return any(peer in network for network in self.networks)",
        after="return True",
        tests=GATE,
    ),
    Guard(
        "no session begins before its header",
        "downstream/factory.py",
        before="return self._welcome(addr) if self._gate is None else self._gate.enter(addr)",
        after="return self._welcome(addr)",
        tests=GATE,
    ),
    Guard(
        "a header has a deadline",
        "downstream/gate.py",
        before="self._bound.set(self._gate.balancers.seconds, self._late)",
        after="pass",
        tests=GATE,
    ),
    Guard(
        "so many may owe their header",
        "downstream/gate.py",
        before="if len(self.waiting) >= self.balancers.most:",
        after="if False:",
        tests=GATE,
    ),
    Guard(
        "the octets behind a header are for TLS to read",
        "downstream/gate.py",
        before="self.transport.bufferSize = self._parser.wanted",
        after="pass",
        tests=GATE,
    ),
    Guard(
        "the address in the header is the client's",
        "downstream/gate.py",
        before="return self._welcome(address if known is None else source_of(known), known)",
        after="return self._welcome(address, known)",
        tests=GATE,
    ),
    Guard(
        "a checksum counts",
        "wire/proxyprotocol.py",
        before="_check_sum(header, start)",
        after="pass",
        tests=("wire/test_proxyprotocol.py",),
    ),
    Guard(
        "no name of a client ends an attribute of XCLIENT",
        "wire/xclient.py",
        before="value = format_xtext(octets)",
        after='value = octets.decode("latin-1")',
        tests=("wire/test_xclient.py",),
    ),
    Guard(
        "a connection that was introduced is in no pool",
        "recipes.py",
        before="if introducing or not (config.pool.enabled and wanted.pool):",
        after="if not (config.pool.enabled and wanted.pool):",
        tests=("test_recipes.py",),
    ),
    Guard(
        "a mail server that has to hear of the client is able to",
        "upstream/smtp.py",
        before="""if self._xclient == "required" and "ADDR" not in offered:""",
        after="if False:",
        tests=("upstream/test_smtp.py",),
    ),
)

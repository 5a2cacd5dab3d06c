"""
What the generator is to do, and what it says when it has.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import asdict, field, frozen


@frozen
class Order:
    """
    A load.

    Attributes:
        protocol: smtp or pop3.
        ports: of 127.0.0.1, in turn.
        at_a_time: so many sessions.
        sessions: so many in all; 0 is as many as there are in `seconds`.
        mails: in each session.
        octets: of each mail.
        message: the one that is collected; how long it is is the sink's business.
        group: MAIL, two RCPT and DATA go out together.
        ca_file: TLS and a login, as the sink wants them; empty for the proxy, which wants neither.
        server_name: what the certificate is for.
        hold: sessions stay, the first `hold` of them in the middle of a transaction, the others behind the greeting.
        slow: the sink is asked to read mails slowly.
        read_rate: octets a second that each session reads; 0 is all.
        until_told: ends when standard input does.
        first: the number of the first mail.
        progress: how often to say how far it has come.
        patience_seconds: sessions that take longer have failed.
    """

    protocol: str
    ports: tuple[int, ...] = field(converter=tuple)
    at_a_time: int = 1
    sessions: int = 0
    seconds: float = 0.0
    mails: int = 1
    octets: int = 4096
    message: int = 1
    group: bool = False
    ca_file: str = ""
    server_name: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    hold: int = -1
    slow: bool = False
    read_rate: int = 0
    until_told: bool = False
    first: int = 1
    progress: int = 0
    patience_seconds: float = 60.0

    def to_json(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """As it was given."""
        return cls(**json.loads(text))


@frozen
class Done:
    """
    What a load came to.

    Attributes:
        sessions: that went as they should; their `seconds` in all, and of one session the median and so on.
        failed: the others; `failure` is the first one's.
        mails: that were acknowledged, or collected.
        octets: of these.
        next_number: the number of the first mail that was not begun.
        unacknowledged: the numbers of mails that were begun and not acknowledged.
        taken_seconds: median from the connect to the last acknowledgement.
        cpu_seconds: of the generator.
    """

    sessions: int
    failed: int
    failure: str
    mails: int
    octets: int
    seconds: float
    p50_seconds: float
    p95_seconds: float
    longest_seconds: float
    taken_seconds: float
    cpu_seconds: float
    next_number: int
    unacknowledged: tuple[int, ...] = field(converter=tuple)

    @classmethod
    def from_words(cls, words: dict[str, Any]) -> Done:
        """As the generator said it."""
        return cls(**words)

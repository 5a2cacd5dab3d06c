"""
What is known about a failure of a running proxy, from no more than its outcome and the sentence in the log.

The doctor hears the answers themselves and knows more; this is for pages that show what went wrong lately.
"""

from __future__ import annotations

import re

from mailproxy.doctor.outcomes import MEANINGS, Meaning
from mailproxy.doctor.remedies import Answer, Table

_STAGES = {
    "upstream_name_lookup_failed": ("connect",),
    "upstream_host_not_found": ("connect",),
    "upstream_unreachable": ("connect",),
    "upstream_refused_session": ("greeting", "tls", "ehlo", "auth", "pop-login"),
    "upstream_protocol_error": ("greeting", "ehlo", "starttls", "tls", "auth", "pop-login"),
    "upstream_lacks_tls": ("starttls", "auth"),
    "upstream_tls_failed": ("tls", "starttls"),
    "upstream_lacks_mechanism": ("auth",),
    "upstream_lacks_xclient": ("ehlo",),
    "upstream_refused_login": ("auth", "pop-login"),
    "loop": ("connect",),
    "destination_unknown": ("destination", "token"),
    "destination_unusable": ("destination",),
    "destination_unavailable": ("token", "destination"),
    "token_refused": ("token", "destination"),
}
"""Where a session with this outcome may have been."""

_OURS = "mailproxy"
_KNOWN = {"destination": ("sap-destination",)}
"""Who has said it at a stage, whatever the host."""

_REPLY = re.compile(r"(?:^|: )((?:[2-5][0-5][0-9][ -]|-ERR\b).*)", re.DOTALL)
"""A reply that a sentence quotes, from its code on."""

_STATUS = re.compile(r"with status ([1-5][0-9]{2})(?:: ([a-z_]{1,40}))?")
"""What a service answered with, and the OAuth2 error behind it."""


def meaning(table: Table, outcome: str, sentence: str) -> Meaning | None:
    """
    What is known of a failure: by its very words, else what all with its outcome have in common; None of no failure.

    Args:
        table: of known answers.
        outcome: the word that the session ended with.
        sentence: what the log says about it.
    """
    usual = MEANINGS.get(outcome)
    known = None if usual is None else explained(table, outcome, sentence)
    return usual if usual is None or known is None else Meaning(known.side or usual.side, known.cause, known.remedy)


def explained(table: Table, outcome: str, sentence: str, host: str = "") -> Answer | None:
    """
    The known answer behind a failure; None where nothing is known.

    Args:
        table: of known answers.
        outcome: the word that the session ended with.
        sentence: what the log says about it.
        host: of the mail server, or of the token service.
    """
    for stage in _STAGES.get(outcome, ()):
        keys = table.candidates(host, first=_KNOWN.get(stage, ()))
        found = table.find(stage, _quoted(sentence), keys) or table.find(stage, [sentence], [_OURS, *keys])
        if found is not None:
            return found
    return None


def _quoted(sentence: str) -> list[str]:
    """The answers that a sentence tells of, in the form in which they were given."""
    reply, status = _REPLY.search(sentence), _STATUS.search(sentence)
    texts = [] if reply is None else [reply[1]]
    if status is not None:
        word = "" if status[2] is None else f'{{"error": "{status[2]}"}}'
        texts.append(f"HTTP {status[1]} {word} {sentence[status.end() :]}")
    return texts

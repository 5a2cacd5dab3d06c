"""
The clients work without a proxy: what fails here is not the proxy's fault.
"""

from __future__ import annotations

import pytest

from tests.support.accounts import ACME
from tests.support.bed import Bed
from tests.support.clients import COLLECTORS, DELETERS, SENDERS, Visitor
from tests.support.letters import Letter, body_of
from tests.support.tools import Tools

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("_empty_mailboxes")]


@pytest.mark.parametrize("client", SENDERS)
def test_sends_to_the_mail_server_itself(bed: Bed, tools: Tools, client: str) -> None:
    letter = Letter(ACME.address)
    SENDERS[client](tools, bed.postfix.ports["open"], letter)
    assert body_of(bed.mailbox(ACME).wait_for(letter.marker.encode())) == letter.body


@pytest.mark.parametrize("client", COLLECTORS)
def test_collects_from_the_mail_server_itself(bed: Bed, tools: Tools, client: str) -> None:
    letters = [Letter(ACME.address) for _ in range(2)]
    for letter in letters:
        bed.mailbox(ACME).put(letter.octets)
    messages = COLLECTORS[client](tools, bed.dovecot.pop3, Visitor(ACME.user, ACME.password))
    assert sorted(map(body_of, messages)) == sorted(letter.body for letter in letters)
    assert len(bed.mailbox(ACME).messages()) == (0 if client in DELETERS else 2)

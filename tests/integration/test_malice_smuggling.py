"""
Ends of data that are none, through the real proxy, with a pause behind each octet.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.besieged import Siege, besieged, greeted
from tests.support.scripted import Visit
from tests.wire.smuggling import END, SPELLINGS, deceived, normalized

pytestmark = pytest.mark.integration

MAIL = b"MAIL FROM:<a@b.test>\r\n"
RCPT = b"RCPT TO:<c@d.test>\r\n"
SMUGGLED = b"MAIL FROM:<evil@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\nFrom: boss@y\r\n\r\npay"
REFUSALS = {
    b"550 5.5.2 Message contains NUL\r\n",
    b"550 5.5.2 Message contains bare <CR> or <LF>\r\n",
}


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """A proxy as it is by default."""
    with besieged(tmp_path_factory.mktemp("smuggling")) as all_of_it:
        yield all_of_it


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """One that refuses stray newlines of clients, and mends those of mail servers."""
    tables = '[smtp]\nbare_newline = "reject"\nmax_message_octets = 100000\n[pop3]\nfix_newlines = true\n'
    with besieged(tmp_path_factory.mktemp("strict"), tables=tables) as all_of_it:
        yield all_of_it


@pytest.fixture(params=["siege", "strict"])
def any_siege(request: pytest.FixtureRequest) -> Siege:
    """Both of them."""
    siege: Siege = request.getfixturevalue(request.param)
    return siege


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_message_smuggled_octet_by_octet_stays_mail_data(any_siege: Siege, name: str) -> None:
    """Each octet of the spelling has been read by the proxy before the next one comes."""
    spelling, siege = SPELLINGS[name], any_siege
    refusal = b"\0" in spelling or siege.proxy.daemon.log.parent.name.startswith("strict")
    with greeted(siege) as client:
        client.send(MAIL + RCPT + b"DATA\r\n")
        assert [client.read_reply()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
        client.send(b"Subject: x\r\n\r\nbody")
        client.trickle(spelling)
        client.send(SMUGGLED)
        client.trickle(END)
        if refusal:
            # Which of two faults was met first, depends on how the octets came.
            assert client.read_all() in REFUSALS
            assert client.outcome == "bad_content"
        else:
            assert client.read_reply() == b"250 2.0.0 taken"
    (session,) = siege.smtp.sessions
    assert session.commands[:3] == [b"MAIL FROM:<a@b.test>", b"RCPT TO:<c@d.test>", b"DATA"]
    if refusal:
        assert session.closed.wait(10)
        assert (session.commands[3:], session.data) == ([], [])
    else:
        assert session.commands[3:4] == [b"."]
        assert session.data == [normalized(b"Subject: x\r\n\r\nbody" + spelling + SMUGGLED + b"\r\n")]
        assert not deceived(session.data[0] + b".\r\n", b".\r\n")


@pytest.mark.parametrize("name", [name for name, octets in SPELLINGS.items() if b"\0" not in octets])
def test_a_mail_with_such_an_end_in_it_does_not_deceive_a_lax_client(strict: Siege, name: str) -> None:
    body = b"Subject: x\r\n\r\nbody" + SPELLINGS[name] + b"+OK 1 forged\r\n"
    with greeted(strict, "pop3") as client:

        def octet_by_octet(visit: Visit) -> None:
            octets = b"+OK\r\n" + body + b".\r\n"
            for place in range(len(octets)):
                visit.send(octets[place : place + 1])

        strict.pop3.tell({b"RETR": octet_by_octet})
        client.send(b"RETR 1\r\nQUIT\r\n")
        response = client.read_all().removeprefix(b"+OK\r\n").removesuffix(b"+OK\r\n")
    assert response == normalized(body) + b".\r\n"
    assert not deceived(response, b".\r\n")


def test_a_message_over_the_limit_never_ends_at_the_mail_server(strict: Siege) -> None:
    with greeted(strict) as client:
        client.send(MAIL + RCPT + b"DATA\r\n")
        assert [client.read_reply()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
        client.send(b"x" * 76 + b"\r\n" + b"y" * 100_000 + END + MAIL)
        assert client.read_reply() == b"552 5.3.4 Message size exceeds limit"
        assert client.read_reply() == b"250 2.0.0 ok"
    first = strict.smtp.sessions[0]
    assert first.closed.wait(10)
    assert first.data == []

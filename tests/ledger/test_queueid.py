import pytest

from mailproxy.ledger.queueid import queue_id

EXCHANGE = (
    "2.6.0 <a@b.test> [InternalId=133143986176, Hostname=DB9.eurprd01.prod.exchangelabs.com] 8192 bytes in 0.123, "
    "64.2 KB/sec Queued mail for delivery"
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2.0.0 Ok: queued as 4bN1Xk2J9Wz", "4bN1Xk2J9Wz"),
        ("2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 8C9E2A0F31", "8C9E2A0F31"),
        ("OK id=1sVzXk-0000000Abcd-1a2B", "1sVzXk-0000000Abcd-1a2B"),
        ("OK id=1qAbCd-00EfGh-IJ", "1qAbCd-00EfGh-IJ"),
        (EXCHANGE, "133143986176"),
        ("2.0.0 4ALBxyzQ001234 Message accepted for delivery", "4ALBxyzQ001234"),
        ("2.0.0 Ok", None),
        ("", None),
        ("2.0.0 OK  1732190000 ffacd0b85a97d-3825fd - gsmtp", None),
        ("queued as ", None),
    ],
)
def test_known_shapes(text, found):
    assert queue_id(text) == found

"""Which mail services are known, by the whole name of the host."""

import pytest

from mailproxy.upstream.hosted import EXCHANGE_ONLINE_CONNECTIONS, most_connections


@pytest.mark.parametrize("host", ["smtp.office365.com", "OUTLOOK.COM", "a.b.outlook.com.", "smtp.partner.outlook.cn"])
def test_exchange_online(host):
    assert most_connections(host) == EXCHANGE_ONLINE_CONNECTIONS == 3


@pytest.mark.parametrize(("workers", "connections"), [(1, 3), (2, 1), (3, 1), (64, 1)])
def test_what_is_allowed_is_divided_among_processes(workers, connections):
    assert most_connections("smtp.office365.com", workers) == connections


@pytest.mark.parametrize("host", ["", ".", "mail.test", "myoutlook.com", "outlook.com.test", "192.0.2.1", "office365"])
def test_others(host):
    assert most_connections(host) is None

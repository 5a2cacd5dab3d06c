"""Cases are chosen by name, and orders reach the generator as they were given."""

import pytest

from tests.bench.cases import CASES, chosen
from tests.bench.orders import Order


def test_no_word_is_every_case():
    assert chosen("") == list(CASES)


def test_a_name_is_that_case_alone():
    assert chosen("smtp-small-20") == ["smtp-small-20"]


def test_a_word_is_every_case_with_it_in_its_name_and_none_comes_twice():
    assert chosen("pop3-bulk-8,bulk") == ["pop3-bulk-8", "smtp-bulk-8"]


def test_a_word_that_fits_none_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"no case is named like 'x'; there are smtp-small-1, "):
        chosen("bulk,x")


def test_an_order_is_the_same_on_the_other_side():
    order = Order("smtp", ports=[1, 2], at_a_time=3, ca_file="/ca.pem", password="secret")
    assert Order.from_json(order.to_json()) == order
    assert "secret" not in repr(order)

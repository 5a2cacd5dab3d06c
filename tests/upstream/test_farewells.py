"""Connections that say goodbye in the background are known until they are gone."""

import pytest

from mailproxy.upstream.farewells import Farewells


class Stream:
    aborted = False

    def abort(self):
        self.aborted = True


@pytest.fixture
def farewells():
    return Farewells()


def test_there_is_nobody_to_wait_for_at_first(farewells):
    assert farewells.all_gone().called


def test_the_last_one_counts(farewells):
    one, other = Stream(), Stream()
    farewells.began(one)
    farewells.began(other)
    gone = farewells.all_gone()
    farewells.ended(one)
    assert not gone.called
    farewells.ended(other)
    assert gone.called
    assert farewells.all_gone().called


def test_who_never_began_may_end(farewells):
    one = Stream()
    farewells.began(one)
    gone = farewells.all_gone()
    farewells.ended(Stream())
    assert not gone.called


def test_when_there_was_time_enough_they_are_aborted(farewells):
    one, gone = Stream(), Stream()
    farewells.began(gone)
    farewells.ended(gone)
    farewells.began(one)
    farewells.abort()
    assert (one.aborted, gone.aborted) == (True, False)

"""Answers are made once for all who ask within a moment; how long a moment is, stands in the tests of the desk."""

import pytest
from twisted.internet.defer import Deferred

from mailproxy.admin.answers import MOST_KEEP_SECONDS, Answer, Answers
from tests.support.proxies import Followed


class Kitchen:
    """Where answers are made, as slowly as one wants."""

    def __init__(self):
        self.now = 100.0
        self.answers = Answers(lambda: self.now)
        self.making = []

    async def make(self):
        self.making.append(Deferred())
        return await self.making[-1]

    def ask(self, key="/status"):
        return Followed(Deferred.fromCoroutine(self.answers.get(key, self.make)))


def answer(text):
    return Answer(200, "text/plain", text)


@pytest.fixture
def kitchen():
    return Kitchen()


def test_who_asks_while_it_is_made_gets_the_same(kitchen):
    asking = [kitchen.ask() for _ in range(5)]
    other = kitchen.ask("/metrics")
    assert len(kitchen.making) == 2
    kitchen.making[0].callback(answer(b"one"))
    assert [each.result for each in asking] == [answer(b"one")] * 5
    assert not other.called
    kitchen.making[1].callback(answer(b"two"))
    assert other.result == answer(b"two")


def test_who_asks_later_gets_a_new_one(kitchen):
    first = kitchen.ask()
    kitchen.now += 0.5
    kitchen.making[0].callback(answer(b"one"))
    assert kitchen.ask().result is first.result
    kitchen.now += MOST_KEEP_SECONDS
    second = kitchen.ask()
    assert not second.called
    kitchen.making[1].callback(answer(b"two"))
    assert second.result == answer(b"two")


def test_what_goes_wrong_is_told_to_all_and_tried_again(kitchen):
    asking = [kitchen.ask() for _ in range(3)]
    kitchen.making[0].errback(ZeroDivisionError())
    assert [each.result.type for each in asking] == [ZeroDivisionError] * 3
    again = kitchen.ask()
    kitchen.making[1].callback(answer(b"two"))
    assert again.result == answer(b"two")

"""Lines that repeat themselves are told once, and then counted; nothing is lost, and the table has a bound."""

from twisted.internet.task import Clock

from mailproxy.observe.folding import MAX_KINDS, Folding


class Book:
    def __init__(self):
        self.clock = Clock()
        self.told = []
        self.folding = Folding(self.clock, lambda counts: self.told.extend(counts.items()))

    def note(self, kind, times=1, seconds=60.0):
        return [self.folding.is_news(kind, seconds) for _ in range(times)]


def test_the_first_is_news_and_the_others_are_counted():
    book = Book()
    assert book.note("a", 5) == [True, False, False, False, False]
    assert book.note("b") == [True]
    book.clock.advance(59.9)
    assert book.told == []
    book.clock.advance(0.1)
    assert book.told == [("a", 4)]


def test_what_goes_on_is_folded_on_and_what_does_not_is_news_again():
    book = Book()
    book.note("a", 2)
    book.clock.advance(60)
    assert book.note("a", 3) == [False] * 3
    book.clock.advance(60)
    assert book.told == [("a", 1), ("a", 3)]
    book.clock.advance(60)
    assert book.note("a") == [True]
    assert len(book.told) == 2


def test_no_timer_is_left_when_nothing_repeats_itself():
    book = Book()
    book.note("a")
    book.clock.advance(60)
    assert not book.clock.getDelayedCalls()
    assert len(book.folding) == 0


def test_without_a_time_everything_is_news():
    book = Book()
    assert book.note("a", 3, seconds=0) == [True] * 3
    assert not book.clock.getDelayedCalls()


def test_the_table_is_bounded_and_what_has_no_place_is_told():
    book = Book()
    for number in range(MAX_KINDS):
        assert book.note(number, 2) == [True, False]
    assert book.note("more", 3) == [True] * 3
    assert len(book.folding) == MAX_KINDS
    book.clock.advance(60)
    assert len(book.told) == MAX_KINDS
    book.clock.advance(60)
    assert len(book.folding) == 0


def test_at_the_end_all_is_told_and_no_timer_is_left():
    book = Book()
    book.note("a", 3)
    book.folding.stop()
    assert book.told == [("a", 2)]
    assert not book.clock.getDelayedCalls()
    assert book.note("a") == [True]
    book.folding.stop()
    assert book.told == [("a", 2)]

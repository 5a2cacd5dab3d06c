"""The last hour, sample by sample, and not a sample more."""

from twisted.internet.task import Clock

from mailproxy.admin.history import MAX_SAMPLES, SAMPLE_SECONDS, History, Sample


class Counted:
    """What listeners have counted."""

    def __init__(self, **samples):
        self.clock = Clock()
        self.samples = samples
        self.history = History(self.clock, lambda: dict(self.samples))

    def step(self, **samples):
        self.samples |= samples
        self.clock.advance(SAMPLE_SECONDS)


def test_a_step_is_what_was_new_in_it():
    counted = Counted(a=Sample(10, 1, 3))
    counted.history.start()
    assert counted.history.series("a") == {"sessions": [], "failures": [], "active": []}
    counted.step(a=Sample(15, 1, 5))
    counted.step(a=Sample(15, 2, 0))
    assert counted.history.series("a") == {"sessions": [5, 0], "failures": [0, 1], "active": [5, 0]}
    assert counted.history.taken == 2 * SAMPLE_SECONDS


def test_an_hour_is_kept():
    counted = Counted(a=Sample(0, 0, 0))
    counted.history.start()
    for number in range(MAX_SAMPLES + 10):
        counted.step(a=Sample(number * number, 0, 0))
    sessions = counted.history.series("a")["sessions"]
    assert len(sessions) == MAX_SAMPLES == 3600 / SAMPLE_SECONDS
    last = MAX_SAMPLES + 9
    assert sessions[-1] == last * last - (last - 1) * (last - 1)


def test_listeners_come_and_go():
    counted = Counted(a=Sample(0, 0, 0))
    counted.history.start()
    counted.step(b=Sample(5, 0, 0))
    del counted.samples["a"]
    counted.step(b=Sample(7, 0, 0))
    assert counted.history.series("a")["sessions"] == []
    assert counted.history.series("b")["sessions"] == [2]
    assert len(counted.history._rings) == 1


def test_one_that_was_away_begins_anew_and_nothing_is_ever_less_than_nothing():
    counted = Counted(a=Sample(50, 5, 0))
    counted.history.start()
    counted.step(a=Sample(3, 0, 0))
    assert counted.history.series("a") == {"sessions": [0], "failures": [0], "active": [0]}


def test_nothing_is_taken_any_more_once_it_is_stopped():
    counted = Counted(a=Sample(0, 0, 0))
    counted.history.start()
    counted.step(a=Sample(1, 0, 0))
    counted.history.stop()
    assert counted.clock.getDelayedCalls() == []
    assert counted.history.series("a")["sessions"] == []
    assert counted.history.taken is None

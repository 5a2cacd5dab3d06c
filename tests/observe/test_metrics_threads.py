"""Metrics can be made in another thread while sessions go on counting."""

from threading import Event, Thread

from mailproxy.observe.counters import Counters
from mailproxy.observe.metrics import exposition
from mailproxy.observe.observation import Observation

SCRAPES = 10


def test_what_is_counted_meanwhile_does_no_harm():
    one = Observation("smtp", "mail", "acme", "mail-acme", Counters())
    made, done = [], Event()

    def scrape():
        made.extend(exposition([one])[1] for _ in range(SCRAPES))
        done.set()

    thread = Thread(target=scrape)
    thread.start()
    number = 0
    while not done.is_set():
        number += 1
        one.counters.replies[f"proxy.other{number % 500}.2xx"] += 1
        one.counters.outcomes[f"quit{number % 500}"] += 1
    thread.join()
    assert len(made) == SCRAPES

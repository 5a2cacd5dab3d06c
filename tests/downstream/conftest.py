"""A bench for each test, and nothing left on it."""

import pytest

from tests.downstream.bench import CLOSE, FAREWELL, Bench


@pytest.fixture
def benches():
    """Makes benches; nothing may be left of what a test leaves running, once it is stopped."""
    made = []

    def make(session, **more):
        make_session = session if callable(session) else lambda: session
        made.append(Bench(make_session, **more))
        return made[-1]

    yield make
    for bench in made:
        bench.run()
        bench.factory.stop()
        bench.run(FAREWELL + CLOSE)
    for bench in made:
        bench.assert_clean()

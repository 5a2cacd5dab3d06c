"""
Servers and clients that all integration tests share.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.accounts import ACCOUNTS
from tests.support.bed import Bed, open_folder, running_bed
from tests.support.cloud import Cloud, new_plan
from tests.support.proxy import Proxy, running
from tests.support.setup import Setup
from tests.support.tools import Tools

NewSetup = Callable[..., Setup]
Launch = Callable[..., Proxy]


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    """A real Dovecot and a real Postfix."""
    with running_bed() as servers:
        yield servers


@pytest.fixture(scope="session")
def tools() -> Iterator[Tools]:
    """What the real clients need on disk."""
    with open_folder() as scratch:
        yield Tools.prepare(scratch)


@pytest.fixture
def _empty_mailboxes(bed: Bed) -> None:
    """No account has mail."""
    bed.clear_mailboxes()


@pytest.fixture(scope="module")
def new_setup(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> NewSetup:
    """Makes configurations, each in a folder of its own."""
    numbers = itertools.count(1)

    def make(head: str = "") -> Setup:
        folder: Path = tmp_path_factory.mktemp(f"setup{next(numbers)}")
        return Setup(folder, bed.ca_file, new_plan(folder, bed.dovecot.token_key, ACCOUNTS), head)

    return make


@pytest.fixture(scope="module")
def launch(bed: Bed) -> Iterator[Launch]:
    """Starts the cloud and the proxy of a setup; both end behind the module's last test."""
    with ExitStack() as stack:

        def start(setup: Setup, inside: Path | None = None) -> Proxy:
            cloud = Cloud.start(setup.plan, bed.authority)
            stack.callback(cloud.daemon.stop)
            return stack.enter_context(running(setup, inside))

        yield start

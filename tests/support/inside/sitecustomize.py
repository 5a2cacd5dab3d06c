"""
Read by every Python that has this folder on its path: on SIGUSR1 the process writes down what it still holds.

The answer goes to the file that MAILPROXY_TEST_INSIDE names: how many timers are set, and how many objects of each
class of `mailproxy` that stands for a session, a connection or a login are alive.
"""

import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

_PACKAGES = ("mailproxy.session", "mailproxy.downstream", "mailproxy.upstream", "mailproxy.relay")


def _tell(number, frame):
    reactor = sys.modules["twisted.internet.reactor"]
    gc.collect()
    modules = ((type(each).__module__ or "", type(each).__qualname__) for each in gc.get_objects())
    alive = Counter(f"{module}.{name}" for module, name in modules if str(module).startswith(_PACKAGES))
    report = {"timers": len(reactor.getDelayedCalls()), "alive": alive}
    path = Path(os.environ["MAILPROXY_TEST_INSIDE"])
    path.with_suffix(".new").write_text(json.dumps(report))
    path.with_suffix(".new").rename(path)


if "MAILPROXY_TEST_INSIDE" in os.environ:
    signal.signal(signal.SIGUSR1, _tell)

"""
`python -m mailproxy.workers NUMBER SEAT`: a worker, as the supervisor starts it, with the descriptors that it needs.

Signals are for the supervisor.  A terminal, and whoever ends a group of processes, sends them to us as well, and the
supervisor says what is to be done about it.
"""

import signal

for _each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(_each, signal.SIG_IGN)

# What follows takes half a second, in which a signal would end us.
from mailproxy.workers.program import main  # noqa: E402 - what stands above has to come first

raise SystemExit(main())

"""
All guards of the proxy that `make mutants` takes away, one at a time.
"""

from __future__ import annotations

from tests.mutants.admin import ADMIN
from tests.mutants.balancers import BALANCERS
from tests.mutants.ledger import LEDGER
from tests.mutants.limits import LIMITS
from tests.mutants.pool import POOL
from tests.mutants.pop3 import POP3
from tests.mutants.secrets import SECRETS
from tests.mutants.smtp import SMTP
from tests.mutants.upstream import WAY
from tests.mutants.wire import WIRE

GUARDS = (*WIRE, *SMTP, *POP3, *WAY, *POOL, *LIMITS, *SECRETS, *BALANCERS, *ADMIN, *LEDGER)

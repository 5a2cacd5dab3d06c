"""
`python -m mailproxy`: the same as `mailproxy`.
"""

import sys

from mailproxy.cli import main

sys.exit(main())

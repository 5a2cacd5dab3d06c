"""The same as the command `mailproxy`: `python -m mailproxy COMMAND ...`."""

import sys

from mailproxy.cli import main

if __name__ == "__main__":
    sys.exit(main())

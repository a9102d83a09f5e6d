"""`python -m imitate` is the command `imitate`."""

import sys

from imitate.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m onerefresh`."""

import sys

from onerefresh.cli import main

if __name__ == "__main__":
    sys.exit(main())

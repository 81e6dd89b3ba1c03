"""`python -m onerefresh`."""

import os
import sys

if __name__ == "__main__":
    # Python puts the working folder there, where others may have put modules. Nothing more is imported before this.
    try:
        here = os.getcwd()  # noqa: PTH109
    except OSError:  # it is gone
        here = ""
    if not sys.flags.safe_path and sys.path[0] == here:
        del sys.path[0]
    from onerefresh.cli import main

    sys.exit(main())

"""`python -m onerefresh`."""

import os
import sys


def _leave_the_working_folder() -> None:
    """Remove the working folder from the module path, where other users may have put modules.

    Python puts it there, as do empty and relative parts of ``PYTHONPATH``. Nothing more is imported before this, not
    even `pathlib`, hence the functions of `os`.
    """
    try:
        here = os.getcwd()  # noqa: PTH109 - `pathlib` is not imported yet
    except OSError:  # the folder is gone
        here = ""
    if not sys.flags.safe_path and sys.path[0] == here:
        del sys.path[0]
    variable = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    given = variable.split(os.pathsep) if variable and here else []
    meant = {part for part in given if os.path.isabs(part)}  # noqa: PTH117 - likewise
    relative = {os.path.abspath(part) for part in given if part not in meant}  # noqa: PTH100 - likewise
    sys.path[:] = [place for place in sys.path if place not in relative or place in meant]


if __name__ == "__main__":
    _leave_the_working_folder()
    from onerefresh.cli import main

    sys.exit(main())

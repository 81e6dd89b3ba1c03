"""What a fork must not cut in half."""

from __future__ import annotations

import importlib

from onerefresh.latches import Lock

__all__ = ["fork_lock", "load_modules"]

fork_lock = Lock(order=1)
"""Held while something is done that a forked child could neither finish nor undo; a fork waits until it is free.

SQLite keeps locks of its own and believes that it holds those of the file: a child that is forked in the middle of
another thread's operation could never use SQLite again. A descriptor that is open but not yet written down would stay
open in the child, and with it a lock.
"""

fork_lock.hold_over_forks()


def load_modules(*names: str) -> None:
    """Import these, with no fork in the middle: a child of it would wait for the other thread's import for ever."""
    with fork_lock:
        for name in names:
            importlib.import_module(name)

"""Operations that a fork must not interrupt."""

from __future__ import annotations

import importlib

from onerefresh.locks import Lock

__all__ = ["fork_lock", "load_modules"]

fork_lock = Lock(order=1)
"""Held during operations that a forked child could neither finish nor undo; a fork waits until it is free.

SQLite keeps locks of its own and believes that it holds those of the file. So a child that is forked during another
thread's operation could never use SQLite again. And a descriptor that is open but not yet noted anywhere would stay
open in the child, and with it a lock.
"""

fork_lock.hold_over_forks()


def load_modules(*names: str) -> None:
    """Import these modules without a fork meanwhile: the child would wait for the other thread's import for ever."""
    with fork_lock:
        for name in names:
            importlib.import_module(name)

"""What a fork must not cut in half."""

from __future__ import annotations

import os
import threading

__all__ = ["undivided"]

undivided = threading.RLock()
"""Held while something is done that a forked child could neither finish nor undo; a fork waits until it is free.

SQLite keeps locks of its own and believes that it holds those of the file: a child that is forked in the middle of
another thread's operation could never use SQLite again. A descriptor that is open but not yet written down would stay
open in the child, and with it a lock.
"""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=undivided.acquire, after_in_parent=undivided.release, after_in_child=undivided.release)

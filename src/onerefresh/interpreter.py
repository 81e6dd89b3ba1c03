"""Whether the interpreter is ending."""

from __future__ import annotations

import sys
import threading

__all__ = ["finalizing", "interpreter_ends"]


def finalizing() -> bool:
    """Whether Python takes its modules apart: no other thread runs any more, and nothing can be imported."""
    return sys.is_finalizing()


def interpreter_ends() -> bool:
    """Whether the main thread is done, so that what is left must come to an end."""
    main = threading.main_thread()
    # Up to 3.12, an interrupt within `is_alive` makes Python believe for good that the main thread has ended.
    stopped: bool | None = getattr(main, "_is_stopped", None)
    return not main.is_alive() if stopped is None else stopped

"""Which event loop runs the present task: one of asyncio, or of trio."""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    import trio

__all__ = ["module_there", "running_loop", "runs_here"]


def running_loop() -> asyncio.AbstractEventLoop | trio.lowlevel.TrioToken | None:
    """What runs the present task: an asyncio loop, trio's token, or None in ordinary code.

    Trio is asked first, and for its task: in its guest mode, the tasks of trio and of asyncio share one thread.
    """
    loop: asyncio.AbstractEventLoop | None = None
    asyncio_, trio_ = module_there("asyncio", "get_running_loop"), module_there("trio", "lowlevel")
    if asyncio_ is not None:
        try:
            loop = asyncio_.get_running_loop()
        except RuntimeError:
            loop = None
    if trio_ is not None and trio_.lowlevel.in_trio_task():
        if asyncio_ is not None and loop is not None and asyncio_.current_task() and _asyncio_is_the_inner_one():
            return loop
        token: trio.lowlevel.TrioToken = trio_.lowlevel.current_trio_token()
        return token
    return loop


def runs_here(loop: object) -> bool:
    """Whether this thread runs that event loop: in a task, or between two, where a signal handler may run."""
    if loop is running_loop():
        return True
    trio_ = module_there("trio", "lowlevel")
    in_run = getattr(trio_.lowlevel, "in_trio_run", None) if trio_ is not None else None
    return in_run is not None and in_run() and trio_.lowlevel.current_trio_token() is loop


def module_there(name: str, needs: str) -> Any:
    """The module, where it is imported; one that another thread still imports lacks `needs`, and runs nothing."""
    module = sys.modules.get(name)
    return module if hasattr(module, needs) else None


def _asyncio_is_the_inner_one() -> bool:
    """Whether asyncio runs the caller's own task, where one library runs within a task of the other.

    Neither library can tell, so the stack is searched.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module.startswith(("asyncio.", "trio._core.")):
            return module.startswith("asyncio.")
        frame = frame.f_back
    return False

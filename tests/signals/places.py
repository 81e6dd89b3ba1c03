"""A signal at every place of a call, one after the other. Its handler raises, as Ctrl-C does."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

from tests.signals.scripts.storm import TRIP

MOST = 5_000
Signals = Iterator[BaseException]


def signals_in(call: Callable[[], object], *modules: ModuleType) -> Signals:
    """Call it again and again, each time with a signal at the next bytecode that it runs in these modules.

    It is delivered where Python looks for signals next. Yields what the handler raised, with its frames, as whoever
    keeps a traceback has it. Ends with a call in which the signal came too late. To be used on the main thread.
    """
    files = {module.__file__ for module in modules}
    trip = functools.partial(TRIP, int(signal.SIGALRM))
    armed = False

    def on_signal(*_: object) -> None:
        if armed:
            sys.settrace(None)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, on_signal)
    try:
        for place in range(MOST):
            seen = 0

            def aim(frame: FrameType, event: str, _: object, place: int = place) -> Any:
                nonlocal seen
                if event == "opcode":
                    seen += 1
                    if seen > place:
                        return trip
                return aim

            def entered(frame: FrameType, event: str, _: object, aim: Any = aim) -> Any:
                if frame.f_code.co_filename not in files:
                    return None
                frame.f_trace_opcodes = True
                return aim

            hit: BaseException | None = None
            armed = True
            sys.settrace(entered)
            try:
                call()
            except KeyboardInterrupt as error:
                hit = error
            finally:
                armed = False
                sys.settrace(None)
            if seen <= place:
                return
            if hit is not None:
                yield hit
        raise AssertionError("the call does not end")
    finally:
        signal.signal(signal.SIGALRM, before)

"""Rounds of a storm of signals: in each, one call on the main thread is interrupted, and all others go on.

    python -m tests.signals.scripts.storm WAY AIM ROUNDS SEED [naive]

`WAY` is what the main thread does when the signal comes. `AIM` is how the signal is aimed: by a ``timer``, some
microseconds after the call began, or at a ``bytecode``, the n-th of the call in the library and in what it calls. It is
delivered where Python looks for signals, and within a call that blocks. Its handler raises, as Ctrl-C does. What it
raises is kept, as an interactive session keeps it, and with it all frames that it came through.

Prints how many rounds it did. Ends at once, with status 3, where something is wrong; a hang ends it, too.
"""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import os
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

HANGS = 12.0
"""Seconds after which a round, or the end of the process, is thought to hang: each lasts milliseconds."""
KEPT = 50
"""Exceptions that are kept, with their frames."""
TWICE = 0.2
"""How many signals of a hundred are followed by another one: Ctrl-C is seldom pressed once only."""
AT_MOST = 20
"""So many times the rounds are played where no signal has come in the midst of a call yet: some calls are short."""
TRACING = ("aim_at", "entered")
"""The functions that aim: it would not be delivered where they run."""
HERE = str(Path(__file__).parent)


class Interrupt(KeyboardInterrupt):
    """What the handler raises."""


kept: deque[BaseException] = deque(maxlen=KEPT)
signals_left = 0
again: Callable[[], object] | None = None


def on_signal(_: int, frame: FrameType | None) -> None:
    global signals_left
    if signals_left and (frame is None or frame.f_code.co_name not in TRACING):
        signals_left -= 1
        sys.settrace(None)
        if signals_left and again is not None:
            again()
        raise Interrupt


def wrong(what: str) -> NoReturn:
    """End at once: whatever hangs must not hide it."""
    print(f"WRONG: {what}", flush=True)
    faulthandler.dump_traceback(sys.stderr)
    os._exit(3)


class Aim:
    """Calls something, and has a signal come in its midst."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.hits, self.hit = 0, False

    def at(self, call: Callable[[], object]) -> None:
        """Call it, with one signal or two."""
        global signals_left
        signals_left, self.hit = 1 + (self.chance.random() < TWICE), False
        try:
            try:
                self.run(call)
            finally:
                signals_left = 0
                sys.settrace(None)
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupt as interrupt:
            self.hits, self.hit = self.hits + 1, True
            kept.append(interrupt)
        signals_left = 0
        signal.setitimer(signal.ITIMER_REAL, 0)

    def forget(self) -> None:
        """Keep none of what was raised."""
        kept.clear()

    def run(self, call: Callable[[], object]) -> None:
        raise NotImplementedError


class Timer(Aim):
    """By the clock: anywhere within the call, and more often in its beginning, where threads are started."""

    lasts = 0.0005

    def run(self, call: Callable[[], object]) -> None:
        global again
        again = lambda: signal.setitimer(signal.ITIMER_REAL, self.chance.uniform(0.000002, 0.0001))  # noqa: E731
        soon = self.chance.random() < 0.5
        began = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, self.chance.uniform(0.000002, 0.0002 if soon else 1.2 * self.lasts))
        call()
        self.lasts += (time.perf_counter() - began - self.lasts) / 20  # of those that were not hit


TRIP: Any = ctypes.PYFUNCTYPE(None, ctypes.c_int, ctypes.py_object, ctypes.py_object, ctypes.py_object)(
    ("PyErr_SetInterruptEx", ctypes.pythonapi)
)
"""Has Python believe that a signal has come. As a trace function this is no Python code, in which the signal would be
delivered at once: so it is delivered where the traced code is when Python looks for signals next."""


class Bytecode(Aim):
    """By the n-th bytecode that the call runs, on this thread, in code that is not this script's."""

    count = 300

    def run(self, call: Callable[[], object]) -> None:
        global again
        trip = functools.partial(TRIP, int(signal.SIGALRM))
        place, seen = self.chance.randrange(self.count) + 1, 0
        second = self.chance.choice((1, 3, 10, 30, 100))

        def aim_at(frame: FrameType, event: str, _: object) -> Any:
            nonlocal seen
            if event == "opcode":
                seen += 1
                if seen >= place:
                    return trip
            return aim_at

        def entered(frame: FrameType, event: str, _: object) -> Any:
            if frame.f_code.co_filename.startswith(HERE):
                return None
            frame.f_trace_opcodes = True
            return aim_at

        def trace_on() -> None:
            """After the first one: the frames below are traced already, and those to come."""
            nonlocal place
            place = seen + second
            frame: FrameType | None = sys._getframe(2)
            while frame is not None:
                if not frame.f_code.co_filename.startswith(HERE):
                    frame.f_trace, frame.f_trace_opcodes = aim_at, True
                frame = frame.f_back
            sys.settrace(entered)

        again = trace_on
        sys.settrace(entered)
        try:
            call()
        finally:
            sys.settrace(None)
            # As many places as there are, and some more: a signal may also come when all is over.
            self.count += max(self.count // 50, 1) if seen >= place else -(self.count // 10)


AIMS = {"timer": Timer, "bytecode": Bytecode}


def main(way: str, aim: str, rounds: str, seed: str, *more: str) -> None:
    faulthandler.enable()
    signal.signal(signal.SIGALRM, on_signal)
    sys.setswitchinterval(1e-5)
    if "naive" in more:
        from tests.signals.scripts import naive

        naive.make()
    from tests.signals.scripts import ways

    ways.be_quiet()
    chance = random.Random(int(seed))
    aiming = AIMS[aim](chance)
    round_of = {**ways.WAYS, **ways.SERVED}[way](chance)
    there = ways.begun()
    done = 0
    while done < int(rounds) or (not aiming.hits and done < AT_MOST * int(rounds)):
        done += 1
        faulthandler.dump_traceback_later(HANGS, exit=True)
        try:
            round_of.play(aiming)
            ways.settled(there)
        except ways.Wrong as error:
            wrong(f"{error} in round {done}")
        if done % 100 == 0:
            print(f"{done} {aiming.hits}", flush=True)
    round_of.end()
    print(f"{done} {aiming.hits}", flush=True)
    kept.clear()
    faulthandler.dump_traceback_later(HANGS, exit=True)  # it has to end, too


if __name__ == "__main__":
    main(*sys.argv[1:])

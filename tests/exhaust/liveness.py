"""Which variables of a suspended frame may still be read: what is stale makes no difference to its future."""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Iterator

__all__ = ["live_names"]

_ENDS = frozenset({"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE", "JUMP_FORWARD", "JUMP_BACKWARD",
                   "JUMP_BACKWARD_NO_INTERRUPT"})  # fmt: skip
"""Instructions after which the next one is not reached from here, jumps aside."""


def live_names(code: types.CodeType, at: int) -> frozenset[str]:
    """The local variables that may be read after the instruction at the offset `at`, before they are written."""
    if sys.version_info[:2] != (3, 11):
        return frozenset((*code.co_varnames, *code.co_cellvars, *code.co_freevars))
    return _live(code).get(at, frozenset(code.co_varnames)) | {*code.co_cellvars, *code.co_freevars}


@functools.cache
def _live(code: types.CodeType) -> dict[int, frozenset[str]]:
    """For each offset the variables that are live after it: a backward analysis of the instructions of Python 3.11."""
    steps = list(dis.get_instructions(code))
    handlers = dis._parse_exception_table(code)  # type: ignore[attr-defined]  # the one place where they are decoded
    index = {step.offset: number for number, step in enumerate(steps)}
    before: list[frozenset[str]] = [frozenset()] * len(steps)
    after: list[frozenset[str]] = [frozenset()] * len(steps)
    changed = True
    while changed:
        changed = False
        for number in range(len(steps) - 1, -1, -1):
            step = steps[number]
            out: frozenset[str] = frozenset().union(*(before[index[to]] for to in _next(steps, number, handlers)))
            into = _before(step, out)
            if (out, into) != (after[number], before[number]):
                after[number], before[number], changed = out, into, True
    return {step.offset: after[number] for number, step in enumerate(steps)}


def _next(steps: list[dis.Instruction], number: int, handlers: list[object]) -> Iterator[int]:
    step = steps[number]
    if step.opname not in _ENDS and number + 1 < len(steps):
        yield steps[number + 1].offset
    if step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
        yield step.argval
    for entry in handlers:
        if entry.start <= step.offset < entry.end:  # type: ignore[attr-defined]  # a private named tuple
            yield entry.target  # type: ignore[attr-defined]  # as above


def _before(step: dis.Instruction, after: frozenset[str]) -> frozenset[str]:
    if step.opname in ("STORE_FAST", "DELETE_FAST"):
        return after - {step.argval}
    if step.opname == "LOAD_FAST":
        return after | {step.argval}
    if "FAST" in step.opname:
        raise NotImplementedError(f"{step.opname} is not known here")
    return after

"""The canonical form of values and of suspended coroutines: what is equal here goes on in the same way.

A form has a *shape*, which is what never changes, and *slots*, which depend on when and in which order things happened:
times, and the names of attempts and versions. Two states are the same one if their shapes are equal, their times are
equal as seen from now, and their names are equal after both were numbered in the order in which they occur.

Of a suspended coroutine the form has everything on which its future depends: for each frame down the chain of awaits
its code, the instruction that it stands at, its live variables and its stack. What is unknown here is refused, so that
nothing unequal is ever taken for equal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import gc
import re
import types
from collections.abc import Mapping
from typing import Any

from tests.exhaust.liveness import live_names

from onerefresh.record import Entry
from onerefresh.secret import Secret

__all__ = ["MONOTONIC", "NAME", "SHARED", "WALL", "Form", "form_of"]

WALL, MONOTONIC, SHARED = 1_800_000_000.0, 400_000_000.0, 600_000_000.0
"""Where each clock begins. A number that is near one of them is a time, and nothing else is as large."""
NAME = "~"
"""How the names of attempts and versions begin, and nothing else does. A text may end with one."""
_NAMED = re.compile(r"[\w.]+")
_FAR = 10_000_000.0
_UNREAD = {(Entry, "at")}
"""What is kept for people alone, and no rule reads."""

_shapes: dict[tuple[object, ...], int] = {}
_fields: dict[type, tuple[str, ...]] = {}


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """`times`: in seconds since the run began."""

    shape: int
    times: tuple[float, ...]
    names: tuple[str, ...]


def form_of(value: object) -> Form:
    """The form of a value. Raises TypeError where there is something unknown in it."""
    walk = _Walk()
    walk.see(value)
    return Form(_shapes.setdefault(tuple(walk.shape), len(_shapes)), tuple(walk.times), tuple(walk.names))


class _Walk:
    """One way through a value."""

    def __init__(self) -> None:
        self.shape: list[object] = []
        self.times: list[float] = []
        self.names: list[str] = []
        self._seen: dict[int, tuple[int, object]] = {}  # by identity; kept, so that none is given twice

    def see(self, value: object) -> None:
        if value is None or value is True or value is False or isinstance(value, (int, bytes)):
            self.shape.append((type(value).__name__, value))
        elif isinstance(value, enum.Enum):
            self.shape.append(("enum", type(value).__qualname__, value.name))
        elif isinstance(value, str):
            self._text(value)
        elif isinstance(value, float):
            self._number(value)
        elif isinstance(value, (tuple, list)):
            self._several(value)
        elif isinstance(value, (types.CoroutineType, types.GeneratorType)):
            self._suspended(value)
        else:
            self._other(value)

    def _text(self, text: str) -> None:
        before, mark, after = text.partition(NAME)
        if not mark:
            self.shape.append(("text", text))
        elif _NAMED.fullmatch(after):
            self.shape.append(("name", before))
            self.names.append(mark + after)
        else:
            raise TypeError(f"a name within a longer text: {text!r}")

    def _number(self, number: float) -> None:
        for base in (WALL, MONOTONIC, SHARED):
            if abs(number - base) < _FAR:
                self.shape.append(("time", base))
                self.times.append(round(number - base, 6))
                return
        self.shape.append(("float", repr(number)))

    def _several(self, values: tuple[object, ...] | list[object]) -> None:
        if isinstance(values, list) and self._again(values):
            return
        self.shape.append((type(values).__qualname__, len(values)))
        for value in values:
            self.see(value)

    def _again(self, value: object) -> bool:
        """Whether the very same object was there before: what may change is one thing however often it is met."""
        number = len(self._seen)
        before, _ = self._seen.setdefault(id(value), (number, value))
        if before < number:
            self.shape.append(("again", before))
        return before < number

    def _other(self, value: Any) -> None:
        kind = type(value)
        if isinstance(value, (types.FunctionType, type, types.ModuleType, types.BuiltinFunctionType, types.CodeType)):
            self._code(value)
        elif isinstance(value, types.MethodType):
            self.shape.append(("method", value.__func__.__qualname__))
            self.see(value.__self__)
        elif isinstance(value, Mapping):
            items = sorted(value.items(), key=lambda item: str(item[0]))
            self.shape.append((kind.__qualname__, len(items)))
            for name, inner in items:
                self.see(name)
                self.see(inner)
        elif isinstance(value, BaseException):
            if not self._again(value):
                self.shape.append(("error", kind.__qualname__))
                self.see(value.args)
                self.see(value.__cause__)
                self._attributes(value)
        elif dataclasses.is_dataclass(kind) or kind.__module__.startswith(("onerefresh.", "tests.")):
            frozen = dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]  # typeshed has no name for it
            if frozen or kind is Secret or not self._again(value):
                self.shape.append(("object", kind.__qualname__))
                self._attributes(value)
        elif isinstance(value, contextlib.suppress):
            self.shape.append(("suppress",))
            self.see(value._exceptions)  # type: ignore[attr-defined]  # typeshed does not name it
        elif isinstance(value, range):
            self.shape.append(("range", value.start, value.stop, value.step))
        elif hasattr(kind, "__next__") and kind.__module__ == "builtins":
            self.shape.append(("iterator", kind.__qualname__))
            self.see(tuple(item for item in value.__reduce__() if not callable(item)))
        else:
            raise TypeError(f"no form is known for {kind.__module__}.{kind.__qualname__}")

    def _code(self, value: Any) -> None:
        self.shape.append((type(value).__qualname__, getattr(value, "__qualname__", None) or repr(value)))
        for cell in getattr(value, "__closure__", None) or ():
            self.see(cell.cell_contents)

    def _attributes(self, value: object) -> None:
        kind = type(value)
        names = _fields.get(kind)
        if names is None:
            slots = [name for base in kind.__mro__ for name in _slots_of(base)]
            names = _fields[kind] = tuple(name for name in slots if (kind, name) not in _UNREAD)
        for name in names:
            self.see(getattr(value, name, None))
        for name, inner in sorted(getattr(value, "__dict__", {}).items()):
            if name != "__notes__":
                self.shape.append(name)
                self.see(inner)

    def _suspended(self, routine: Any) -> None:
        """A coroutine, or what stands at the end of a chain of them."""
        if self._again(routine):
            return
        frame = routine.cr_frame if isinstance(routine, types.CoroutineType) else routine.gi_frame
        if frame is None:
            self.shape.append(("over", routine.__qualname__))
            return
        code, found = frame.f_code, frame.f_locals
        self.shape.append(("frame", code.co_qualname, code.co_firstlineno, frame.f_lasti))
        live = live_names(code, frame.f_lasti)
        for name, value in sorted(found.items()):
            if name in live:
                self.shape.append(name)
                self.see(value)
        self.shape.append("stack")
        for value in _stack(routine, frame, found):
            self.see(value)


def _slots_of(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return tuple(name for name in ((slots,) if isinstance(slots, str) else slots) if not name.startswith("__"))


def _stack(routine: Any, frame: types.FrameType, found: Mapping[str, object]) -> list[object]:
    """What lies on its stack: what it refers to beside its variables. An exception that it handles is there, too."""
    rest = [
        value
        for value in gc.get_referents(routine)
        if value is not frame and value is not found and not isinstance(value, (types.FunctionType, types.CodeType))
    ]
    for known in (*found.values(), routine.__name__, routine.__qualname__):
        for index, value in enumerate(rest):
            if value is known:
                del rest[index]
                break
    return rest

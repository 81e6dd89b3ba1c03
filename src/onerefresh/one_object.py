"""Objects of which a process has one: what they share, a copy would not have, and another process has its own."""

from __future__ import annotations

from typing import ClassVar, NoReturn, Self

__all__ = ["OneObject"]


class OneObject:
    """A copy of it, also one deep inside another object, is the object itself. It cannot be pickled.

    Locks, threads and the newest token belong to one process. `_elsewhere`: what to do in another process instead;
    `_called`: the class that users know, where it is another one.
    """

    __slots__ = ()
    _elsewhere: ClassVar[str] = (
        "make it in the other process, where a credential of the same name and store goes on with the same session"
    )

    _called: ClassVar[str] = ""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{self._called or type(self).__name__} objects cannot be pickled: {self._elsewhere}")

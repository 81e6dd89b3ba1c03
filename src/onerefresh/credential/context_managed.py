"""Objects that are closed at the end of a block."""

from __future__ import annotations

import abc
from types import TracebackType
from typing import Self

from onerefresh.one_object import OneObject

__all__ = ["ContextManaged"]


class ContextManaged(OneObject, abc.ABC):
    """Is closed at the end of a `with` or an `async with` block."""

    __slots__ = ()

    @abc.abstractmethod
    def close(self) -> None:
        """Close it, from ordinary code."""

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Close it, from a task."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

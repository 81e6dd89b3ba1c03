"""A progress bar on standard error, for commands that have looked for the package `rich`."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from onerefresh.redaction import visible

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["WithBar", "print_above", "progress_bar"]


def progress_bar(total: int | None) -> Progress:
    """A bar with one task, which has a field `message`. `total`: None where it is not known yet."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[message]}"))
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task("", total=total, message="")
    return bar


class WithBar:
    """Shows a progress bar in a ``with`` statement; None: there is none to show."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()


def print_above(bar: Progress, line: str) -> None:
    """Print a line as it is, above the bar."""
    bar.console.print(visible(line), markup=False, highlight=False, soft_wrap=True)

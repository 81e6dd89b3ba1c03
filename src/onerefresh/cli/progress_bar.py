"""A progress bar on standard error, for commands that have looked for the package `rich`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["progress_bar"]


def progress_bar(total: int | None) -> Progress:
    """A bar with one task, which has a field `message`. `total`: None where it is not known yet."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[message]}"))
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task("", total=total, message="")
    return bar

"""What `onerefresh fetch` shows: a progress bar on a terminal, else a line for each URL."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from onerefresh.cli.output import say, write_lines
from onerefresh.cli.progress_bar import WithBar, print_above, progress_bar
from onerefresh.cli.words import size

if TYPE_CHECKING:
    from onerefresh.cli.fetch_calls import Result

__all__ = ["Show"]


class Show(WithBar):
    """Counts the results and shows them. `prints_body`: standard output is for the body of the only URL."""

    def __init__(self, total: int, *, prints_body: bool) -> None:
        super().__init__(progress_bar(total) if sys.stderr.isatty() and not prints_body else None)
        self.total = total
        self.fetched = 0
        self.failed = 0
        self._size = 0
        self._prints_body = prints_body
        self._prints_lines = not prints_body and not (sys.stdout.isatty() and sys.stderr.isatty())

    def report(self, result: Result) -> None:
        """Show one result. Raises `OutputFailed`."""
        if result.problem:
            self.failed += 1
        else:
            self.fetched += 1
        self._size += result.size
        if self._prints_lines:
            write_lines([_line(result)])
        elif result.problem:
            self._print(result)
        if self._bar is not None:
            failed = f", {self.failed} failed" if self.failed else ""
            self._bar.update(self._bar.task_ids[0], advance=1, message=f"{size(self._size)}{failed}")

    def _print(self, result: Result) -> None:
        if self._bar is not None:
            print_above(self._bar, _line(result))
        else:
            say(f"{result.call.url}: {_status(result)}{result.problem}")


def _line(result: Result) -> str:
    """Status, bytes, URL, and the file or the problem."""
    status = "---" if result.status is None else str(result.status)
    text = result.problem or (str(result.call.path) if result.call.path else "")
    return f"{status} {result.size:>10}  {result.call.url}" + (f"  {text}" if text else "")


def _status(result: Result) -> str:
    return "" if result.status is None else f"{result.status} "

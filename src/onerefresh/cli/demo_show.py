"""What the demo shows: the progress, then the results of both runs, side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from statistics import median
from types import MappingProxyType

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from onerefresh.cli.demo_run import Finished, Stage, Watch, Way
from onerefresh.cli.progress_bar import WithBar
from onerefresh.redaction import visible

__all__ = ["Live", "as_fields", "print_tables"]

_NAMES: Mapping[Way, str] = MappingProxyType({"usual": "usual code", "onerefresh": "with onerefresh"})
_STAGES: Mapping[Stage, str] = MappingProxyType(
    {
        "starting": "starting {workers} processes",
        "first half": "first half",
        "revoked": "token revoked during {left} calls",
        "done": "done",
    }
)


class Live(WithBar):
    """Shows how far the demo is, on standard error: bars on a terminal, else a line for each stage."""

    def __init__(self, workers: int, calls: int) -> None:
        super().__init__(_bars() if sys.stderr.isatty() else None)
        self._workers = workers
        self._total = workers * calls

    def watch(self, way: Way) -> Watch:
        """The function to which a run of this kind reports."""
        bars = self._bar
        if bars is None:
            return _Lines(_NAMES[way], self._workers, self._total)
        return _Bar(bars, bars.add_task(_NAMES[way], total=self._total, message=""), self._workers, self._total)


def _bars() -> Progress:
    columns = (TextColumn("{task.description:18}"), BarColumn(24), MofNCompleteColumn())
    return Progress(*columns, TextColumn("{task.fields[message]}"), console=Console(stderr=True))


class _Stages:
    """Gives a text when a new stage begins, and none while the stage goes on."""

    def __init__(self, workers: int, total: int) -> None:
        self._workers = workers
        self._total = total
        self._stage: Stage | None = None

    def entered(self, stage: Stage, ended: int) -> str | None:
        """The text for a stage, if it is new. `ended`: calls that have ended."""
        if stage == self._stage:
            return None
        self._stage = stage
        return _STAGES[stage].format(workers=self._workers, left=self._total - ended)


class _Lines(_Stages):
    def __init__(self, name: str, workers: int, total: int) -> None:
        super().__init__(workers, total)
        self._name = name

    def __call__(self, stage: Stage, ended: int) -> None:
        message = self.entered(stage, ended)
        if message is not None:
            print(visible(f"{self._name}: {message}"), file=sys.stderr, flush=True)


class _Bar(_Stages):
    def __init__(self, progress: Progress, task: TaskID, workers: int, total: int) -> None:
        super().__init__(workers, total)
        self._progress = progress
        self._task = task

    def __call__(self, stage: Stage, ended: int) -> None:
        message = self.entered(stage, ended)
        if message is not None:
            self._progress.update(self._task, message=message)
        self._progress.update(self._task, completed=ended)


def as_fields(run: Finished) -> dict[str, object]:
    """The results, for JSON. Times are in seconds; the waits are those of the calls that were refused."""
    return {
        "calls": run.calls,
        "answered": run.answered,
        "token_requests": run.token_requests,
        "reuse_detected": run.reuse_detected,
        "session": run.session,
        "seconds": round(run.seconds, 3),
        "refused": len(run.refused),
        "waited_for_refresh": _spread(run, "refresh"),
        "waited_for_api": _spread(run, "api"),
        "problems": dict(run.problems.most_common()),
    }


def _spread(run: Finished, what: str) -> dict[str, float] | None:
    waits = [call[what] for call in run.refused]
    return {"median": round(median(waits), 3), "longest": round(max(waits), 3)} if waits else None


def print_tables(usual: Finished, ours: Finished) -> None:
    """Print the results of both runs."""
    console = Console(width=None if sys.stdout.isatty() else 100)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", *_NAMES.values()):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    runs = (usual, ours)
    table.add_row(
        "calls answered", *(_judged(f"{run.answered} of {run.calls}", run.answered == run.calls) for run in runs)
    )
    table.add_row(
        "token requests", *(_judged(str(run.token_requests), run.token_requests == run.refreshes) for run in runs)
    )
    table.add_row(
        "refresh tokens used twice", *(_judged(str(run.reuse_detected), run.reuse_detected == 0) for run in runs)
    )
    table.add_row("session", *(_judged(run.session, run.session == "alive") for run in runs))
    table.add_row("seconds", *(f"{run.seconds:.2f}" for run in runs), end_section=True)
    table.add_row("calls that were refused", *(str(len(run.refused)) for run in runs))
    table.add_row("  waiting for the refresh", *(_waits(run, "refresh") for run in runs))
    table.add_row("  waiting for the API", *(_waits(run, "api") for run in runs))
    console.print(table)
    for name, run in zip(_NAMES.values(), runs, strict=True):
        for line in _findings(run):
            console.print(visible(f"{name}: {line}"), markup=False, highlight=False)


def _findings(run: Finished) -> Iterator[str]:
    """What the numbers mean, where they are not as they should be."""
    if run.reuse_detected:
        ended = ", and ended the session: users would have to log in again" if run.session == "revoked" else ""
        yield f"the server received a refresh token that had already been used{ended}"
    for problem, count in run.problems.most_common():
        yield f"{count} calls failed: {problem}"


def _waits(run: Finished, what: str) -> str:
    jitter = _spread(run, what)
    return f"{jitter['median']:.2f} s, at most {jitter['longest']:.2f} s" if jitter else "-"


def _judged(message: str, is_well: bool) -> Text:
    return Text(message, style="green" if is_well else "red")

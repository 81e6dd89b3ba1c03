"""The lines of the logger ``onerefresh``. Those that may come for thousands of customers at once are limited.

Lines of one kind about one host have a limit of their own, so that they cannot hide the only line of another kind.
"""

from __future__ import annotations

import functools
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

from onerefresh.log_limit import LogLimit

if TYPE_CHECKING:
    import logging

__all__ = ["Topic", "is_interrupt", "log", "log_exception", "log_limited"]


class Topic(NamedTuple):
    """Lines that are limited, and counted, together.

    * `level`: their level, as `logging` numbers it.
    * `what`: what they say, such as ``"failed"``.
    * `about`: of what they say it, such as a host.
    """

    level: int
    what: str
    about: str

    def __str__(self) -> str:
        return f'"{self.what}" about {self.about}'


@functools.cache
def _logger() -> logging.Logger:
    """The logger, looked up once: the look-up takes a lock that an interrupt or a fork may have left taken."""
    import logging

    return logging.getLogger("onerefresh")


_limit: LogLimit[Topic] = LogLimit()
_failures: LogLimit[str] = LogLimit()


def log(level: int, text: object) -> None:
    """Log a line that is not limited."""
    _log_numbers(_limit.left_out())
    _write(level, "%s", text)


def log_limited(topic: Topic, text: object, *, traceback: bool = False) -> None:
    """Log a line about `topic`, or count it. `traceback`: with that of the exception that is handled now."""
    decision = _limit.decide(topic)
    _log_numbers(decision.left_out)
    if decision.is_logged:
        _write(topic.level, "%s", text, traceback=traceback)
    if decision.is_last:
        message = "further lines %s are left out of this log for up to %.0f s, and counted"
        _write(topic.level, message, topic, _limit.span)


def log_exception(what: str) -> None:
    """Log the exception that is handled now, with its traceback. `what` says what has failed."""
    import logging

    raised = sys.exc_info()[0]
    log_limited(Topic(logging.ERROR, what, raised.__name__ if raised else "nothing"), what, traceback=True)


def _log_numbers(left_out: tuple[tuple[Topic, int], ...]) -> None:
    for topic, count in left_out:
        lines, were = ("line", "was") if count == 1 else ("lines", "were")
        _write(topic.level, "%d %s %s %s left out of this log", count, lines, topic, were)


def _write(level: int, message: str, *values: object, traceback: bool = False) -> None:
    """Write a line. Handlers and filters of the host that raise must not cost a token, nor leave a claim behind."""
    try:
        _logger().log(level, message, *values, exc_info=traceback or None)
    except GeneratorExit:  # a forked child drops its copy of a thread
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        if _failures.decide(type(error).__name__).is_logged:
            threading.excepthook(threading.ExceptHookArgs([*sys.exc_info(), threading.current_thread()]))


def is_interrupt(error: BaseException) -> bool:
    """Whether it is Ctrl-C, or what another signal's handler raises: neither comes on other threads."""
    return not isinstance(error, Exception) and threading.get_ident() == threading.main_thread().ident

"""Looking for tokens where none may be: in errors, tracebacks with locals, logs, and values."""

from __future__ import annotations

import contextlib
import logging
import pickle
import reprlib
import traceback
from collections.abc import Iterator
from pathlib import Path

import onerefresh

SOURCE = str(Path(onerefresh.__file__).parent)
ACCESS, REFRESH = "acc-7Qx1-never-to-be-seen", "ref-9Zk2-never-to-be-seen"
SEED_ACCESS, SEED_REFRESH = "acc-0Wm3-never-to-be-seen", "ref-0Vt4-never-to-be-seen"
SECRETS = (ACCESS, REFRESH, SEED_ACCESS, SEED_REFRESH)
PART = 7
"""So many characters of a token are a leak: its beginning is what makes it recognisable here."""


def shown(text: str) -> list[str]:
    """The tokens of which `text` shows a part."""
    return [secret for secret in SECRETS if secret[:PART] in text]


def assert_silent(*texts: str) -> None:
    for text in texts:
        assert not shown(text), text


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and everything behind it, also what ``from None`` hides: some tools show that too."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is None or any(found is known for known in seen):
            continue
        seen.append(found)
        yield found
        waiting += [found.__cause__, found.__context__]


def locals_of_ours(error: BaseException) -> Iterator[str]:
    """Every local variable of every frame of this library that a traceback of `error` would show."""
    for found in chain(error):
        for frame, line in traceback.walk_tb(found.__traceback__):
            if frame.f_code.co_filename.startswith(SOURCE):
                place = f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"
                for name, value in frame.f_locals.items():
                    yield f"{place}: {name} = {value!r}"


def formatted_with_locals(error: BaseException) -> str:
    """What a tool prints that shows locals, without the lines of this test's own frames."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True, compact=False)
    ours: list[str] = []
    waiting = [told]
    while waiting:
        part = waiting.pop()
        part.stack = traceback.StackSummary.from_list(
            [frame for frame in part.stack if frame.filename.startswith(SOURCE)]
        )
        ours += part.format(chain=False)
        waiting += [behind for behind in (part.__cause__, part.__context__) if behind is not None]
    return "".join(ours)


def assert_error_is_silent(error: BaseException) -> None:
    """Neither the error, nor what is behind it, nor a traceback with locals shows a token."""
    for found in chain(error):
        assert_silent(str(found), repr(found), *map(repr, found.args), *map(str, getattr(found, "__notes__", [])))
    if isinstance(error, onerefresh.OnerefreshError):
        assert_silent(pickle.dumps(error).decode("latin-1"), repr(pickle.loads(pickle.dumps(error))))
    assert_silent(*locals_of_ours(error))
    with unabbreviated():
        assert_silent(formatted_with_locals(error))


@contextlib.contextmanager
def unabbreviated() -> Iterator[None]:
    """`reprlib` abbreviates; here it must not."""
    before = reprlib.aRepr.maxstring
    reprlib.aRepr.maxstring = 10_000
    yield
    reprlib.aRepr.maxstring = before


class Everything(logging.Handler):
    """Keeps all that is logged, formatted with its exceptions, and the raw records."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
        self.lines.append(repr(record.__dict__))


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """All that anybody logs meanwhile, at any level."""
    handler, root = Everything(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)

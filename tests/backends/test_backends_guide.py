"""What `docs/backends.md` says beside its program: the commands and the tables."""

from __future__ import annotations

import inspect
import re

import pytest
from tests.backends.program import COMMANDS, FILES, GUIDE

import onerefresh
from onerefresh import Credentials, OnerefreshError


def test_the_files_and_commands_are_those_that_the_tests_run() -> None:
    assert set(FILES) == {
        "tokens.py", "customers.py", "answers.py", "web.py", "service.py", "work.py", "refresh.py", "regions.py",
        "moving.py", "keep_alive.py", "report.py",
    }  # fmt: skip
    assert COMMANDS == [
        "gunicorn --workers 4 web:app",
        "uvicorn --workers 4 service:app",
        "celery -A work worker --concurrency 4",
    ]


def test_each_error_has_the_answer_of_the_table() -> None:
    names: dict[str, object] = {}
    exec(FILES["answers.py"], names)
    answer_for = names["answer_for"]
    assert callable(answer_for)
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| .* \| (\d+)(?:, [^|]*)? \|$", GUIDE, re.MULTILINE)
    told = {name: int(status) for cells, status in rows for name in re.findall(r"\w+", cells)}
    assert len(told) == 6
    kinds = [getattr(onerefresh, name) for name in onerefresh.__all__]
    errors = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, OnerefreshError)]
    for kind in errors:
        if kind.__name__ in told:
            status, headers, _ = answer_for(kind("why"))
            assert status == told[kind.__name__], kind
            assert ("Retry-After" in headers) == (status == 503)
        else:
            with pytest.raises(kind):
                answer_for(kind("why"))


def test_the_table_of_limits_tells_each_default() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \|", GUIDE, re.MULTILINE))
    parameters = inspect.signature(Credentials).parameters
    assert told.keys() == parameters.keys() - {"refresher", "store", "refresher_for", "loop"}
    assert {name: eval(default) for name, default in told.items()} == {name: parameters[name].default for name in told}


def test_the_numbers_of_a_cron_run_are_its_arguments_defaults() -> None:
    parameters = inspect.signature(Credentials.refresh_due).parameters
    assert f"`rate={parameters['rate'].default:.0f}`" in GUIDE
    assert f"`at_once={parameters['at_once'].default}`" in GUIDE

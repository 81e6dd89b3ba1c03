"""The processes of `docs/backends.md` that are started with ``spawn``, and what cannot be sent to them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.backends.conftest import Age, log_in, status_of
from tests.backends.program import Program

pytestmark = pytest.mark.slow

SENDS = """
import multiprocessing

from tokens import credentials


def use(credential):
    print(credential.token())


if __name__ == "__main__":
    with multiprocessing.get_context("METHOD").Pool(1) as pool:
        try:
            pool.apply(use, [credentials["customer-42"]])
        except TypeError as error:
            print("TypeError:", error)
"""


@pytest.mark.long
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_are_spawned_share_the_session_through_the_store(
    new_program: Callable[..., Program], method: str
) -> None:
    program = new_program()
    program.change("report.py", '"spawn"', f'"{method}"')
    log_in(program, "customer-42", Age.EXPIRED)
    with program.run("report.py") as run:
        assert int(run.finished()) > 0
    assert (program.server.counters.token_requests, program.server.counters.reuse_detected) == (1, 0)
    assert status_of(program, "customer-42").generation == 2


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_credential_that_is_sent_says_what_to_do_instead(new_program: Callable[..., Program], method: str) -> None:
    program = new_program()
    program.add("sends.py", SENDS.replace("METHOD", method))
    with program.run("sends.py") as run:
        said = run.finished()
    assert "TypeError: Credential objects cannot be pickled: make it in the other process" in said

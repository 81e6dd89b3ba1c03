"""What a signal leaves that comes before a thread was started, and once more before it was started after all."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.core.calls import PATIENCE, Refresher, first_token, until

from onerefresh import Credential, CredentialClosed, Credentials, threads, timekeeper, workers
from onerefresh.flight import Flight
from onerefresh.stores.memory import MemoryStore
from onerefresh.threads import start


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has Ctrl-C come in the next so many starts of threads."""
    left, real = [0], threads._refuse_at_the_end

    def begin() -> None:
        if left[0]:
            left[0] -= 1
            raise KeyboardInterrupt
        real()

    def set_left(count: int) -> None:
        until(lambda: not (workers._free or workers._busy or timekeeper._threads))  # so that a thread has to start
        left[0] = count

    monkeypatch.setattr(threads, "_refuse_at_the_end", begin)
    return set_left


def test_the_exit_waits_for_no_thread_whose_start_was_interrupted(interrupted: Callable[[int], None]) -> None:
    interrupted(1)
    before = set(threads._jobs)
    with pytest.raises(KeyboardInterrupt):
        start(print, "onerefresh")
    assert not set(threads._jobs) - before


def test_what_was_interrupted_before_a_thread_began_does_not_run_later(interrupted: Callable[[int], None]) -> None:
    """A logout ended the session of a login that came after it."""
    done: list[int] = []
    interrupted(1)
    with pytest.raises(KeyboardInterrupt):
        workers.hand_over(lambda: done.append(1))
    workers.hand_over(lambda: done.append(2))
    until(lambda: done)
    until(lambda: not (workers._free or workers._busy))
    assert done == [2]


def unstarted(key: str, interrupted: Callable[[int], None]) -> tuple[Credential, Refresher]:
    """A credential whose renewal two signals kept from being started, by this thread."""
    refresher = Refresher()
    acme = Credential(key, refresher, token=first_token(), max_wait=10.0)
    first = acme.token()
    interrupted(2)
    with pytest.raises(KeyboardInterrupt):
        acme.token(refused=first)
    assert acme._memory.flight is not None
    assert not acme._memory.flight.settled
    return acme, refresher


def test_the_next_call_of_the_same_thread_starts_it(interrupted: Callable[[int], None]) -> None:
    acme, refresher = unstarted("the same thread", interrupted)
    assert acme.token().generation == 2
    assert refresher.calls == 1


def test_a_task_elsewhere_starts_it(interrupted: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, it waited until `max_wait` was over, and so did every other one."""
    monkeypatch.setattr("onerefresh.flight.BEGUN", 0.01)
    acme, refresher = unstarted("another thread", interrupted)
    flight = acme._memory.flight
    assert flight is not None
    flight._starter = -1  # whoever was interrupted is elsewhere, and does not come back

    async def main() -> list[int]:
        return [token.generation for token in await asyncio.gather(*(acme.atoken() for _ in range(5)))]

    assert asyncio.run(main()) == [2] * 5
    assert refresher.calls == 1


def test_a_start_that_is_interrupted_again_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onerefresh.flight.BEGUN", 0.01)
    flight: Flight[str] = Flight()
    starts = 0

    def begin() -> None:
        nonlocal starts
        starts += 1
        if starts == 3:
            flight.begin()
            flight.settle("done")

    assert flight.wait(10.0, begin)
    assert starts == 3


def test_who_closes_does_not_wait_for_it(interrupted: Callable[[int], None]) -> None:
    """Before, `close` waited until `max_wait` was over."""
    acme, _ = unstarted("closed", interrupted)
    flight = acme._memory.flight
    assert flight is not None
    acme.close()
    with pytest.raises(CredentialClosed):
        flight.result()


def test_who_closes_all_does_not_wait_for_it(interrupted: Callable[[int], None]) -> None:
    refresher = Refresher()
    with Credentials(refresher, store=MemoryStore(), max_wait=10.0) as customers:
        first = customers["tenant"].login(first_token())
        interrupted(2)
        with pytest.raises(KeyboardInterrupt):
            customers["tenant"].token(refused=first)
        flight = customers["tenant"]._memory.flight
        assert flight is not None
    assert flight.settled
    assert refresher.calls == 0


PROGRAM = """
import atexit, sys, threading
from onerefresh import Credential
def say(what): print(what, flush=True)
def refresh(token):
    say("sent")
    sys.stdin.readline()
    return {"access_token": "a2", "refresh_token": "r2"}
acme = Credential("acme", refresh, token={"access_token": "a1", "refresh_token": "r1"}, store=sys.argv[1])
atexit.register(say, "at exit")
threading._register_atexit(say, "waits")
acme.token(refused=acme.token())
"""


def until_it_sleeps(process: int) -> None:
    """Until its main thread is in a call that a signal interrupts: Python notices late what came right before it.

    A thread that waits for the interpreter's lock sleeps, too, but not for long.
    """
    state = Path(f"/proc/{process}/task/{process}/stat")
    deadline, asleep = time.monotonic() + PATIENCE, 0
    while state.exists() and asleep < 50:
        asleep = asleep + 1 if state.read_text().rpartition(")")[2].split()[0] == "S" else 0
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_process_is_told_twice_to_end_while_its_request_is_under_way(tmp_path: Path) -> None:
    """The second Ctrl-C comes while it waits at its end, and loses nothing."""
    store = f"sqlite:///{tmp_path}/tokens.db"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, store],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for moment in ("sent", "waits"):
            assert child.stdout.readline() == f"{moment}\n"
            until_it_sleeps(child.pid)
            child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "at exit\n"
        child.communicate("\n")
    with Credential("acme", Refresher(), store=store) as acme:
        assert acme.status().generation == 2

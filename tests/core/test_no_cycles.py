"""What a renewal leaves is freed with it: a cycle would keep its records and tokens until a collection."""

from __future__ import annotations

import contextlib
import copy
import gc
from collections.abc import Callable, Iterator
from types import CoroutineType, FrameType, TracebackType

import pytest
from tests.core.calls import expired, until_no_thread_is_left
from tests.core.leaks import SOURCE

from onerefresh import Credential, LoginRequired, OnerefreshError, RefreshUnavailable


@contextlib.contextmanager
def cycles() -> Iterator[list[object]]:
    """What only a collection frees of this library's frames, at the end."""
    found: list[object] = []
    was_enabled, flags = gc.isenabled(), gc.get_debug()
    gc.collect()
    gc.disable()
    try:
        yield found
        until_no_thread_is_left()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += filter(_is_ours, gc.garbage)
    finally:
        gc.set_debug(flags)
        gc.garbage.clear()
        if was_enabled:
            gc.enable()


def _is_ours(garbage: object) -> bool:
    if isinstance(garbage, CoroutineType):
        return garbage.cr_code.co_filename.startswith(SOURCE)
    frame = garbage.tb_frame if isinstance(garbage, TracebackType) else garbage
    return isinstance(frame, FrameType) and frame.f_code.co_filename.startswith(SOURCE)


def raising(failure: Exception | None) -> Callable[..., dict[str, object]]:
    def refresh(token: object) -> dict[str, object]:
        if failure is not None:
            raise copy.copy(failure)
        return {"access_token": "next", "refresh_token": "next", "expires_in": 3600}

    return refresh


@pytest.mark.parametrize(
    "failure", [None, RefreshUnavailable("down", retry_after=60.0), LoginRequired("over")], ids=str
)
def test_a_renewal_leaves_no_cycle(failure: Exception | None) -> None:
    """While a provider is down, each try of each customer fails."""
    acme = Credential("acme", raising(failure), token=expired(), store="memory", max_wait=0.3)
    with cycles() as found:
        with contextlib.suppress(OnerefreshError):
            acme.token()
        acme.close()
    assert found == []

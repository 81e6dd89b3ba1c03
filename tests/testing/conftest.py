from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    # Neither proxies nor ~/.netrc of this machine may come between a test and its server.
    with httpx2.Client(trust_env=False, timeout=20) as client:
        yield client

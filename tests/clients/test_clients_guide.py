"""`docs/clients.md` is executed, top to bottom, against a real server."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from onerefresh.clients import aiohttp, httpx, requests
from onerefresh.testing import AuthServer

GUIDE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.mark.seconds
def test_the_examples_of_the_guide_run_one_after_another(server: AuthServer) -> None:
    seed = server.issue()
    names: dict[str, Any] = {"__name__": "guide"}
    assert len(BLOCKS) == 11
    for number, block in enumerate(BLOCKS):
        source = (
            block.replace("https://login.acme.com/refresh", server.json_refresh_url)
            .replace("https://api.acme.com/items", server.api_url + "/items")
            .replace("https://api.acme.com", server.url)
            .replace('"access_token": "…"', f'"access_token": {seed["access_token"]!r}')
            .replace('"refresh_token": "…"', f'"refresh_token": {seed["refresh_token"]!r}')
        )
        exec(compile(source, f"docs/clients.md, example {number + 1}", "exec"), names)
        if number == 0:
            server.revoke_access()
    assert server.counters.token_requests == 1
    assert server.counters.api[200] == 107


@pytest.mark.parametrize(
    "integration",
    [httpx.BearerAuth, httpx.BearerTransport, requests.BearerAuth, requests.BearerAdapter, aiohttp.BearerAuth],
)
def test_the_guide_tells_each_argument_with_its_default(integration: type) -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \|", GUIDE, re.MULTILINE))
    signature = inspect.signature(integration)
    keywords = {
        name: one.default for name, one in signature.parameters.items() if one.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert {name: eval(default) for name, default in told.items()} == keywords

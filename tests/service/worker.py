"""A worker of the service: asks for tokens of tenants at random until its standard input ends, and reports then."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from onerefresh import Credentials, OnerefreshError
from onerefresh.oauth2 import TokenEndpoint

MAX_WAIT = 5.0
BETWEEN = 0.05
"""Seconds between two calls of one task."""
TASKS = 10


async def main(plan: dict[str, Any]) -> None:
    endpoints = {name: TokenEndpoint(url, client_id="backend") for name, url in plan["providers"].items()}
    tokens: dict[str, dict[str, object]] = plan["tokens"]
    outcomes: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    took: dict[str, list[float]] = {name: [] for name in endpoints}
    over = asyncio.Event()

    async def calls(credentials: Credentials) -> None:
        while not over.is_set():
            key = random.choice(list(tokens))
            provider = key.partition("/")[0]
            begun = time.monotonic()
            try:
                await credentials[key].atoken()
                outcome = "answered"
            except OnerefreshError as error:
                outcome = type(error).__name__
                reasons[f"{provider}: {outcome}"] = error.message[:200]
                if outcome == "LoginRequired":
                    outcomes[f"lost {key}"] += 1
            took[provider].append(time.monotonic() - begun)
            outcomes[f"{provider}: {outcome}"] += 1
            await asyncio.sleep(BETWEEN)

    async with Credentials(
        None,
        refresher_for=lambda key: endpoints[key.partition("/")[0]],
        token_for=tokens.get,
        store=plan["store"],
        max_wait=MAX_WAIT,
    ) as credentials:
        working = [asyncio.ensure_future(calls(credentials)) for _ in range(TASKS)]
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        over.set()
        await asyncio.gather(*working)
    print(json.dumps({"outcomes": outcomes, "reasons": reasons, "took": took}), flush=True)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # the report says how it went
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text("utf-8"))))

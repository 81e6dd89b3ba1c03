"""The usual way to share a token, written in good faith. The demo runs it for comparison.

A lock lets one call of this process refresh; the others find the new token when they get the lock. The new token is
saved as a whole before it is used. Two things are missing. Other processes do not share the lock, and no other call
learns of a failed refresh, so the next call tries again.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2

__all__ = ["UsualClient"]


class UsualClient:
    """GETs with a token that all processes read from one file when they start."""

    def __init__(self, client: httpx2.AsyncClient, token_url: str, client_auth: tuple[str, str], path: Path) -> None:
        self._client = client
        self._token_url = token_url
        self._client_auth = client_auth
        self._path = path
        self._lock = asyncio.Lock()
        self._token: dict[str, Any] = json.loads(path.read_text("utf-8"))

    async def get(self, url: str, headers: dict[str, str]) -> httpx2.Response:
        """The answer; a call that is refused is sent once more with a new token."""
        token = self._token
        response = await self._send(url, headers, token)
        if response.status_code == 401:
            response = await self._send(url, headers, await self._token_after(token))
        return response

    async def _send(self, url: str, headers: dict[str, str], token: dict[str, Any]) -> httpx2.Response:
        return await self._client.get(url, headers={**headers, "Authorization": f"Bearer {token['access_token']}"})

    async def _token_after(self, refused: dict[str, Any]) -> dict[str, Any]:
        async with self._lock:
            if self._token is refused:  # no other call has refreshed it while this one waited for the lock
                form = {"grant_type": "refresh_token", "refresh_token": refused["refresh_token"]}
                answer = await self._client.post(self._token_url, data=form, auth=self._client_auth)
                answer.raise_for_status()
                self._token = {**refused, **answer.json()}
                self._save()
            return self._token

    def _save(self) -> None:
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self._token), "utf-8")
        part.replace(self._path)

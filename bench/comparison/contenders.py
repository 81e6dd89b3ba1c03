"""Who takes part: the name in the tables, the package to name the version of, and the function to run."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

__all__ = ["CONTENDERS", "Contender"]


@dataclass(frozen=True, slots=True)
class Contender:
    """`package`: its distribution, or None for code of one's own. `module`: ``"threads"`` or ``"tasks"``; `function`:
    its name there."""

    name: str
    package: str | None
    client: str
    module: str
    function: str

    @property
    def key(self) -> str:
        return f"{self.module}.{self.function}"

    @property
    def title(self) -> str:
        return f"{self.name} {version(self.package)}" if self.package else self.name

    @property
    def where(self) -> str:
        return f"{'threads' if self.module == 'threads' else 'asyncio'}, {self.client}"


CONTENDERS = (
    Contender("requests-oauthlib", "requests-oauthlib", "requests", "threads", "requests_oauthlib"),
    Contender("Authlib", "Authlib", "requests", "threads", "authlib"),
    Contender("google-auth", "google-auth", "requests", "threads", "google_auth"),
    Contender("requests-oauth2client", "requests-oauth2client", "requests", "threads", "requests_oauth2client"),
    Contender("singleflight-auth", "singleflight-auth", "requests", "threads", "singleflight_auth"),
    Contender("a lock of one's own", None, "requests", "threads", "own_lock"),
    Contender("a file lock of one's own", None, "requests", "threads", "own_file_lock"),
    Contender("**onerefresh**", "onerefresh", "requests", "threads", "onerefresh"),
    Contender("Authlib", "Authlib", "httpx2", "tasks", "authlib"),
    Contender("singleflight-auth", "singleflight-auth", "httpx", "tasks", "singleflight_auth"),
    Contender("aiohttp-oauth2-client", "aiohttp-oauth2-client", "aiohttp", "tasks", "aiohttp_oauth2_client"),
    Contender("a lock of one's own", None, "httpx2", "tasks", "own_lock"),
    Contender("**onerefresh**", "onerefresh", "httpx2", "tasks", "onerefresh"),
)

"""What every contender is given: the server, and where the token is kept."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Job"]


@dataclass(frozen=True, slots=True)
class Job:
    """`tokens`: a JSON file with the stored token answer, as most guides keep it: read at the start of a program, and
    written by the function that a library calls with a new token."""

    token_url: str
    api_url: str
    client_id: str
    client_secret: str
    tokens: str

    def load(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(Path(self.tokens).read_text("utf-8"))
        return found

    def save(self, token: Mapping[str, Any], **_: object) -> None:
        """Replace the file whole. Libraries hand over more arguments, which do not matter here."""
        descriptor, part = tempfile.mkstemp(dir=Path(self.tokens).parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(dict(token), file)
        Path(part).replace(self.tokens)

    @property
    def store(self) -> str:
        """onerefresh keeps its tokens itself."""
        return f"sqlite:///{self.tokens}.db"

    @property
    def refresh_form(self) -> dict[str, str]:
        """A refresh (RFC 6749 section 6) without its refresh token."""
        return {"grant_type": "refresh_token", "client_id": self.client_id, "client_secret": self.client_secret}

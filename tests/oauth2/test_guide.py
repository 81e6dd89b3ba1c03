from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from onerefresh.oauth2 import TokenEndpoint, rules
from onerefresh.testing import AuthServer
from onerefresh.token_response import parse_answer

GUIDE = (Path(__file__).parents[2] / "docs" / "oauth2.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def test_the_examples_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACME_SECRET", "s3cret")
    with AuthServer(client_id="cli", client_secret="s3cret") as server:
        names: dict[str, Any] = {"__name__": "guide", "first_answer": server.issue()}
        names["kept_refresh_token"] = server.issue()["refresh_token"]
        for example in EXAMPLES:
            code = example.replace("https://login.acme.com/token", server.token_url)
            code = code.replace("https://login.acme.com/revoke", server.revoke_url)
            exec(compile(code, "docs/oauth2.md", "exec"), names)
            # Whatever an example says about an endpoint must work against a server.
            assert names["login"](parse_answer(server.issue(), at=0.0)).reveal()
        names["acme"].close()
        names["machine"].close()
        names["alone"].close()
        assert (server.counters.refreshes, len(EXAMPLES)) == (9, 8)


def test_the_guide_names_every_profile_with_words_of_its_own() -> None:
    table = GUIDE.partition("the words of these providers")[2].partition("Give such a profile")[0]
    assert re.findall(r'^\| `"(\w+)"` \|', table, re.MULTILINE) == sorted(rules._BY_PROFILE)


def test_the_guide_names_every_setting() -> None:
    settings = set(TokenEndpoint.__init__.__annotations__) - {"url", "return"}
    assert settings <= set(re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE))

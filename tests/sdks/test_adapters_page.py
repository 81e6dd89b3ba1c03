"""`docs/sdks-adapters.md` is executed, section by section, and names the versions that these tests run with."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from azure.core import PipelineClient
from azure.core.pipeline import policies
from tests.sdks.adapters import credential_for
from tests.sdks.grpc_items import Items, served

from onerefresh.testing import AuthServer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sdks-adapters.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE))


class ItemsClient(PipelineClient[Any, Any]):
    """A client as Microsoft's generator writes them."""

    def __init__(self, endpoint: str, credential: Any, **options: Any) -> None:
        own = policies.BearerTokenCredentialPolicy(credential, "scope")
        auth = options.pop("authentication_policy", None) or own
        super().__init__(endpoint, policies=[policies.RedirectPolicy(), policies.RetryPolicy(), auth], **options)

    def send_request(self, request: Any, **options: Any) -> Any:
        return super().send_request(request, enforce_https=False, **options)


@pytest.fixture
def server() -> Any:
    with AuthServer() as server:
        yield server


@pytest.fixture
def target(server: AuthServer) -> Any:
    with served(Items(server)) as target:
        yield target


@pytest.mark.parametrize("section", SECTIONS)
def test_the_examples_of_a_section_run(section: str, server: AuthServer, target: str) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", SECTIONS[section], re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    names: dict[str, Any] = {"__name__": "page", "acme": credential_for(server), "ItemsClient": ItemsClient}
    exec("import asyncio", names)
    server.revoke_access()
    for number, block in enumerate(blocks):
        source = (
            block.replace('grpc.secure_channel("api.acme.com:443", grpc.ssl_channel_credentials())', "INSECURE")
            .replace("INSECURE", f'grpc.insecure_channel("{target}")')
            .replace(
                'grpc.aio.secure_channel("api.acme.com:443", credentials, ', f'grpc.aio.insecure_channel("{target}", '
            )
            .replace("wss://api.acme.com", server.api_url.replace("http", "ws", 1))
            .replace("https://api.acme.com/items", server.api_url + "/items")
            .replace("https://api.acme.com", server.url)
            .replace("/acme.Items/", "/test.Items/")
        )
        assert "acme.com" not in source
        exec(compile(source, f"docs/sdks-adapters.md, {section}, example {number + 1}", "exec"), names)
    assert server.counters.token_requests == 1
    assert server.counters.api.get(401) == 1


def test_the_table_names_each_section_and_the_version_that_is_tested() -> None:
    rows = re.findall(r"^\| \[([\w-]+)\]\(#([\w-]+)\) \| ([\d.]+) \|", PAGE, re.MULTILINE)
    assert [anchor for _, anchor, _ in rows] == [title.lower() for title in SECTIONS]
    pinned = (ROOT / "requirements" / "constraints.txt").read_text("utf-8").splitlines()
    for name, _, told in rows:
        assert f"{name}=={told}" in pinned
        assert version(name)

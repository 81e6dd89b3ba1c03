"""The pytest plugin: the fixtures `auth_server` and `new_auth_server`.

def test_my_client(auth_server):
    ...

@pytest.mark.auth_server(mode="grace", grace=5)
def test_my_client_with_a_grace_window(auth_server):
    ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from onerefresh.testing.server import AuthServer


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "auth_server(**options): options of the `auth_server` fixture's server")


@pytest.fixture
def new_auth_server() -> Iterator[Callable[..., AuthServer]]:
    """A function that makes servers. Each is stopped after the test, which fails if one saw unannounced reuse."""
    from onerefresh.testing.server import AuthServer

    with ExitStack() as servers:

        def make(*arguments: Any, **options: Any) -> AuthServer:
            return servers.enter_context(AuthServer(*arguments, **options))

        yield make


@pytest.fixture
def auth_server(request: pytest.FixtureRequest, new_auth_server: Callable[..., AuthServer]) -> AuthServer:
    """A strict server (mode `revoke_family`) in threads of this process; the marker of its name passes options."""
    marker = request.node.get_closest_marker("auth_server")
    return new_auth_server(*marker.args, **marker.kwargs) if marker else new_auth_server()

"""What the tests of the configuration file share: a provider with two accounts, and how a text is parsed."""

from __future__ import annotations

from pathlib import Path

import pytest

from onerefresh.config import Configuration
from onerefresh.config import file as config
from onerefresh.errors import ConfigurationError

PATH = Path("/home/me/.config/onerefresh/onerefresh.toml")
PROVIDER = """
[providers.acme]
token_endpoint = "https://login.acme.com/token"
client_id = "cli"
client_secret = { env = "ACME_SECRET" }
scope = "read"
origins = ["https://api.acme.com"]
profile = "okta"
"""
ACCOUNTS = """
[credentials.work]
provider = "acme"

[credentials.home]
provider = "acme"
scope = "read write"
client_id = "another"
"""


def parse(text: str) -> Configuration:
    return config.parse(text, PATH)


def problem_with(text: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        parse(text)
    return raised.value.message.removeprefix(f"{PATH}: ")

"""The configuration file: several accounts of one provider."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.configuration import ACCOUNTS, PROVIDER, parse, problem_with

import onerefresh
from onerefresh.cli import main
from onerefresh.errors import ConfigurationError
from onerefresh.testing import AuthServer


def test_accounts_share_the_settings_of_their_provider() -> None:
    found = parse(PROVIDER + ACCOUNTS)
    assert list(found.entries) == ["work", "home"], "a provider is no credential"
    work, home = found.named("work"), found.named("home")
    assert work.provider == home.provider == "acme"
    assert work.origins == home.origins == ("https://api.acme.com",)
    assert (work.endpoint["client_id"], work.endpoint["scope"]) == ("cli", "read")
    assert (home.endpoint["client_id"], home.endpoint["scope"]) == ("another", "read write")
    assert work.options == home.options == {"profile": "okta"}


def test_a_provider_is_no_credential_and_its_accounts_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'acme' is a provider, and no credential: .*\(work, home\)"):
        parse(PROVIDER + ACCOUNTS).named("acme")
    both = parse(PROVIDER + ACCOUNTS.replace("work", "acme"))
    assert both.named("acme").name == "acme", "one may be called like its provider"


def test_the_order_of_the_sections_does_not_matter() -> None:
    assert parse(ACCOUNTS + PROVIDER).entries == parse(PROVIDER + ACCOUNTS).entries


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            PROVIDER + '[credentials.work]\nprovider = "acmee"',
            "credentials.work.provider: there is no section [providers.acmee], did you mean 'acme'? (there are: acme)",
        ),
        (ACCOUNTS, "credentials.work.provider: there is no section [providers.acme] (there are: none)"),
        (PROVIDER + "[credentials.work]\nprovider = 3", "credentials.work.provider must be a string in quotes"),
        (PROVIDER + "[credentials.work]\nprovider = ''", "credentials.work.provider must be a string in quotes"),
        (PROVIDER + ACCOUNTS + '[credentials.work]\nprovider = "acme"', "is not TOML"),
        (PROVIDER + PROVIDER, "is not TOML"),
        (PROVIDER + 'provider = "other"', "providers.acme.provider is unknown"),
        ("[providers.acme]\nclientid = 1", "providers.acme.clientid is unknown, did you mean 'client_id'?"),
        ("[providers.acme]\nrefresh_token = 'x'", "providers.acme.refresh_token: a token does not belong in this file"),
        ("providers = 3", "providers must be a table"),
        ("[providers]\nacme = 3", "providers.acme must be a table"),
        (
            '[credentials.a]\nprovider = "p"\n[providers.p]\nclient_id = "x"',
            "credentials.a (with providers.p) needs exactly one of",
        ),
        (
            '[credentials.a]\nprovider = "p"\nrefresher = "m:f"\n[providers.p]\ntoken_endpoint = "https://x"',
            "credentials.a (with providers.p) needs exactly one of",
        ),
        (
            PROVIDER.replace('"cli"', "3") + ACCOUNTS,
            "providers.acme.client_id must be a string in quotes, not a number",
        ),
        (
            PROVIDER.replace('"https://api.acme.com"', '"api.acme.com"') + ACCOUNTS,
            "providers.acme.origins: 'api.acme.com' is not an origin",
        ),
        (
            PROVIDER + ACCOUNTS.replace('"another"', "3"),
            "credentials.home.client_id must be a string in quotes, not a number",
        ),
        (
            PROVIDER.replace('{ env = "ACME_SECRET" }', '"hunter2"') + ACCOUNTS,
            "providers.acme.client_secret: a secret does not belong in this file",
        ),
    ],
)
def test_what_is_wrong_is_named_where_it_is_written(text: str, said: str) -> None:
    found = problem_with(text)
    assert said in found
    assert "hunter2" not in found


def test_the_accounts_have_sessions_of_their_own(
    tmp_path: Path, auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "onerefresh.toml"
    path.write_text(
        f'store = "sqlite:///tokens.db"\n[providers.acme]\ntoken_endpoint = "{auth_server.token_url}"\n'
        'client_id = "client"\nclient_secret = { env = "ACME_SECRET" }\n'
        '[credentials.work]\nprovider = "acme"\n[credentials.home]\nprovider = "acme"\n'
    )
    path.chmod(0o600)
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ACME_SECRET", auth_server.client_secret or "")
    tokens = []
    for name in ("work", "home"):
        with onerefresh.load(name, config=path) as credential:
            tokens.append(credential.token(refused=credential.login(auth_server.issue())))
    assert [token.generation for token in tokens] == [2, 2]
    assert len({token.reveal() for token in tokens}) == 2
    assert main(["--config", str(path), "status"]) == 0
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()] == [
        ["work", "generation", "2"],
        ["home", "generation", "2"],
    ]
    assert main(["--config", str(path), "status", "work"]) == 0
    assert "provider     acme\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shared", "own", "said"),
    [
        ('grant = "bad"', "", "credentials.work (with providers.acme): unknown grant 'bad'"),
        ("dead = 1.5", "", "credentials.work (with providers.acme): dead must be"),
        ("", 'json_endpoint = "https://acme.com/r"', "credentials.work (with providers.acme) needs exactly one of"),
        (
            'client_secret = { env = "X" }',
            'client_auth = "none"',
            "credentials.work (with providers.acme): client_auth",
        ),
    ],
)
def test_what_does_not_work_together_names_the_provider_too(shared: str, own: str, said: str) -> None:
    provider = '[providers.acme]\ntoken_endpoint = "https://acme.com/token"\nclient_id = "cli"\n'
    text = f'store = "memory"\n{provider}{shared}\n[credentials.work]\nprovider = "acme"\n{own}\n'
    with pytest.raises(ConfigurationError) as raised:
        parse(text).named("work").open()
    assert said in str(raised.value)

"""Settings that several credentials of one provider share.

[providers.acme]
token_endpoint = "https://login.acme.com/token"
client_id = "cli"

[credentials.work]
provider = "acme"

[credentials.home]
provider = "acme"
scope = "read"                                   # in place of the provider's, if it has one
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from onerefresh.config.values import alike, text
from onerefresh.errors import ConfigurationError

__all__ = ["Section", "called", "section_of", "told_where_it_is_written"]

T = TypeVar("T")


class Section(NamedTuple):
    """The settings of a credential. `shared`: those that its `provider` has and the credential has not."""

    settings: Mapping[str, object]
    provider: str | None = None
    shared: frozenset[str] = frozenset()


def section_of(name: str, settings: Mapping[str, object], providers: Mapping[str, Mapping[str, object]]) -> Section:
    """The settings of the credential `name` with its provider's. A setting of its own replaces the provider's.

    Raises `ConfigurationError` for a provider that there is not.
    """
    if "provider" not in settings:
        return Section(settings)
    where = f"credentials.{name}.provider"
    provider = text(settings["provider"], where)
    if provider not in providers:
        known = ", ".join(providers) or "none"
        raise ConfigurationError(
            f"{where}: there is no section [providers.{provider}]{alike(provider, providers)} (there are: {known})"
        )
    own = {key: value for key, value in settings.items() if key != "provider"}
    shared = providers[provider]
    return Section({**shared, **own}, provider, frozenset(shared) - frozenset(own))


def called(name: str, provider: str | None) -> str:
    """The credential's section in errors, with the provider's, whose settings may be the cause."""
    return f"credentials.{name}" if provider is None else f"credentials.{name} (with providers.{provider})"


def told_where_it_is_written(name: str, section: Section, read: Callable[[], T]) -> T:
    """What `read` returns. An error about a setting that the provider has names the provider's section."""
    try:
        return read()
    except ConfigurationError as error:
        message = error.message
    where = f"credentials.{name} "
    if message.startswith(where):
        message = f"{called(name, section.provider)} {message.removeprefix(where)}"
    for key in section.shared:
        place = f"credentials.{name}.{key}"
        if message.startswith(place) and not message[len(place) :][:1].isalnum():
            message = f"providers.{section.provider}.{message[len(f'credentials.{name}.') :]}"
            break
    raise ConfigurationError(message)

"""The key `refused` of the configuration file: which answers of the API refuse the token.

refused = "slack"                                # a ready rule, by name
refused = { statuses = [403], codes = ["TOKEN_EXPIRED"], at = "code" }
refused = ["login_page", { statuses = [400], codes = [190], at = "error.code" }]
"""

from __future__ import annotations

from onerefresh.clients.refused import RefusedWhen, json_code, rules_of
from onerefresh.config.values import kind
from onerefresh.errors import ConfigurationError

__all__ = ["refused_rules"]

_KEYS = ("statuses", "codes", "at")


def refused_rules(value: object, where: str) -> tuple[str | RefusedWhen, ...]:
    """The rules, as `refused=` of a client takes them. Raises `ConfigurationError`, which names the key."""
    several = value if isinstance(value, list) else [value]
    try:
        found = [_rule(one) for one in several]
        rules_of(found)
    except ConfigurationError as error:
        message = error.message.removeprefix("refused: ")
    else:
        return tuple(found)
    raise ConfigurationError(f"{where}: {message}")


def _rule(one: object) -> str | RefusedWhen:
    if isinstance(one, str):
        return one
    if not isinstance(one, dict):
        raise ConfigurationError(f'write the name of a rule, or {{ statuses = [403], codes = ["…"] }}, not {kind(one)}')
    for key in one:
        if key not in _KEYS:
            raise ConfigurationError(f"{key} is unknown; the keys are {', '.join(_KEYS)}")
    for key in ("statuses", "codes"):
        if key not in one:
            raise ConfigurationError(f'{key} is missing: write {{ statuses = [403], codes = ["…"], at = "code" }}')
    return json_code(one["statuses"], one["codes"], at=one.get("at", "code"))

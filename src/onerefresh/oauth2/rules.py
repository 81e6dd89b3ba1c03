"""Rules for answers without a token: what the user, or a provider's profile, says that a refusal means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from onerefresh.bodies import header
from onerefresh.errors import ConfigurationError
from onerefresh.oauth2.codec import TokenResponse
from onerefresh.oauth2.paths import Path, checked_path, values_at
from onerefresh.profile import Profile
from onerefresh.verdict import FailureKind

__all__ = ["Rule", "Rules"]

Condition: TypeAlias = int | str | Mapping[str, object] | Callable[[TokenResponse], bool]
Rule: TypeAlias = Condition | Sequence[Condition]
"""One condition, or several of which one is enough:

* a status, such as ``401``;
* an error code, such as ``"SESSION_EXPIRED"``, wherever an answer may have its code;
* a mapping of which everything must hold: ``{"status": 403, "error.code": "TOKEN_EXPIRED"}``, with paths into the
  answer, ``"header:NAME"``, and lists where several values are meant. ``*`` in a text stands for any characters;
* a function from `TokenResponse` to True or False.
"""

_NOT_PROCESSED = frozenset({408, 425, 429})
_CODE_NAMES = frozenset(
    ("error", "code", "error_code", "errorcode", "errcode", "err_code", "error_type", "errortype", "__type", "type")
) | {"reason", "name", "status", "key"}
_LONGEST_CODE = 64
_DEEPEST = 4
_MOST_LOOKED_AT = 200

_BY_PROFILE: Mapping[str, Mapping[str, Rule]] = MappingProxyType(
    {
        "cognito": {
            # "Invalid Refresh Token" is no proof: a wrong client ID and a missing device key get it as well.
            "dead": {
                "__type": "*NotAuthorizedException",
                "message": ["*refresh token has expired*", "*refresh token has been revoked*"],
            },
            "busy": {"__type": "*TooManyRequestsException"},
        },
        "fitbit": {"dead": {"errors.*.errorType": "invalid_grant"}},
        "hubspot": {"dead": {"status": "BAD_REFRESH_TOKEN"}},
        "strava": {"dead": {"errors.*.resource": "RefreshToken", "errors.*.code": ["invalid", "expired"]}},
        "twitch": {"dead": {"status": [400, 401], "message": "Invalid refresh token"}},
        "zoho": {
            "dead": "invalid_code",
            "busy": {"error": "Access Denied", "error_description": "*too many requests*"},
        },
        "zoom": {"dead": {"reason": "Invalid Token!"}},
    }
)
"""How providers say that a session is over, or that they are busy, where RFC 6749 has other words."""


class Rules:
    """The rules of one endpoint. Raises `ConfigurationError` for a rule that cannot be understood.

    * `dead`: the session is over, and only a login helps.
    * `doubtful`: the session is over, or the client is wrong.
    * `busy`: the server has not processed the request; it is asked again later.

    A profile's rules come after the user's.
    """

    def __init__(
        self,
        *,
        dead: Rule | None = None,
        doubtful: Rule | None = None,
        busy: Rule | None = None,
        profile: Profile | None = None,
    ) -> None:
        known = _BY_PROFILE.get(profile.name, {}) if profile is not None else {}
        self._rules = tuple(
            (kind, name, condition)
            for given in ({"dead": dead, "doubtful": doubtful, "busy": busy}, known)
            for name, kind in _KINDS.items()
            for condition in _conditions(given.get(name), name)
        )

    @property
    def settings(self) -> tuple[object, ...]:
        """What tells these rules from others."""
        return tuple((name, condition.function or condition.given) for _, name, condition in self._rules)

    def verdict_on(self, response: TokenResponse, answer: object) -> tuple[FailureKind | None, str]:
        """What the rules say about an answer, or None; and an addition to its message.

        `answer`: the parsed body; None where it is no JSON.
        """
        broken = ""
        for kind, name, condition in self._rules:
            try:
                if condition.holds(response, answer):
                    return kind, f" (rule: {name})"
            except Exception as error:  # noqa: BLE001 - a user's function may raise anything: then it says nothing
                broken = f" (the function in {name}= raised {type(error).__name__})"
        return None, broken


_KINDS = {"dead": FailureKind.DEAD, "doubtful": FailureKind.DOUBTFUL, "busy": FailureKind.UNAVAILABLE}


@dataclass(frozen=True, slots=True)
class _Condition:
    """One condition. `given`: as the user wrote it. `of_a_session`: it says that a session may be over."""

    given: str
    of_a_session: bool
    statuses: tuple[int, ...] = ()
    code: str | None = None
    wanted: tuple[tuple[str | Path, tuple[object, ...]], ...] = ()
    function: Callable[[TokenResponse], bool] | None = None

    def holds(self, response: TokenResponse, answer: object) -> bool:
        if self.function is not None:
            return self.function(response) is True
        if self.statuses:
            if response.status not in self.statuses:
                return False
        elif self.of_a_session and (response.status >= 500 or response.status in _NOT_PROCESSED):
            return False  # a server in trouble proves nothing, unless the rule names its status
        if self.code is not None:
            return any(_fits(code, self.code) for code in _codes_in(answer))
        for place, values in self.wanted:
            if isinstance(place, str):
                found: list[object] = [header(response.headers, place)]
            else:
                found = values_at(answer, place)
            if not any(_fits(one, value) for one in found for value in values):
                return False
        return True


def _conditions(rule: object, name: str) -> list[_Condition]:
    if rule is None:
        return []
    several = list(rule) if isinstance(rule, (list, tuple)) else [rule]
    if not several:
        raise ConfigurationError(f"{name} is empty: leave it out, or name a status, an error code or a field")
    return [_condition(one, name) for one in several]


def _condition(given: object, name: str) -> _Condition:
    of_a_session = name != "busy"
    if isinstance(given, int) and not isinstance(given, bool):
        statuses = _statuses(given, name, "an error code of the answer")
        if 200 <= given < 300:
            raise ConfigurationError(f"{name}: the status {given} alone says nothing: name a field of the answer, too")
        _refuse_outages(statuses, name)
        return _Condition(repr(given), of_a_session, statuses=statuses)
    if isinstance(given, str):
        if not given or len(given) > _LONGEST_CODE or not given.isprintable():
            raise ConfigurationError(f"{name}: {given!r} is not an error code")
        return _Condition(given, of_a_session, code=given)
    if isinstance(given, Mapping):
        return _of_mapping(given, name, of_a_session=of_a_session)
    if callable(given):
        function: Callable[[TokenResponse], bool] = given
        return _Condition("", of_a_session, function=function)
    raise ConfigurationError(
        f"{name} must be a status, an error code, a mapping such as {{'error.code': 'TOKEN_EXPIRED'}}, a function, or "
        f"a list of these, not {type(given).__name__}"
    )


def _of_mapping(given: Mapping[object, object], name: str, *, of_a_session: bool) -> _Condition:
    statuses: tuple[int, ...] = ()
    wanted: list[tuple[str | Path, tuple[object, ...]]] = []
    for place, value in given.items():
        values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        if not values or not all(isinstance(one, (str, int)) and one != "" for one in values):
            raise ConfigurationError(f"{name}[{place!r}] must be a text, a number, true, false, or a list of these")
        if place == "status" and all(isinstance(one, int) and not isinstance(one, bool) for one in values):
            statuses = tuple(status for one in values for status in _statuses(one, name, "a field of the answer"))
        elif isinstance(place, str) and place.startswith("header:"):
            wanted.append((place.removeprefix("header:").lower(), values))
        else:
            wanted.append((checked_path(place, f"{name}: {place!r}"), values))
    if not wanted and not statuses:
        raise ConfigurationError(f"{name}: an empty mapping says nothing: name a status or a field")
    if not wanted and any(200 <= status < 300 for status in statuses):
        raise ConfigurationError(f"{name}: a status of success alone says nothing: name a field of the answer, too")
    if not wanted:
        _refuse_outages(statuses, name)
    return _Condition(repr((statuses, wanted)), of_a_session, statuses=statuses, wanted=tuple(wanted))


def _statuses(status: int, name: str, other: str) -> tuple[int, ...]:
    """`other`: what may have been meant instead."""
    if not 200 <= status <= 599:
        raise ConfigurationError(
            f"{name}: {status!r} is not an HTTP status: for {other} write it in quotes, '{status}'"
        )
    return (status,)


def _refuse_outages(statuses: tuple[int, ...], name: str) -> None:
    for status in statuses:
        if name != "busy" and (status >= 500 or status in _NOT_PROCESSED):
            raise ConfigurationError(
                f"{name}: the status {status} alone shows that the server is in trouble, not that a session is over: "
                "name a field of the answer, too"
            )


def _fits(found: object, wanted: object) -> bool:
    """Whether a value of an answer is the one that a rule names: texts without regard to case, numbers also as text."""
    if isinstance(wanted, bool) or isinstance(found, bool):
        return found is wanted
    if isinstance(found, (int, float)):
        found = str(found)
    if not isinstance(found, str):
        return False
    pattern = ".*".join(map(re.escape, str(wanted).casefold().split("*")))
    return re.fullmatch(pattern, found[: 8 * 1024].strip().casefold(), re.DOTALL) is not None


def _codes_in(answer: object) -> list[object]:
    """Everything in an answer that may be an error code: short texts and numbers under the names that are used."""
    codes: list[object] = []
    waiting: list[tuple[str, object, int]] = [("", answer, 0)]
    for _ in range(_MOST_LOOKED_AT):
        if not waiting:
            break
        name, value, depth = waiting.pop(0)
        if isinstance(value, Mapping) and depth < _DEEPEST:
            waiting += [(str(key), one, depth + 1) for key, one in list(value.items())[:_MOST_LOOKED_AT]]
        elif isinstance(value, (list, tuple)) and depth < _DEEPEST:
            waiting += [(name, one, depth + 1) for one in value[:10]]
        elif isinstance(value, (str, int)) and name.lower().replace("-", "_") in _CODE_NAMES:
            codes.append(value)
    return codes

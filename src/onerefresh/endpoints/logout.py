"""The request that ends a session at the server, as a `JsonEndpoint` describes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

from onerefresh.endpoints.request import PARTS, Fillings, RequestPlan
from onerefresh.errors import ConfigurationError
from onerefresh.oauth2.address import Address
from onerefresh.oauth2.revocation import confirmed
from onerefresh.oauth2.sending import Send, default_sender
from onerefresh.redaction import PART, Redactor
from onerefresh.secret import Secret
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict

__all__ = ["Logout"]

_KEYS = ("url", *PARTS)


class Logout:
    """How the session is ended. Raises `ConfigurationError` for what no request can be.

    * `how`: `PARTS` of the refresh, and ``logout``: its URL, or ``url`` and `PARTS` of this request. What is left out
      is that of the refresh, and headers are added to those of it.
    * `url`: of the refresh.
    * `kept`: the names of gaps beside the tokens.
    """

    def __init__(
        self,
        how: Mapping[str, object],
        url: str,
        *,
        kept: Iterable[str],
        allow_unencrypted_http: bool,
    ) -> None:
        given = how["logout"]
        own = {"url": given} if isinstance(given, str) else given
        if not isinstance(own, Mapping):
            raise ConfigurationError(
                f"logout must be a URL, or a mapping such as {{'url': …, 'method': …}}, not {type(given).__name__}"
            )
        strange = next((name for name in own if name not in _KEYS), None)
        if strange is not None:
            raise ConfigurationError(f"logout has an unknown setting {strange!r}: use some of {', '.join(_KEYS)}")
        headers = _together(how["headers"], own.get("headers", {}))
        how = {**{name: own.get(name, how[name]) for name in PARTS}, "headers": headers}
        if how["method"] == "GET" and "body" not in own:
            how["body"] = None
        self.address = Address.parse(
            own.get("url", url), "the logout endpoint", allow_unencrypted_http=allow_unencrypted_http
        )
        self.plan = RequestPlan(self.address, how, kept=kept)

    @property
    def secrets_to_hide(self) -> list[Secret]:
        """What no text may show, beside the tokens."""
        texts = [text for _, text in parse_qsl(self.address.query) if len(text) >= PART and "{" not in text]
        return [*self.plan.secrets_to_hide, *map(Secret, texts)]

    def send(self, fillings: Fillings, send: Send | None, *, timeout: float, hidden: Redactor) -> None:
        """Send it. Raises `RefreshFailure` where something is missing, or where the server does not confirm it."""
        missing = min(self.plan.gaps - set(fillings), default=None)
        if missing is not None:
            message = f"the logout needs {missing!r}, which this session does not have; nothing was sent"
            raise RefreshFailure(Verdict(FailureKind.CONFIGURATION, message))
        for secret in self.plan.secrets:
            secret.ask(hidden)
        request = self.plan.request(fillings, timeout=timeout, hidden=hidden)
        confirmed(request, send or default_sender(self.address), "logout endpoint")


def _together(usual: object, own: object) -> object:
    if not isinstance(usual, Mapping) or not isinstance(own, Mapping):
        return own  # refused where the request is made
    replaced = {str(name).lower() for name in own}
    return {**{name: value for name, value in usual.items() if str(name).lower() not in replaced}, **own}

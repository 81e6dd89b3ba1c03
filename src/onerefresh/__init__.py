"""onerefresh: many parallel API calls, one credential, exactly one token refresh.

Names are imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onerefresh.config import load
    from onerefresh.credential import Credential, LoggedOut, Status
    from onerefresh.credentials import Credentials
    from onerefresh.errors import (
        ClientRejected,
        ConfigurationError,
        CredentialClosed,
        CredentialMoved,
        InteractionRequired,
        LoginRequired,
        OnerefreshError,
        RefresherFailed,
        RefreshOutcomeUnknown,
        RefreshProtocolError,
        RefreshUnavailable,
        RequestRejected,
        SaveFailed,
        StoreUnavailable,
        WaitTimeout,
    )
    from onerefresh.profile import Profile
    from onerefresh.secret import Secret
    from onerefresh.store import Store
    from onerefresh.token import Answer, Token

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "ClientRejected",
    "ConfigurationError",
    "Credential",
    "CredentialClosed",
    "CredentialMoved",
    "Credentials",
    "InteractionRequired",
    "LoggedOut",
    "LoginRequired",
    "OnerefreshError",
    "Profile",
    "RefreshOutcomeUnknown",
    "RefreshProtocolError",
    "RefreshUnavailable",
    "RefresherFailed",
    "RequestRejected",
    "SaveFailed",
    "Secret",
    "Status",
    "Store",
    "StoreUnavailable",
    "Token",
    "WaitTimeout",
    "load",
]

_HOMES = {
    "Answer": "token",
    "Credential": "credential",
    "Credentials": "credentials",
    "LoggedOut": "credential",
    "Profile": "profile",
    "Secret": "secret",
    "Status": "credential",
    "Store": "store",
    "Token": "token",
    "load": "config",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'onerefresh' has no attribute {name!r}")
    module = importlib.import_module(f"onerefresh.{_HOMES.get(name, 'errors')}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

"""Cookies of an answer, as a browser would keep them (RFC 6265 section 5): the refresh token may be one of them.

Values stay as they are, quotes and escapes included, since a browser sends back what it was sent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onerefresh.bodies import header
from onerefresh.oauth2.address import Address
from onerefresh.oauth2.codec import TokenResponse

if TYPE_CHECKING:
    from http.cookiejar import Cookie

__all__ = ["NAME", "Cookies", "cookies_of", "named_cookies", "unsendable_cookie"]

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What a cookie may be called (RFC 9110 section 5.6.2)."""
CLOCKS_DIFFER = 86_400.0
"""Seconds by which a date must be past before it counts as such, where the server does not tell its own time."""
MOST_COOKIES = 200
LONGEST_DATE = 100
_NEXT = re.compile(r",(?=\s*[^;,=\s]+=)")
_SECONDS = re.compile(r"-?[0-9]+")


@dataclass(frozen=True, slots=True)
class Cookies:
    """What an answer says about cookies: their new values, and the names of those that it deletes."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    deleted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Cookie:
    name: str
    value: str = field(repr=False)
    domain: str
    path: str
    is_deleted: bool

    @property
    def key(self) -> tuple[str, str, str]:
        """Two cookies with one key replace each other."""
        return (self.name, self.domain, self.path)

    def is_for(self, address: Address) -> bool:
        """Whether a browser would send the cookie to this address."""
        host = address.host.rstrip(".").lower()
        if self.domain and self.domain != host and not host.endswith(f".{self.domain}"):
            return False
        path = address.path
        return path.startswith(self.path) and (
            path == self.path or self.path.endswith("/") or path[len(self.path)] == "/"
        )


def cookies_of(response: TokenResponse, address: Address) -> Cookies:
    """The cookies that an answer from `address` sets and deletes.

    Of several cookies with one name the one counts that a browser would send to `address`: that with the longest path.
    Where it would send none of them, the last one counts, since it may be the only refresh token that works; a proxy
    may have changed the path.
    """
    now = _date(header(response.headers, "date"))
    latest: dict[tuple[str, str, str], _Cookie] = {}
    for line in _lines(response):
        cookie = _parsed(line, address, now)
        if cookie is not None:
            latest.pop(cookie.key, None)  # so that the order is that of the last ones
            latest[cookie.key] = cookie
    values: dict[str, str] = {}
    deleted: set[str] = set()
    for name in {cookie.name for cookie in latest.values()}:
        ours = [cookie for cookie in latest.values() if cookie.name == name]
        live = [cookie for cookie in ours if not cookie.is_deleted]
        if live:
            values[name] = _counting(live, name, address)
        elif any(cookie.is_for(address) for cookie in ours):
            deleted.add(name)
    return Cookies(values, frozenset(deleted))


def _lines(response: TokenResponse) -> Sequence[str]:
    if response.cookies:
        return list(response.cookies)[:MOST_COOKIES]
    joined = header(response.headers, "set-cookie")
    return _NEXT.split(joined)[:MOST_COOKIES] if joined else ()


def _parsed(line: str, address: Address, now: float | None) -> _Cookie | None:
    """One ``Set-Cookie`` header; None where it sets no cookie."""
    pair, *attributes = line.split(";")
    name, equals, value = pair.partition("=")
    name, value = name.strip(" \t"), value.strip(" \t")
    if not equals or not NAME.fullmatch(name):
        return None
    found: dict[str, str] = {}
    for attribute in attributes:
        key, _, text = attribute.partition("=")
        found[key.strip(" \t").lower()] = text.strip(" \t")
    path = found.get("path", "")
    if not path.startswith("/"):
        path = address.path.rpartition("/")[0] or "/"
    domain = found.get("domain", "").lstrip(".").lower()
    return _Cookie(name, value, domain, path, value in ("", '""') or _is_over(found, now))


def _is_over(attributes: Mapping[str, str], now: float | None) -> bool:
    """Whether the attributes end the cookie at once: ``Max-Age`` counts before ``Expires``."""
    seconds = attributes.get("max-age", "")
    if _SECONDS.fullmatch(seconds):
        return seconds.startswith("-") or not seconds.strip("0")
    end = _date(attributes.get("expires"))
    if end is None:
        return False
    return end <= now if now is not None else end <= time.time() - CLOCKS_DIFFER


def _date(text: str | None) -> float | None:
    """A date as seconds since the epoch; None where it is none."""
    from http.cookiejar import http2time  # type: ignore[attr-defined]  # the stub leaves it out

    if not text or len(text) > LONGEST_DATE:
        return None
    try:
        found = http2time(text)
    except (ValueError, OverflowError):
        return None
    return None if found is None else float(found)


def named_cookies(cookies: object, address: Address) -> Cookies | None:
    """The cookies of a login's answer: by name, as texts or objects with a `value`, or an HTTP client's cookie jar.

    Of several cookies with one name that one counts which `cookies_of` would take. None for anything else.
    """
    from http.cookiejar import CookieJar  # only here, since it takes long

    jar = getattr(cookies, "jar", cookies)
    if isinstance(jar, CookieJar):
        several = [_of_jar(cookie) for cookie in jar if cookie.value]
        return Cookies({name: _counting(several, name, address) for name in {cookie.name for cookie in several}})
    if not isinstance(cookies, Mapping):
        return None
    # A `Morsel` of the standard library, which aiohttp has, keeps the value as it was sent beside its meaning.
    values = {
        str(name): getattr(value, "coded_value", getattr(value, "value", value)) for name, value in cookies.items()
    }
    return Cookies({name: value for name, value in values.items() if isinstance(value, str) and value})


def _of_jar(cookie: Cookie) -> _Cookie:
    domain = cookie.domain.lstrip(".").lower() if cookie.domain_specified else ""
    return _Cookie(cookie.name, cookie.value or "", domain, cookie.path, is_deleted=False)


def _counting(cookies: Sequence[_Cookie], name: str, address: Address) -> str:
    """The value of the cookie of this name that counts at `address`."""
    ours = [cookie for cookie in cookies if cookie.name == name]
    sent_here = [cookie for cookie in ours if cookie.is_for(address)]
    return max(sent_here, key=lambda cookie: len(cookie.path)).value if sent_here else ours[-1].value


def unsendable_cookie(value: str) -> bool:
    """Whether a ``Cookie`` header cannot carry this value: it would end there, or begin another cookie."""
    return not value.isascii() or not value.isprintable() or ";" in value or value != value.strip()

"""The address of a token endpoint: which URLs may be sent a secret (RFC 6749 section 3.2)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from onerefresh.errors import ConfigurationError
from onerefresh.secret import Secret

__all__ = ["Address"]

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """A token endpoint's URL, checked. Its query is sent, but never shown."""

    scheme: str
    host: str
    port: int
    path: str
    query: str

    @classmethod
    def parse(cls, url: object, what: str = "the token endpoint", *, allow_unencrypted_http: bool = False) -> Address:
        """The parts of a URL. `what` names it in errors.

        Raises `ConfigurationError` for a URL to which no secret may be sent.
        """
        if not isinstance(url, str):
            raise ConfigurationError(f"{what} must be a URL, not {type(url).__name__}")
        if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise ConfigurationError(
                f"{what} URL contains a character that URLs cannot have: write it in ASCII (xn--… for the host, %…)"
            )
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ConfigurationError(f"{what} URL cannot be read: check its host and port") from None
        scheme, host = parts.scheme, parts.hostname or ""
        if scheme not in ("https", "http") or not host:
            raise ConfigurationError(f"{what} must be a full URL: https://host/path")
        if "@" in parts.netloc:
            raise ConfigurationError(f"{what} URL contains a user name: use client_id and client_secret")
        if "#" in url:
            raise ConfigurationError(f"{what} URL has a fragment (#…): leave it out")
        address = _ip(host)
        if address is None and (len(host) > 253 or not _HOST_NAME.fullmatch(host)):
            raise ConfigurationError(f"{what} URL has a host that is neither a name nor an IP address")
        if port == 0:
            raise ConfigurationError(f"{what} URL has port 0, at which no server can listen")
        port = port or (443 if scheme == "https" else 80)
        checked = cls(scheme, host, port, parts.path or "/", parts.query)
        if scheme == "http" and not allow_unencrypted_http and not checked.is_loopback:
            raise ConfigurationError(
                f"{what} {checked.shown} is not https, so its tokens could be read on the way: "
                "use https, or set allow_unencrypted_http=True"
            )
        return checked

    @property
    def is_loopback(self) -> bool:
        """Whether the endpoint is on this machine."""
        address = _ip(self.host)
        return self.host == "localhost" if address is None else address.is_loopback

    @property
    def authority(self) -> str:
        """Host and port, without the scheme's usual port, as in the header ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    @property
    def place(self) -> str:
        """Host and port, the same text however the host is written: in full, with a final dot, for example."""
        return f"{_ip(self.host) or self.host.removesuffix('.')}:{self.port}"

    @property
    def shown(self) -> str:
        """The URL without its query, and without the scheme's usual port."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def target(self) -> str:
        """Path and query, as in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def url(self) -> str:
        """The whole URL."""
        return f"{self.shown}?{self.query}" if self.query else self.shown

    @property
    def query_names(self) -> frozenset[str]:
        """The names of the parameters in the URL itself."""
        return frozenset(name for name, _ in parse_qsl(self.query, keep_blank_values=True))

    @property
    def identity(self) -> str:
        """The URL with a digest in place of its query, which tells endpoints apart and reveals nothing."""
        return f"{self.shown}?…{Secret(self.query).fingerprint()[:8]}" if self.query else self.shown

    def __repr__(self) -> str:
        return f"Address({self.identity!r})"


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onerefresh.errors import ConfigurationError
from onerefresh.oauth2.address import Address


@pytest.mark.parametrize(
    ("url", "sent_to"),
    [
        ("https://login.example/token", "https://login.example/token"),
        ("HTTPS://LOGIN.example:443", "https://login.example/"),
        ("https://login.example:8443/a%20b?tenant=x&y=", "https://login.example:8443/a%20b?tenant=x&y="),
        ("https://[::1]:8443/token", "https://[::1]:8443/token"),
        ("https://10.0.0.1/token", "https://10.0.0.1/token"),
        ("https://xn--bcher-kva.example/token", "https://xn--bcher-kva.example/token"),
        ("http://127.0.0.1:5000/token", "http://127.0.0.1:5000/token"),
        ("http://127.9.9.9/token", "http://127.9.9.9/token"),
        ("http://localhost/token", "http://localhost/token"),
        ("http://[::1]/token", "http://[::1]/token"),
    ],
)
def test_https_and_loopback_are_token_endpoints(url: str, sent_to: str) -> None:
    assert Address.parse(url).url == sent_to


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://login.example/token", "not https"),
        ("http://localhost.example/token", "not https"),
        ("http://127.0.0.1.example/token", "not https"),
        ("http://10.0.0.1/token", "not https"),
        ("http://0.0.0.0/token", "not https"),
        ("http://127.1/token", "not https"),
        ("http://[::ffff:10.0.0.1]/token", "not https"),
        ("https://login.example/token#top", "fragment"),
        ("https://login.example/token#", "fragment"),
        ("https://me:pw@login.example/token", "user name"),
        ("https://@login.example/token", "user name"),
        ("login.example/token", "full URL"),
        ("//login.example/token", "full URL"),
        ("ftp://login.example/token", "full URL"),
        ("file:///etc/passwd", "full URL"),
        ("https:///token", "full URL"),
        ("", "full URL"),
        ("https://login.example:99999/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://login.example:0/", "port 0"),
        ("https://a..b/", "neither a name nor an IP address"),
        ("https://-a.example/", "neither a name nor an IP address"),
        ("https://*.example/", "neither a name nor an IP address"),
        ("https://bücher.example/", "ASCII"),
        ("https://login.example/to ken", "ASCII"),
        ("https://login.example/\r\nX: y", "ASCII"),
        ("https://login.example\\@evil.example/", "ASCII"),
        (None, "a URL, not NoneType"),
        (b"https://login.example/", "a URL, not bytes"),
    ],
)
def test_anything_else_is_refused_with_the_reason(url: object, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        Address.parse(url)
    assert "pw" not in str(caught.value)


def test_plain_http_elsewhere_must_be_allowed_in_so_many_words() -> None:
    assert Address.parse("http://login.example/token", allow_unencrypted_http=True).url == "http://login.example/token"


def test_the_query_is_sent_and_not_shown() -> None:
    address = Address.parse("https://login.example/token?key=hidden")
    assert address.target == "/token?key=hidden"
    assert "hidden" not in repr(address) + address.shown + address.identity
    assert address.identity != Address.parse("https://login.example/token?key=other").identity
    assert address.query_names == {"key"}


@given(st.text() | st.text().map("https://".__add__) | st.from_regex(r"https?://[^/]+(/.*)?"))
def test_any_text_is_an_address_or_a_clear_error(url: str) -> None:
    try:
        address = Address.parse(url)
    except ConfigurationError:
        return
    assert address.scheme == "https" or address.is_loopback
    assert address.url.isascii()
    assert Address.parse(address.url) == address


@pytest.mark.parametrize(
    ("written", "also"),
    [
        ("https://login.acme.com/token", "https://LOGIN.acme.com.:443/other"),
        ("https://[2001:db8::1]/token", "https://[2001:DB8:0:0:0:0:0:1]/token"),
    ],
)
def test_a_host_is_one_place_however_it_is_written(written: str, also: str) -> None:
    """Else some tenants of a provider would have a limit of their own."""
    assert Address.parse(written).place == Address.parse(also).place
    assert Address.parse(written).place != Address.parse(written.replace("/token", ":8443/token")).place

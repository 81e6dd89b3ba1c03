"""What happens to the texts of queries, cookies and addresses that hold a token."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from onerefresh import Token
from onerefresh.clients.bearer import Bearer
from onerefresh.clients.places import (
    has_parameter,
    with_cookies,
    with_parameters,
    without_parameters,
    without_secrets,
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.b/c", "https://a.b/c?k=v"),
        ("https://a.b/c?", "https://a.b/c?k=v"),
        ("https://a.b/c?x=1&y", "https://a.b/c?x=1&y&k=v"),
        ("https://a.b/c?k=old&x=1&k=older&%6b=oldest", "https://a.b/c?x=1&k=v"),
        ("https://a.b/c?k", "https://a.b/c?k=v"),
        ("https://a.b/c?x=%20+é&kk=1#k=2", "https://a.b/c?x=%20+é&kk=1&k=v#k=2"),
        ("?", "?k=v"),
    ],
)
def test_a_parameter_replaces_those_of_its_name_and_leaves_the_rest_as_it_is(url: str, expected: str) -> None:
    assert with_parameters(url, [("k", "v")]) == expected
    assert with_parameters(expected, [("k", "v")]) == expected


def test_a_parameter_is_encoded_and_found_again() -> None:
    url = with_parameters("https://a.b/?x=1", [("a[b]", "c d&e=f#ü/")])
    assert url == "https://a.b/?x=1&a%5Bb%5D=c%20d%26e%3Df%23%C3%BC%2F"
    assert has_parameter(url, ["a", "a[b]"]) == "a[b]"
    assert has_parameter(url + "#k=v", ["k"]) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ((), "s=t"),
        (("a=b", "s=old; c=d", ""), "a=b; c=d; s=t"),
        ("", "s=t"),
        ("a=b; c=d", "a=b; c=d; s=t"),
        ("s=old; a=b;s=older;", "a=b; s=t"),
        ("ss=1; S=2; flag", "ss=1; S=2; flag; s=t"),
        ('a="s=1"', 'a="s=1"; s=t'),
    ],
)
def test_a_cookie_replaces_those_of_its_name(header: str | tuple[str, ...], expected: str) -> None:
    assert with_cookies([header] if isinstance(header, str) else header, [("s", "t")]) == expected


VALUE = "t/o+k=n"
ONCE = "t%2Fo%2Bk%3Dn"
TWICE = "t%252Fo%252Bk%253Dn"


@pytest.mark.parametrize(
    ("location", "within", "elsewhere"),
    [
        ("/items/", "/items/", "/items/"),
        ("/items/?", "/items/?", "/items/?"),
        (f"/items/?k={ONCE}", "/items/", "/items/"),
        (f"?k={ONCE}", "?", "?"),
        (f"https://a.b/c?x=1&k={ONCE}&y=2#z", "https://a.b/c?x=1&y=2#z", "https://a.b/c?x=1&y=2#z"),
        ("/c?k=theirs", "/c?k=theirs", "/c?k=theirs"),
        (f"/c?next=%2Fd%3Fk%3D{TWICE}&y=2", f"/c?next=%2Fd%3Fk%3D{TWICE}&y=2", "/c?y=2"),
        (f"/c?other={ONCE}", f"/c?other={ONCE}", "/c"),
        (f"/c#k={ONCE}", f"/c#k={ONCE}", "/c"),
        (f"https://a.b/c/{ONCE}/d?x=1", f"https://a.b/c/{ONCE}/d?x=1", "https://a.b/?x=1"),
    ],
)
def test_an_address_to_which_an_answer_redirects_loses_the_token(location: str, within: str, elsewhere: str) -> None:
    without = without_parameters(location, [("k", VALUE)])
    assert without == within
    assert without_secrets(without, [VALUE]) == elsewhere


@pytest.mark.parametrize("location", ["", "?", "#", "//", "/a?&b&&c=", "https://a.b/?a=%zz&=#?k", "http://[bad?k=x"])
def test_an_address_without_the_token_stays_as_it_is(location: str) -> None:
    assert without_secrets(without_parameters(location, [("k", VALUE)]), [VALUE]) == location


@pytest.mark.parametrize("leaves", [False, True])
def test_what_is_no_secret_is_no_reason_to_change_the_address_of_another_origin(leaves: bool) -> None:
    """A signed address, as of a file store, is of no use if any of it is missing."""
    attach: dict[str, str | Callable[[Token], str]] = {
        "?key": "{token}",
        "?v": "2",
        "?shop": "{extra.shop}",
        "?n": lambda _: "7",
        "cookie:a": "1",
        "X-B": "long-text",
    }
    text = Bearer("acme", "https://api.acme.com", attach=attach).text(Token("the-token", extra={"shop": 42}))
    further = text.further
    assert further is not None
    there = "https://files.com/42/2/long-text/7?v=2&sig=a21427&w=long-text#1"
    assert further.taken_out(there, leaves=True) == there
    assert further.taken_out(there + "?the-token", leaves=True) == there.partition("#")[0]
    ours = "/42/2?v=2&key=the-token&shop=42&n=7&x=1"
    assert further.taken_out(ours, leaves=leaves) == ("/42/2?v=2&x=1" if leaves else "/42/2?x=1")

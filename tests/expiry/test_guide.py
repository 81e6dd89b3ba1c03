"""The guide has all names and limits of the code, and nothing that the code does not know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.package import ROOT

from onerefresh import answers
from onerefresh.expiry import CAUTIOUS_LIFE, names, values

PAGE = (ROOT / "docs" / "oauth2.md").read_text("utf-8")
SECTION = PAGE.partition("## What an answer may say")[2].partition("\n## ")[0]
ROWS = {row.partition(" | ")[0]: row.partition(" | ")[2] for row in re.findall(r"^\| (.*) \|$", SECTION, re.MULTILINE)}


@pytest.mark.parametrize(
    ("row", "known"),
    [
        ("the access token", answers._NAMES["access_token"]),
        ("the refresh token", answers._NAMES["refresh_token"]),
        ("the scope: a text or a list", answers._NAMES["scope"]),
        ("whose end; may be missing", tuple(filter(None, names.OF_ACCESS))),
        ("the end", names.WORDS),
        ("the value is a lifetime", names.SPANS),
        ("the value is a moment, one or more of", names.MOMENTS),
        ("a date without a time zone is in UTC", ("utc",)),
        ("what a number counts", tuple(names.UNITS)),
        ("other words for a lifetime", names.LIVES),
        ("other words for the moment of the end", names.DATES),
        ("when it was issued", names.ISSUED),
        ("other words for it", names.ISSUED_ALONE),
    ],
)
def test_the_guide_has_each_name(row: str, known: tuple[str, ...]) -> None:
    assert tuple(re.findall(r"`(\w+)`", ROWS[row])) == known


def test_the_guide_has_each_limit() -> None:
    text = " ".join(SECTION.split())
    assert f"up to {values.TEN_YEARS:,.0f} (ten years)" in text
    assert f"from {values.FIRST_MOMENT_AS_LIFE:,.0f} (the year 2020" in text
    assert f"from {values.FIRST_MOMENT:,.0f} on" in text
    assert f"a number from {values.FIRST_MILLISECONDS:,.0f} on counts milliseconds" in text
    assert f"is used for {CAUTIOUS_LIFE:.0f} seconds" in text


def test_this_file_is_about_a_page_that_is_there() -> None:
    assert len(ROWS) > 12
    assert Path(ROOT / "docs" / "oauth2.md").is_file()


def test_the_guide_has_each_name_of_a_refresh_token_s_end() -> None:
    section = " ".join(PAGE.partition("## When the refresh token ends")[2].partition("\n## ")[0].split())
    said = section.partition(", with ")[2].partition(" before it")[0]
    assert set(re.findall(r"`(\w+)`", said)) == set(names.OF_REFRESH)

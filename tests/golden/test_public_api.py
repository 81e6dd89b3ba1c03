"""What users may rely on changes only where somebody means it to change."""

from __future__ import annotations

from tests.golden.public_api import GOLDEN, public_api


def test_the_public_api_is_the_one_on_record() -> None:
    stored = GOLDEN.read_text("utf-8")
    assert public_api() == stored, (
        "renew it with: python -m tests.golden.public_api --write, and say so in CHANGELOG.md"
    )

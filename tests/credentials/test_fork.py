"""A forked child goes on with its copy: no lock that nobody holds, no flight that nobody flies, every turn free."""

from __future__ import annotations

import pytest
from tests.core.children import Child

pytestmark = pytest.mark.slow


class Script(Child):
    scripts = "tests.credentials.scripts"


def test_a_child_that_is_forked_in_the_middle_of_renewals_has_every_tenant() -> None:
    with Script("fork_in_the_queue") as parent:
        assert parent.rest() == [
            "the child has fresh of access-c",
            "the child refreshes a",
            "the child refreshes b",
            "the child refreshes d",
            "the parent has a, b, c",
        ]
        assert parent.wait() == 0


def test_children_that_are_forked_at_any_moment_can_use_all_tenants() -> None:
    with Script("fork_often") as parent:
        assert parent.rest() == ["30 of 30"]
        assert parent.wait() == 0

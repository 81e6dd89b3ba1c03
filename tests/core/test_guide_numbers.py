"""Numbers of the guides that are constants of the code."""

from __future__ import annotations

import pytest
from tests.package import ROOT

from onerefresh import circuit, host_limiter, log_limit, outages, policy, record, store_reads
from onerefresh.credentials import due, host_answers
from onerefresh.credentials.credentials import AT_ONCE, RATE

WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}


def page(name: str) -> str:
    return " ".join((ROOT / "docs" / name).read_text("utf-8").split())


SAID = [
    ("events.md", f"event, {log_limit.MOST} about one host are logged within a minute", log_limit.SPAN == 60.0),
    ("events.md", f"the last {record.HISTORY} changes", True),
    ("events.md", f"as down after {WORDS[outages.LEAST]} failures in a row", True),
    ("backends.md", f"the last {record.SPENT} refresh tokens", True),
    ("explanation/stored-text.md", f"16 hexadecimal digits each, at most {record.SPENT} of them", True),
    ("backends.md", "find the new one within a second", policy.LOOK_AGAIN == 1.0),
    ("backends.md", f"at most {WORDS[host_answers.PROBES]} requests, and after {WORDS[host_answers.STRIKES]}", True),
    ("backends.md", f"answered for {circuit.SILENT:.0f} seconds", True),
    ("backends.md", f"those of {WORDS[circuit.LEAST]} customers have failed", True),
    ("backends.md", f"nothing is sent for {circuit.SHORTEST:.0f} seconds", True),
    ("backends.md", "for twice as long each time, up to a minute", circuit.LONGEST == 60.0),
    ("backends.md", f"once {WORDS[circuit.TOLD]} of them have to wait", True),
    ("backends.md", f"that takes longer than {WORDS[int(due.SLOW)]} seconds", True),
    ("backends.md", "such refreshes, at most 64 run at the same time", AT_ONCE * (1 + due.MOST_SLOW) == 64),
    ("backends.md", f"at most {RATE:.0f} refreshes start in a second", True),
    ("how-it-works.md", f"{store_reads.AT_ONCE} renewals at most read from one store", True),
    ("backends.md", f"takes {WORDS[int(host_limiter.SLOW)]} times as long as usual there", True),
    ("backends.md", f"at most {WORDS[host_limiter.MOST_SLOW]} times `limit` of them", True),
    ("backends.md", f"a turn after the others, or after {WORDS[host_limiter.PASSED]} of them", True),
]


@pytest.mark.parametrize(("name", "words", "holds"), SAID)
def test_the_guides_say_the_numbers_of_the_code(name: str, words: str, holds: bool) -> None:
    assert words in page(name)
    assert holds

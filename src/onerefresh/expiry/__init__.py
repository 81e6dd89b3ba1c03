"""When tokens end, as answers, stored rows and users state it: the one parser of expiries.

* `dates` reads a moment from a text; `values` reads a moment or a lifetime from any value.
* `names` knows the names of fields under which servers and programs state them.
* `ends` puts together what an answer says about one token: `end_of`.
* `by_hand` reads what a person gives to a `Token`.
* `skew` tells from an answer how far this machine's clock is off.

Nothing here raises because of what an answer holds, and nothing reads a clock.
"""

from __future__ import annotations

from onerefresh.expiry.by_hand import refresh_end_given, times_given
from onerefresh.expiry.ends import CAUTIOUS_LIFE, End, end_of
from onerefresh.expiry.names import is_expiry, is_issue
from onerefresh.expiry.skew import (
    LEAST_SKEW,
    is_nearly_over,
    skew_by_date,
    skew_by_issue,
    skew_in_words,
    span_of,
    worth_it,
)
from onerefresh.expiry.values import LATEST, LONGEST_LIFE, FieldKind, Reading, read

__all__ = [
    "CAUTIOUS_LIFE",
    "LATEST",
    "LEAST_SKEW",
    "LONGEST_LIFE",
    "End",
    "FieldKind",
    "Reading",
    "end_of",
    "is_expiry",
    "is_issue",
    "is_nearly_over",
    "read",
    "refresh_end_given",
    "skew_by_date",
    "skew_by_issue",
    "skew_in_words",
    "span_of",
    "times_given",
    "worth_it",
]

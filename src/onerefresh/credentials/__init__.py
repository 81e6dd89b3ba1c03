"""Credentials: many credentials of one kind, for backends with hundreds of thousands of customers.

`credentials` is what users hold, `tenant` is one of the many, `recent` keeps those in use in memory, `due` refreshes
what is about to expire, `looking` tells what that is, and `summary` says what came of it.
"""

from onerefresh.credentials.credentials import Credentials
from onerefresh.credentials.summary import Result, Summary, What

__all__ = ["Credentials", "Result", "Summary", "What"]

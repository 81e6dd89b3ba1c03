"""Credentials: many credentials of one kind, for backends with hundreds of thousands of customers.

* `credentials` is the public class, and `tenant` is one of the many credentials.
* `lru` keeps the credentials in use in memory.
* `both_stores` reads a store together with the one from which credentials are moved to it.
* `due` refreshes what is about to expire, and `due_async` does so for a task. `due_filter` decides which records that
  concerns, `reading` reads them, and `summary` counts the results.
* `arguments` checks the arguments of users.
"""

from onerefresh.credentials.credentials import Credentials
from onerefresh.credentials.summary import Result, Summary, What

__all__ = ["Credentials", "Result", "Summary", "What"]

"""A process that uses one credential of a PostgreSQL store, and tells on standard output what it got.

Options on the command line: ``store``, ``table``, ``url`` (the test server's JSON endpoint).
"""

import os

from tests.core.scripts.common import OPTIONS, heard, refresh, say

from onerefresh import Credential, OnerefreshError
from onerefresh.stores.postgres import PostgresStore

store = PostgresStore(OPTIONS["store"], table=OPTIONS["table"])
store.look_every = 600.0  # who is not woken up waits for longer than any test
acme = Credential("acme", refresh, store=store, max_wait=300.0)
say(f"ready {os.getpid()}")
while heard() == "token":
    try:
        say(f"generation {acme.token().generation}")
    except OnerefreshError as error:
        say(type(error).__name__)

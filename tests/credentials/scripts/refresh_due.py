"""A worker: refreshes what is due in the store, together with others, and tells what came of it."""

import dataclasses
import json

from tests.core.scripts.common import OPTIONS, heard, say

from onerefresh import Credentials
from onerefresh.oauth2 import TokenEndpoint

endpoint = TokenEndpoint(OPTIONS["url"], client_id=OPTIONS["client"], client_secret="secret")
endpoint.prepare()
say("ready")
heard()
with Credentials(endpoint, store=OPTIONS["store"]) as credentials:
    summary = credentials.refresh_due(within=600, rate=None)
say(
    json.dumps(
        {**dataclasses.asdict(dataclasses.replace(summary, errors=())), "errors": list(map(str, summary.errors))}
    )
)

"""Credential: what users hold.

* `credential` is the public class. `asking` decides whether memory answers a call, and otherwise joins or starts a
  flight; `waiting` waits for the flight; `early` waits for a renewal that is not urgent.
* `session_commands` are its logins, logouts and the like, each with a flight from `commanding`; `reporting` is for the
  client integrations.
* `memory` is what all objects of one name share, and `registry` finds it. `known_session` is what they know of their
  session, and `cached_token` the token with its times. `acceptance` is how the API takes their tokens, and `targets`
  which of its targets have accepted them.
* `launcher` runs a renewal on a thread, and `run` is that renewal as its process sees it. `background` does what is
  left when renewals are over.
* `watch`, `look` and `bringing` compare the store with memory, and restore what the store has lost.
* `options` is what all credentials of one kind have in common, `client` tells one client from another, and `arguments`
  checks the arguments of users.
* `status` describes the record for people, and `notices` reports what is reported once for each credential.
"""

from onerefresh.credential.credential import Credential
from onerefresh.credential.status import Status
from onerefresh.renewal.revocation import LoggedOut

__all__ = ["Credential", "LoggedOut", "Status"]

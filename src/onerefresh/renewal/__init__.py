"""The protocol of one renewal, as pure code: everything outside it is reached through a `World`.

The files, in the order in which a renewal uses them:

* `request` is what a caller wants from a renewal, `known` what its process knows beside the record, and `sightings`
  what that process remembers of the records it has read. `clocks` has the readings of the clocks.
* `renew` loads the record and performs the step that `decide` names.
* `claim` writes the lease, and `send` makes the token requests of one `attempt` under it.
* `answer` saves a new token, `failed` records why there is none, and `causes` explains why a session may be over.
* `commit` writes a token into the record. `recovery` and `bring_back` restore what a store has lost, under a
  `recovery_lease`.
* `moving` moves a session to another store, and `removal` removes what is left of a deleted one.
* `host_save` lets the host application save a token, and `revocation` revokes one at the server.
* `commands` are logins, logouts and the like, which run beside renewals. `reports` emits events.
* `world` is the interface to everything else.
"""

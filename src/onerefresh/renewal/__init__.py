"""The protocol of one renewal, as pure code: it asks a `World` for everything.

`protocol` begins: it loads the record, does what `decision` says, and claims. `send` runs one `attempt` under the lease
of that claim; `answer` saves what the request brought, `failed` notes why it brought nothing, and `causes` says why a
session may be over. `commit` writes a token into the record, `recovery` and `bring_back` restore what a store has lost,
under a `recovery_lease`; `host_save` lets the host save a token, `revocation` lets the server forget one. `person` has
what people do beside a renewal, `reports` its events, `sightings` what one process remembers, and `world` what all of
them ask for.
"""

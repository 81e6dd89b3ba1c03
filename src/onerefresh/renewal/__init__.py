"""The protocol of one renewal, as pure code: it asks a `World` for everything.

A `request` says what is wanted, and `known` what the process knows already. `renew` begins: it loads the record, and
does what `decide` says. `claim` writes the lease under which `send` runs one `attempt`; `answer` saves what the token
endpoint gave, `failed` notes why it gave nothing, and `causes` says why a session may be over. `commit` writes a
token into the record; `recovery` and `bring_back` restore what a store has lost, under a `recovery_lease`;
`host_save` lets the host save a token, `revocation` lets the server forget one. `commands` has what people do beside
a renewal, `reports` its events, `sightings` what one process remembers, `clocks` what time it is, and `world` what
all of them ask for.
"""

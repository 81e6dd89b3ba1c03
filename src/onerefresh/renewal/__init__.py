"""The protocol of one renewal, as pure code: it asks a `World` for everything.

`decision` says what to do about a record, `protocol` who may send and when, `attempt` is what a renewal does between
its claim and its commit, `causes` is why a session may be over, `saving` brings tokens into the store, `person` is what
people do beside it, and `world` is what all of them ask for.
"""

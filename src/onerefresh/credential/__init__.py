"""Credential: what users hold.

A call is answered from `memory`, which all objects of one name have in common; `registry` finds it. Where it has no
token that serves, `asking` joins or starts a flight, and `waiting` waits for it. `launcher` runs a renewal on a
thread, and `run` is that renewal as its process sees it. `background` goes on with what is left to do, `watch`,
`look` and `bringing` compare the store with memory. `options` is what all credentials of one kind have in common,
`acceptance` how the API takes their tokens, `status` what the record says to a person.
"""

from onerefresh.credential.credential import Credential
from onerefresh.credential.status import Status

__all__ = ["Credential", "Status"]

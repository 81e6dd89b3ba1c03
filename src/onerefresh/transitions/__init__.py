"""The legal transitions of a record, as pure functions from record to record; `onerefresh.record` has the diagram.

* `attempt`: the claim, and each end that an attempt may have.
* `session`: how a session begins, comes back after a store has lost it, and ends.
* `present`: what else becomes of the present generation.
* `move`: how a session leaves for another store.

The argument `stamp` of several is what the history says of who made the change: see `record.Entry`.

Nothing here reads a clock, a store or a socket.
"""

from onerefresh.transitions.attempt import claimed, committed, died, released, unsent
from onerefresh.transitions.move import arrived, left_behind, moving
from onerefresh.transitions.present import replay_reported, retried, saved
from onerefresh.transitions.session import forgotten, logged_out, lost_record, new_session, restored

__all__ = [
    "arrived",
    "claimed",
    "committed",
    "died",
    "forgotten",
    "left_behind",
    "logged_out",
    "lost_record",
    "moving",
    "new_session",
    "released",
    "replay_reported",
    "restored",
    "retried",
    "saved",
    "unsent",
]

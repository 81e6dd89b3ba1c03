"""Moving credentials from one store to another, while processes use both.

`run` is a move as a renewal or a copy sees it, and `copy` moves all credentials of a store.
`onerefresh.renewal.moving` is the move of one credential.
"""

from onerefresh.moving.copy import Copied, copy
from onerefresh.renewal.moving import Moved

__all__ = ["Copied", "Moved", "copy"]

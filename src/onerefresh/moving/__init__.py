"""Moving credentials from one store to another, while processes use both.

`copy` moves all credentials of a store. `onerefresh.renewal.moving` is the move of one credential, and
`onerefresh.move_run` what such a move asks of its process.
"""

from onerefresh.moving.copy import Copied, copy
from onerefresh.renewal.moving import Moved

__all__ = ["Copied", "Moved", "copy"]

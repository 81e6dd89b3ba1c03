"""Credential: what users hold.

`credential` decides and answers, `launcher` runs renewals on threads, `background_tasks` what is left to do after them,
`memory` is what all objects of one name have in common, `options` what all credentials of one kind have in common,
`status` and `arguments` are what they say, `closing` is how they end.
"""

from onerefresh.credential.credential import Credential
from onerefresh.credential.status import Status

__all__ = ["Credential", "Status"]

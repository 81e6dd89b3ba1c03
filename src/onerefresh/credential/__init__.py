"""Credential: what users hold.

`credential` decides and answers, `launcher` runs renewals on threads, `shared` is what all objects of one name have in
common, `status` and `arguments` are what they say.
"""

from onerefresh.credential.credential import Credential
from onerefresh.credential.status import Status

__all__ = ["Credential", "Status"]

"""Have the present token refused, once its refresh is long enough ago, and so refresh it."""

from tests.core.scripts.common import credential, say

acme = credential()
first = acme.token()
acme.replayed(first, accepted=True)
second = acme.token(refused=first)
say("answered" if second.generation == first.generation + 1 else "the same token again")

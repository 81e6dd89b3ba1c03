"""Ask for a token, as it is."""

from tests.core.scripts.common import credential, say

from onerefresh import OnerefreshError

try:
    credential().token()
except OnerefreshError as error:
    say(f"{type(error).__name__}: {error}")
else:
    say("answered")

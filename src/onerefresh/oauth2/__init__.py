"""OAuth 2.0: a token endpoint (RFC 6749) as the refresher of a credential.

from onerefresh import Credential
from onerefresh.oauth2 import TokenEndpoint

acme = Credential("acme", TokenEndpoint("https://login.acme.com/token", client_id="cli"), token=first_answer)
"""

from onerefresh.oauth2.codec import TokenRequest, TokenResponse
from onerefresh.oauth2.endpoint import TokenEndpoint

__all__ = ["TokenEndpoint", "TokenRequest", "TokenResponse"]

"""Refresh endpoints that do not speak OAuth 2.0: described by a `JsonEndpoint`, or ready for well-known servers.

from onerefresh import Credential
from onerefresh.endpoints import JsonEndpoint, directus

shop = Credential("shop", JsonEndpoint("https://shop.acme.com/auth/refresh"), token=first_answer)
cms = Credential("cms", directus("https://cms.acme.com"), token=first_answer)
"""

from onerefresh.endpoints.json_endpoint import JsonEndpoint
from onerefresh.endpoints.ready import directus, flask_jwt_extended, matrix, pocketbase, simplejwt, supabase

__all__ = [
    "JsonEndpoint",
    "directus",
    "flask_jwt_extended",
    "matrix",
    "pocketbase",
    "simplejwt",
    "supabase",
]

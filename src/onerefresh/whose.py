"""Whose a token is: the issuer and the subject that its JWTs name, as far as they are known.

Nothing here is verified. It only tells whether two tokens name different accounts, so what is not known never differs.
Only tokens of one kind are compared: an access token may name the same person otherwise than an id_token does. A false
alarm costs a session, since the refresh token that came with the answer is not used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from onerefresh.answers import claims_of, field_of

__all__ = ["NOBODY", "Whose", "difference", "whose"]

_ID_TOKENS = ("id_token", "idToken")


class Account(NamedTuple):
    """What one JWT names; None where it names none.

    `audience`: for whom it was issued; empty where it does not say that.
    """

    issuer: str | None = None
    subject: str | None = None
    audience: tuple[str, ...] = ()

    @property
    def names_both(self) -> bool:
        """Whether it names an issuer and a subject, which identify a person."""
        return self.issuer is not None and self.subject is not None


class Whose(NamedTuple):
    """What the JWTs of one answer name: its access token, and its id_token."""

    access: Account = Account()
    id_token: Account = Account()


NOBODY = Whose()
"""Of a token that does not tell."""


def whose(access: object, answer: Mapping[str, object]) -> Whose:
    """Whose the access token is, and the id_token beside it in `answer`, or in a token's ``extra``.

    `access`: the access token's text; for None, that in `answer`.
    """
    identity = next((answer[name] for name in _ID_TOKENS if answer.get(name) is not None), None)
    found = Whose(_account(field_of(answer, "access_token") if access is None else access), _account(identity))
    return NOBODY if found == NOBODY else found


def difference(one: Whose, other: Whose) -> str:
    """In which both are known and differ, such as ``"subject of the id_token"``; empty where they do not.

    Where both id_tokens name the same person, the access tokens are not asked. Nor are they where they are for
    different audiences: a server may name the same person to each API in another way.
    """
    differs = _differs(one.id_token, other.id_token, "id_token")
    if differs or (one.id_token.names_both and other.id_token.names_both):
        return differs
    a, b = one.access, other.access
    return "" if a.audience and b.audience and a.audience != b.audience else _differs(a, b, "access token")


def _differs(one: Account, other: Account, kind: str) -> str:
    if None not in (one.subject, other.subject) and one.subject != other.subject:
        return f"subject of the {kind}"
    if None not in (one.issuer, other.issuer) and one.issuer != other.issuer:
        return f"issuer of the {kind}"
    return ""


def _account(jwt: object) -> Account:
    if not isinstance(jwt, str):
        return Account()
    claims = claims_of(jwt)
    issuer, audience = _text(claims.get("iss")), claims.get("aud")
    named = {*filter(None, map(_text, audience if isinstance(audience, list) else [audience]))}
    return Account(issuer and _place(issuer), _text(claims.get("sub")), tuple(sorted(named)))


def _place(issuer: str) -> str | None:
    """The issuer without what says nothing of who it is: Google leaves out the scheme (OpenID Connect Core 15.6.2).

    Others differ in a slash at the end, or, once they are behind another proxy, in the scheme and its port.
    """
    host, slash, path = re.sub("^https?://", "", issuer, flags=re.IGNORECASE).partition("/")
    host = re.sub(":(?:80|443)$", "", host.lower())
    return f"{host}{slash}{path}".rstrip("/") or None


def _text(claim: object) -> str | None:
    """The claim as text. Some servers write a number, which is no subject by RFC 7519, and a text later."""
    if isinstance(claim, int) and not isinstance(claim, bool):
        return str(claim)
    return claim if isinstance(claim, str) and claim else None

"""Whose a token is: the issuer and the subject that its JWTs name, as far as they are known.

Nothing here is verified. It only tells whether two tokens name different accounts, so what is not known never differs.
Only tokens of one kind are compared: an access token may name the same person otherwise than an id_token does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from onerefresh.answers import claims_of, field_of

__all__ = ["NOBODY", "Whose", "difference", "whose"]

_ID_TOKENS = ("id_token", "idToken")


class Account(NamedTuple):
    """What one JWT names; None where it names none."""

    issuer: str | None = None
    subject: str | None = None


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
    """In which both are known and differ, such as ``"subject of the id_token"``; empty where they do not."""
    for a, b, kind in ((one.id_token, other.id_token, "id_token"), (one.access, other.access, "access token")):
        if None not in (a.subject, b.subject) and a.subject != b.subject:
            return f"subject of the {kind}"
        if None not in (a.issuer, b.issuer) and a.issuer != b.issuer:
            return f"issuer of the {kind}"
    return ""


def _account(jwt: object) -> Account:
    if not isinstance(jwt, str):
        return Account()
    claims = claims_of(jwt)
    issuer, subject = _text(claims.get("iss")), _text(claims.get("sub"))
    # Google writes its issuer in two ways (OpenID Connect Core section 15.6.2); others differ in a slash at the end.
    return Account(issuer and (issuer.removeprefix("https://").rstrip("/") or None), subject)


def _text(claim: object) -> str | None:
    """The claim as text. Some servers write a number, which is no subject by RFC 7519, and a text later."""
    if isinstance(claim, int) and not isinstance(claim, bool):
        return str(claim)
    return claim if isinstance(claim, str) and claim else None

"""Answers to a refresh that belong to another account (OpenID Connect Core section 12.2): nobody gets them."""

from __future__ import annotations

from onerefresh.record import Grant
from onerefresh.renewal.attempt import Attempt
from onerefresh.secret import Secret
from onerefresh.verdict import FailureKind, Verdict
from onerefresh.whose import Whose, difference

__all__ = ["judge_stranger"]


def judge_stranger(attempt: Attempt, whose: Whose, refresh_token: Secret | None) -> Verdict | None:
    """The verdict on an answer that names another account than the session's token; None for any other answer.

    `whose`, `refresh_token`: of the answer. Nothing of it is kept. The session's own refresh token is spent if the
    server has issued another one for it, and then it is not sent again before a person says so. Without that, the
    server has not rotated it, and is asked again after a pause.
    """
    before = attempt.leased.token
    if before is None or attempt.lease.grant is not Grant.REFRESH:
        return None  # what `obtain` gets begins another session
    differs = difference(whose, before.whose)
    if not differs:
        return None
    is_new = refresh_token is not None and refresh_token != before.refresh_token
    is_spent = attempt.request.profile.rotates and (is_new or attempt.lost)
    return Verdict(
        FailureKind.PROTOCOL if is_spent else FailureKind.UNUSABLE,
        f"the answer belongs to another account, and is not used: the {differs} is not that of this session "
        "(OpenID Connect Core section 12.2); find out whose cookies or tokens the refresher sends; or log in again, if "
        "the server now names the same person in another way",
        repeatable=False,
        is_anothers=True,
    )

"""What users' functions and stores raise and return, made fit to be shown.

An exception from outside passes `vetted`, which leaves out what shows a secret: in its own text, and in the texts of
the exceptions behind it, which a traceback would print as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

from onerefresh import errors
from onerefresh.expiry import worth_it
from onerefresh.judge_answer import judge_answer, with_rest
from onerefresh.record import Record
from onerefresh.redaction import LEFT_OUT, LONGEST_CHALLENGE, Redactor, is_ours, plain
from onerefresh.secret import Secret
from onerefresh.store import Conflict, StoreOutcomeUnknown
from onerefresh.token import Token
from onerefresh.token_response import end_of_refresh_token, parse_answer
from onerefresh.verdict import LONGEST_WORDS, FailureKind, RefreshFailure, Verdict

__all__ = ["Seen", "Withheld", "cleaned", "parsed_answer", "secrets_of_client", "store_failed", "vetted"]

MOST_BEHIND = 50
MOST_SECRETS = 100
UNKNOWN = Secret("?")
"""Stands for a secret that cannot be looked for."""


class Withheld(Exception):
    """Stands for an exception whose own text shows a secret, or could; it has that exception's traceback."""


def vetted(error: BaseException, redactor: Redactor) -> BaseException:
    """`error` as it may be passed on: the same object where nothing in it shows a secret."""
    ours, checked = is_ours(error), error
    if isinstance(error, errors.OnerefreshError):
        checked = _with_words(error, redactor, ours=ours)
    elif isinstance(error, RefreshFailure):
        verdict = error.verdict.vetted(redactor, ours=ours)
        checked = error if verdict is error.verdict else RefreshFailure(verdict)
    elif isinstance(error, (Conflict, StoreOutcomeUnknown)):
        message = _words(str(error), redactor, ours=ours)
        checked = error if message == str(error) else type(error)(message)
    elif _shows(error, redactor):
        checked = _withheld(error, redactor)
    behind = list(_behind(error))
    if checked is not error:
        checked.__traceback__, checked.__cause__ = error.__traceback__, error.__cause__ or error.__context__
    if any(_shows(link, redactor) for link in behind):
        checked.__cause__, checked.__context__ = _withheld(behind[0], redactor), None
    return checked


def _words(text: str, redactor: Redactor, *, ours: bool) -> str:
    return redactor.masked(text) if ours or not text else redactor.quote(text, LONGEST_WORDS) or LEFT_OUT


def _with_words(error: errors.OnerefreshError, redactor: Redactor, *, ours: bool) -> errors.OnerefreshError:
    message = _words(error.message, redactor, ours=ours)
    challenge = getattr(error, "challenge", None)
    asked = redactor.whole(challenge, LONGEST_CHALLENGE)
    credential = error.credential if ours or not redactor.shows(str(error.credential)) else None
    if (message, asked, credential) == (error.message, challenge, error.credential):
        return error
    checked = error.fresh()
    checked.credential = credential
    checked.message, checked.args = message, (message,)
    if isinstance(checked, errors.InteractionRequired):
        checked.challenge = asked
    return checked


def _behind(error: BaseException) -> Iterator[BaseException]:
    """The exceptions behind `error` that a traceback may print, also those that ``from None`` hides."""
    seen, waiting = {id(error)}, [error]
    for link in waiting:
        parts = link.exceptions if isinstance(link, BaseExceptionGroup) else ()
        for inner in (link.__cause__, link.__context__, *parts):
            if inner is not None and id(inner) not in seen and len(seen) < MOST_BEHIND:
                seen.add(id(inner))
                waiting.append(inner)
                yield inner


def _shows(error: BaseException, redactor: Redactor) -> bool:
    try:
        challenge = getattr(error, "challenge", "")
        text = "\n".join(map(str, [error, repr(error), challenge, *getattr(error, "__notes__", ())]))
    except Exception:  # noqa: BLE001 - an exception that cannot be read may show anything
        return True
    return redactor.shows(text) or redactor.holds_word(text)


def _withheld(error: BaseException, redactor: Redactor) -> Withheld:
    name = redactor.masked(plain(type(error).__name__))
    return Withheld(f"{name}; {LEFT_OUT}").with_traceback(error.__traceback__)


def cleaned(record: Record) -> Record:
    """The record without foreign text that an earlier version stored as it was."""
    failure = record.failure
    if failure is None:
        return record
    redactor = Redactor(record.token.secrets if record.token else ())
    detail, challenge = redactor.masked(plain(failure.detail, 4 * LONGEST_WORDS)), failure.challenge
    if (asked := redactor.whole(challenge, LONGEST_CHALLENGE)) == challenge and detail == failure.detail:
        return record
    return replace(record, failure=replace(failure, detail=detail, challenge=asked))


def secrets_of_client(refresher: object) -> list[Secret]:
    """The secrets that the refresher declares in `secrets_to_hide`, where its class has that attribute.

    The class counts, because a mock has any attribute. Where the attribute raises, nothing foreign may be quoted, but
    the answer at hand is not lost.
    """
    if not hasattr(type(refresher), "secrets_to_hide"):
        return []
    try:
        found = list(islice(refresher.secrets_to_hide, MOST_SECRETS))  # type: ignore[attr-defined]  # its class has it
    except Exception:  # noqa: BLE001 - it is user code
        return [UNKNOWN]
    return [secret if isinstance(secret, Secret) else UNKNOWN for secret in found]


class Seen:
    """The tokens that one renewal has come across, which no foreign text may show, beside the client's secrets."""

    __slots__ = ("_refresher", "_tokens")

    def __init__(self, tokens: Iterable[Token], refresher: object) -> None:
        self._tokens = list(tokens)
        self._refresher = refresher

    def add(self, token: Token | None) -> None:
        if token is not None and not any(token is seen for seen in self._tokens):
            self._tokens.append(token)

    def redactor(self) -> Redactor:
        tokens = (secret for token in self._tokens for secret in token.secrets)
        return Redactor([*tokens, *secrets_of_client(self._refresher)])


def store_failed(operation: str, error: Exception) -> errors.StoreUnavailable:
    """The error for a store that raises an exception outside its contract."""
    return errors.StoreUnavailable(f"the store's {operation} raised {plain(type(error).__name__)}; see the cause")


def parsed_answer(
    answer: object, at: float, redactor: Redactor, bearer_field: str | None = None, before: Token | None = None
) -> Token:
    """The token in a refresher's answer. `at`: when it was asked for, in seconds since the epoch; `before`: for which.

    `bearer_field`: the field that is sent in place of the access token.

    Some libraries return the server's error as a mapping in its place. Raises `RefreshFailure` where there is no token.
    """
    try:
        token = parse_answer(answer, at=at, hidden=redactor, bearer_field=bearer_field).arrived(at, time.time(), before)
        skew = worth_it(token.clock_skew or 0.0)
        if skew and isinstance(answer, Mapping):  # the token's own times showed it, only after the answer was read
            return replace(token, refresh_expires_at=end_of_refresh_token(answer, token.refresh_token, at=at - skew))
        return token
    except errors.RefreshProtocolError as error:
        verdict = Verdict(FailureKind.PROTOCOL, error.message)
        if isinstance(answer, Mapping) and "error" in answer:
            verdict = judge_answer(200, answer, hidden=redactor)
        verdict = with_rest(verdict, answer)
    finally:
        del answer  # it may hold tokens, and would show in a traceback with locals
    raise RefreshFailure(verdict)

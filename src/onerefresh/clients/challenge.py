"""What an answer's challenges say (RFC 9110 section 11.6.1), and what they mean for the token that was sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeAlias

__all__ = [
    "TOKEN",
    "Challenge",
    "Decision",
    "Interaction",
    "PassThrough",
    "Refused",
    "judge_refusal",
    "parse_challenges",
]


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a ``WWW-Authenticate`` header. `scheme` and the names of `params` are in lower case.

    Its ``repr`` leaves out what may repeat the token.
    """

    scheme: str
    params: Mapping[str, str] = field(repr=False)
    token68: str | None = field(repr=False)
    text: str = field(repr=False)


# The quantifiers are possessive: without backtracking, hostile headers cost linear time.
TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]++")
"""A token of RFC 9110 section 5.6.2: a scheme, or the name of a header or parameter."""
_TOKEN68: Final = re.compile(r"[ \t]++([A-Za-z0-9._~+/-]++=*+)(?=[ \t]*+(?:,|\Z))")
_EQUALS: Final = re.compile(r"[ \t]*+=[ \t]*+")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"?', re.DOTALL)
_UNQUOTED: Final = re.compile(r"[^ \t,\"]*+")
_BETWEEN: Final = re.compile(r"[ \t,]++")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_JUNK: Final = re.compile(r"[^ \t,\"!#$%&'*+.^_`|~0-9A-Za-z-]++")
_LONGEST_HEADERS = 16_384
_MOST_HEADERS, _MOST_CHALLENGES = 64, 48


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """The challenges in all ``WWW-Authenticate`` headers of an answer, in their order (RFC 9110 section 11.6.1).

    A header may hold several challenges. Parts that cannot be understood are left out. Only the first 16 KiB of all
    headers together, and the first 48 challenges, are read. Never raises, and takes linear time.
    """
    found: list[Challenge] = []
    left = _LONGEST_HEADERS
    for header in islice(headers, _MOST_HEADERS):
        found += _parse_header(header[:left], _MOST_CHALLENGES - len(found))
        left -= len(header)
        if left <= 0 or len(found) >= _MOST_CHALLENGES:
            break
    return found


def _parse_header(header: str, most: int) -> list[Challenge]:
    found: list[tuple[int, str, dict[str, str], str | None]] = []
    position, end = 0, len(header)
    while position < end:
        if between := _BETWEEN.match(header, position):
            position = between.end()
        elif not (name := TOKEN.match(header, position)):
            junk = _QUOTED.match(header, position) or _JUNK.match(header, position)
            position = junk.end() if junk else position + 1
        elif equals := _EQUALS.match(header, name.end()):
            quoted = _QUOTED.match(header, equals.end())
            value = quoted or _UNQUOTED.match(header, equals.end())
            assert value is not None  # _UNQUOTED matches the empty text too
            position = value.end()
            if found:
                text = _ESCAPED.sub(r"\1", quoted[1]) if quoted else value[0]
                found[-1][2].setdefault(name[0].lower(), text)
        else:
            if len(found) == most:
                end = name.start()
                break
            single = _TOKEN68.match(header, name.end())
            found.append((name.start(), name[0].lower(), {}, single[1] if single else None))
            position = single.end() if single else name.end()
    stops = [*(start for start, *_ in found[1:]), end]
    return [
        Challenge(scheme, params, token68, header[start:stop].rstrip(" \t,"))
        for (start, scheme, params, token68), stop in zip(found, stops, strict=False)
    ]


@dataclass(frozen=True, slots=True)
class PassThrough:
    """The answer is the caller's: it says nothing about our token, or nothing that a newer token could change."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The token was refused: the next one may be taken."""


@dataclass(frozen=True, slots=True)
class Interaction:
    """The person must prove more. `error`: the code; `challenge`: the whole challenge, which says what.

    Its ``repr``, which a traceback with locals shows, leaves the challenge out, since that may repeat the token.
    """

    error: str
    challenge: str = field(repr=False)


Decision: TypeAlias = PassThrough | Refused | Interaction

# What a challenge of these says does not concern a bearer token.
_OTHER_SCHEMES: Final = frozenset({"basic", "digest", "kerberos", "negotiate", "ntlm"})
# RFC 9470 section 3, and Microsoft Entra's claims challenge.
_INTERACTION: Final = frozenset({"insufficient_user_authentication", "insufficient_claims"})
# RFC 9449 section 8 and RFC 6750 section 3.1: another token of the same kind would be refused, too.
_NOT_THE_TOKEN: Final = frozenset({"use_dpop_nonce", "insufficient_scope"})


def judge_refusal(challenges: Iterable[Challenge], scheme: str = "Bearer") -> Decision:
    """What an answer with a refusing status means for a token that was sent with `scheme`.

    No challenge, or one without an error, is a refusal, since many servers say no more. So are challenges of other
    schemes alone: many APIs that take a bearer token name only ``Basic`` in a refusal, and the token was sent.
    """
    ours = [challenge for challenge in challenges if challenge.scheme not in _OTHER_SCHEMES - {scheme.lower()}]
    errors = {challenge.params.get("error", ""): challenge for challenge in reversed(ours)}
    if "use_dpop_nonce" in errors:
        return PassThrough()
    for error in errors.keys() & _INTERACTION:
        return Interaction(error, errors[error].text)
    if errors and errors.keys() <= _NOT_THE_TOKEN:
        return PassThrough()
    return Refused()

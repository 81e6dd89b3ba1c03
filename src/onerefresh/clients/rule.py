"""A user's rule about the answers of an API: which of them refuse the token.

A rule is shown the status, the headers and, where it asks for that, the beginning of the body. It says yes, no, or
nothing; in the last case the usual rules decide (see `challenge`).
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from onerefresh.clients.peek import LONGEST_LOOK, Peek, peek_at
from onerefresh.errors import ConfigurationError

__all__ = ["JSON", "ApiAnswer", "Head", "Headers", "RefusedWhen", "Rules", "about_any_status"]

JSON: Final = ("application/json", "application/*+json")
"""The content types of JSON, as a rule names them."""

_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+*-]+/[a-z0-9!#$&^_.+*-]+")
_STREAMS: Final = re.compile(
    r"text/event-stream|multipart/.*|application/(grpc.*|(x-)?ndjson|(x-)?jsonl|jsonlines|json-seq|stream\+json)"
)
"""Content types whose body may never end: no rule looks at them."""
_BODILESS: Final = frozenset({204, 205, 304})


class Headers(Mapping[str, str]):
    """An answer's headers. Names may be in any case; several headers of one name are joined by a comma.

    The ``repr`` shows the names alone.
    """

    __slots__ = ("_found",)

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._found: dict[str, str] = {}
        for name, value in pairs:
            lower = name.lower()
            self._found[lower] = f"{self._found[lower]}, {value}" if lower in self._found else value

    def __getitem__(self, name: str) -> str:
        return self._found[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"Headers({', '.join(self._found)})"


@dataclass(frozen=True, slots=True)
class Head:
    """What a client knows of an answer without its body. `sent`: the body of the request, where it is in memory."""

    method: str
    headers: Headers
    sent: bytes | None = field(default=None, repr=False)

    @property
    def content_type(self) -> str:
        """The media type, in lower case and without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def says_it_is_long(self) -> bool:
        """Whether the body is longer than a rule may see, by the answer's own word."""
        length = self.headers.get("content-length", "")
        return length.isascii() and length.isdigit() and (len(length) > 9 or int(length) > LONGEST_LOOK)


class ApiAnswer:
    """What a rule is shown of an answer. Its ``repr`` shows the method and the status alone.

    * `method`: that of the request, such as ``"GET"``.
    * `status`, `headers`: those of the answer. Names of headers may be in any case.
    * `body`: the first 64 KiB of the body, decoded where it was compressed. Raises `ConfigurationError` in a rule that
      names no content types, since nothing was read for it.
    * `whole`: whether `body` is the whole body.
    * `sent`: the body of the request, where it was in memory as bytes; None for files, generators and so on.
    """

    __slots__ = ("_body", "_json", "headers", "method", "sent", "status", "whole")

    def __init__(
        self,
        method: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        whole: bool = True,
        sent: bytes | None = None,
    ) -> None:
        self.method, self.status = method, status
        self.headers = headers if isinstance(headers, Headers) else Headers(headers.items())
        self.whole, self.sent = whole, sent
        self._body = body
        self._json: list[Any] = []

    @property
    def body(self) -> bytes:
        if self._body is None:
            raise ConfigurationError(
                "refused= is a rule that looks at the body and does not name the answers for that: write "
                "RefusedWhen(rule, statuses={403}, content_types=JSON)"
            )
        return self._body

    def json(self) -> Any:
        """The JSON document with which the body begins; None where there is none, or where it is not whole."""
        if not self._json:
            self._json.append(_document(self.body))
        return self._json[0]

    def __repr__(self) -> str:
        return f"ApiAnswer({self.method!r}, {self.status})"


def _document(body: bytes) -> Any:
    try:
        text = body.decode(json.detect_encoding(body), "replace").lstrip("\ufeff \t\r\n")
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None


class RefusedWhen:
    """A rule for `refused=` of every client: which answers of the API refuse the token.

    * `judge`: a function that gets an `ApiAnswer`, and returns True where the answer refuses the token, False where it
      does not, and None where it is judged as usual. It must return at once: an event loop may wait for it.
    * `statuses`: a status or several, from 200 to 599 and not 407. Other answers are judged as usual.
    * `content_types`: a media type or several, such as ``"application/json"``; a ``*`` stands for any letters. Answers
      of other types are judged as usual. With ``()`` the body is not read, and the type does not matter.
    * `name`: for events and errors; by default the function's own name.

    An answer that says that it is longer than 64 KiB is judged as usual, and so are streams (``text/event-stream`` and
    its like): nobody waits for their bodies. A body of another length is awaited up to 64 KiB, and for a second or so.

    A function that raises, or that returns anything else, is reported as an event ``rule_failed``, and the answer is
    judged as usual: it may be the only word about something that has been done.

    Raises `ConfigurationError` for arguments that make no sense.
    """

    __slots__ = ("_types", "content_types", "judge", "name", "statuses")

    def __init__(
        self,
        judge: Callable[[ApiAnswer], bool | None],
        *,
        statuses: int | Collection[int],
        content_types: str | Collection[str] = JSON,
        name: str | None = None,
    ) -> None:
        self.judge = _checked_function(judge)
        self.statuses: frozenset[int] | None = _checked_statuses(statuses, "statuses")
        self.content_types = _checked_types(content_types)
        self.name = _checked_name(name, judge)
        self._types = re.compile(
            "|".join([re.escape(content_type).replace(r"\*", ".*") for content_type in self.content_types])
        )

    def _names(self, status: int) -> bool:
        """Whether the rule is asked about answers with this status."""
        return (status >= 200 and status != 407) if self.statuses is None else status in self.statuses

    def _reads(self, head: Head) -> bool:
        """Whether the rule reads the body of this answer, whose status it names."""
        found = head.content_type
        return bool(self.content_types and self._types.fullmatch(found) and not _STREAMS.fullmatch(found))

    def __repr__(self) -> str:
        return f"RefusedWhen({self.name})"


class Rules:
    """The rules of one API. A yes of any of them is a yes; else a no is a no."""

    __slots__ = ("_rules",)

    def __init__(self, rules: Iterable[RefusedWhen]) -> None:
        self._rules = tuple(rules)

    def name(self, status: int) -> bool:
        """Whether any rule is asked about answers with this status."""
        return bool([rule for rule in self._rules if rule._names(status)])

    def peek(self, status: int, head: Head) -> Peek | None:
        """What reads the beginning of the body; None where no rule looks at it, or where nobody may wait for it."""
        if head.method == "HEAD" or status in _BODILESS or head.says_it_is_long():
            return None
        if not [rule for rule in self._rules if rule._names(status) and rule._reads(head)]:
            return None
        return peek_at(head.headers.get("content-encoding", ""), is_json="json" in head.content_type)

    def ask(self, status: int, head: Head, peek: Peek | None, failed: Callable[[str, str], object]) -> bool | None:
        """What the rules say about an answer. `failed`: is told the name of a rule that raised, and what it did.

        Raises `ConfigurationError` where a rule looks at the body without saying so.
        """
        said: bool | None = None
        for rule in self._rules:
            if not rule._names(status):
                continue
            if not rule.content_types:
                answer = ApiAnswer(head.method, status, head.headers, sent=head.sent)
            elif peek is not None and rule._reads(head):
                answer = ApiAnswer(head.method, status, head.headers, peek.body, whole=peek.whole, sent=head.sent)
            else:
                continue
            verdict = _asked(rule, answer, failed)
            if verdict:
                return True
            said = verdict if verdict is not None else said
        return said


def _asked(rule: RefusedWhen, answer: ApiAnswer, failed: Callable[[str, str], object]) -> bool | None:
    try:
        verdict: object = rule.judge(answer)
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's function may raise anything, and the answer must not be lost
        failed(rule.name, f"raised {type(error).__name__}")
        return None
    if verdict is None or isinstance(verdict, bool):
        return verdict
    if inspect.iscoroutine(verdict):
        verdict.close()
    failed(rule.name, f"returned {type(verdict).__name__}, and not True, False or None")
    return None


def about_any_status(judge: Callable[[ApiAnswer], bool | None]) -> RefusedWhen:
    """A rule about the status and the headers of any answer."""
    rule = RefusedWhen(judge, statuses=200, content_types=())
    rule.statuses = None
    return rule


def _checked_statuses(statuses: object, argument: str) -> frozenset[int]:
    """The statuses that a rule names. Raises `ConfigurationError`, which names the argument."""
    several = [statuses] if isinstance(statuses, int) else statuses
    if not isinstance(several, Collection) or isinstance(several, (str, bytes, Mapping)) or not several:
        raise ConfigurationError(f"{argument} must be an HTTP status or a set of them, such as {{200, 403}}")
    for status in several:
        if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599 or status == 407:
            raise ConfigurationError(
                f"{argument}: {status!r} must be from 200 to 599, and not 407, which is used by proxies"
            )
    return frozenset(several)


def _checked_function(judge: object) -> Callable[[ApiAnswer], bool | None]:
    if not callable(judge) or isinstance(judge, type):
        raise ConfigurationError(f"a rule for refused= must be a function of an ApiAnswer, not {judge!r}")
    if inspect.iscoroutinefunction(judge) or inspect.iscoroutinefunction(type(judge).__call__):
        raise ConfigurationError("a rule for refused= must be a plain function: an async one cannot be awaited here")
    return judge


def _checked_types(types: object) -> tuple[str, ...]:
    several = [types] if isinstance(types, str) else types
    if not isinstance(several, Collection) or isinstance(several, (bytes, Mapping)):
        raise ConfigurationError('content_types must be media types, such as ["application/json"]')
    found = []
    for content_type in several:
        lower = content_type.lower() if isinstance(content_type, str) else ""
        if not _TYPE.fullmatch(lower):
            raise ConfigurationError(f"content_types: {content_type!r} is not a media type, such as 'application/json'")
        if _STREAMS.fullmatch(lower):
            raise ConfigurationError(f"content_types: {content_type!r} is a stream, and no rule may wait for one")
        found.append(lower)
    return tuple(found)


def _checked_name(name: object, judge: object) -> str:
    if name is None:
        return str(getattr(judge, "__qualname__", None) or type(judge).__qualname__)
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ConfigurationError(f"name {name!r} must be a short text")
    return name

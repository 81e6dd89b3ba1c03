"""Text from others, before it is shown: made one short printable line, and left out where it shows a secret.

Others are all that write text outside of this library: a token endpoint or an API, a user's refresher, ``save`` or
store. None of it gets into a message, an event, a log line or the record before a `Redactor` has checked it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from html import unescape
from types import TracebackType
from typing import Final, Protocol
from urllib.parse import quote_plus, unquote

__all__ = [
    "LEFT_OUT",
    "LONGEST",
    "LONGEST_CHALLENGE",
    "NOTHING_KNOWN",
    "PART",
    "Redactor",
    "Revealing",
    "is_ours",
    "plain",
    "visible",
]

PART = 8
"""So many characters of a secret in a row count as a leak."""
LONGEST = 200
"""How many characters of a foreign text are quoted."""
LONGEST_CHALLENGE = 8192
"""A challenge with more characters is left out, since a part of it would be of no use."""
LOOKED_AT = 65_536
"""A text with more characters counts as showing a secret: no person would read it."""
LONGEST_SECRET = 16_384
"""Of a secret with more characters, the beginning and the end are looked for."""
ROUNDS = 16
"""How many times an escape is undone within another one."""


LEFT_OUT = "the text is left out: it shows a secret, or a secret is too short to search for"


class Revealing(Protocol):
    """A secret, such as `onerefresh.Secret`."""

    def reveal(self) -> str: ...


def plain(text: str, most: int = LONGEST) -> str:
    """`text` as one line of at most so many characters, with a space for what cannot be printed."""
    letters = "".join(letter if letter.isprintable() else " " for letter in text[: 10 * most])
    return " ".join(letters.split())[:most]


def visible(text: str) -> str:
    """`text` as one line that a terminal shows and does not obey: what cannot be printed is escaped as in Python.

    That goes for control characters, line separators, marks that change the direction of writing, and code points that
    are no characters.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


# Texts that follow a secret's name, or look like a secret: secrets that are not known here may be quoted that way.
_DIGIT_IN: Final = r"(?=[^\s\"'=]{0,200}[0-9])[^\s\"',;=]{8,}"
_SHAPES: Final = re.compile(
    rf"""(?ix) (?:token|secret|password|assertion|api_?key)[\\"']*\s*[:=]\s*[\\"']*{_DIGIT_IN}
    | \b(?:bearer|basic)\s+{_DIGIT_IN} | \beyJ[\w-]{{6,512}}\.[\w-]{{6,}}"""
)
_ESCAPE: Final = re.compile(
    r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))|&#(?:[xX]([0-9a-fA-F]{1,6})|([0-9]{1,7}));?"
)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEXADECIMAL: Final = re.compile(r"[0-9a-fA-F]{16,}")
_LEGIBLE: Final = re.compile(rb"[ -~]{8,}")
_STANDARD: Final = str.maketrans("-_", "+/")
_MARKS: Final = ("Mn", "Me")
_OTHER: Final = {code: None for code in range(128) if not chr(code).isalnum()}
_SAME: Final = str.maketrans({"-": "+", "_": "/"} | {chr(code): None for code in (*range(33), 127)})


def is_ours(error: BaseException) -> bool:
    """Whether this library raised it, with a text of its own, and not a user's function or store."""
    innermost: TracebackType | None = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    module = "" if innermost is None else str(innermost.tb_frame.f_globals.get("__name__"))
    return module.startswith("onerefresh.")


class Redactor:
    """Knows the secrets of a token and of its client, and looks for them in texts from others.

    A text shows a secret where it holds eight characters of it in a row: as they are, in upper or lower case, with
    something between them, or as URLs, JSON, HTML, base64 and hexadecimal digits write them. A secret of less than
    eight characters cannot be looked for, as it may occur anywhere by chance. Then nothing foreign is quoted at all.

    `complete`: these are all secrets that the text could show. Otherwise a server's longer texts are not quoted.
    """

    __slots__ = ("_complete", "_secrets")

    def __init__(self, secrets: Iterable[Revealing] = (), *, complete: bool = False) -> None:
        self._secrets = tuple({secret.reveal(): secret for secret in secrets if secret.reveal()}.values())
        self._complete = complete

    def knowing(self, secrets: Iterable[Revealing]) -> Redactor:
        """A redactor that knows these secrets as well."""
        return Redactor((*self._secrets, *secrets), complete=self._complete)

    @property
    def is_complete(self) -> bool:
        return self._complete

    def quote(self, text: object, most: int = LONGEST) -> str:
        """`text` as one printable line; empty where it shows a secret, or may show one, or is no text."""
        if not isinstance(text, str) or self._is_blind or self.shows(text):
            return ""
        return plain(text, most)

    def whole(self, text: object, most: int) -> str | None:
        """`text` for programs, known secrets replaced; None where it still shows one, is too long or not printable."""
        if not isinstance(text, str) or len(text) > most or not "".join(text.split()).isprintable():
            return None
        for secret in self._secrets:
            text = text.replace(secret.reveal(), "…") if len(secret.reveal()) >= PART else text
        return None if self._is_blind or self._finds(text) else text

    def masked(self, text: str) -> str:
        """A text of this library's that may quote others, without the words that show a secret."""
        if not self.shows(text):
            return text
        words = " ".join("…" if self.shows(word) else word for word in text.split(" "))
        return "…" if self.shows(words) else words

    def shows(self, text: str) -> bool:
        """Whether `text` shows a secret that can be looked for, or something of a secret's shape."""
        return len(text) > LOOKED_AT or any(map(_SHAPES.search, _readings(text))) or self._finds(text)

    def _finds(self, text: str) -> bool:
        """Whether eight characters of a secret occur in a row, also with what is no letter or digit between them."""
        texts = [_folded(reading) for reading in _readings(text)]
        if not self._secrets or max(map(len, texts)) < PART:
            return False
        forms = [form for secret in self._secrets for form in _forms(secret)]
        return _share(texts, forms) or _share(map(_bare, texts), map(_bare, forms))

    def holds_word(self, text: str) -> bool:
        """Whether a secret that is too short to be looked for occurs in `text` as a word of its own."""
        short = [secret.reveal() for secret in self._secrets if _is_short(secret)]
        return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text[:LOOKED_AT]) for word in short)

    @property
    def _is_blind(self) -> bool:
        return any(_is_short(secret) for secret in self._secrets)

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"


NOTHING_KNOWN = Redactor()


def _is_short(secret: Revealing) -> bool:
    return len(_folded(secret.reveal())) < PART


def _share(texts: Iterable[str], forms: Iterable[str]) -> bool:
    """Whether eight characters in a row of one of the texts are in one of the forms."""
    parts = {part for text in texts for part in _parts(text)}
    return any(not parts.isdisjoint(_parts(form)) for form in forms)


def _parts(text: str) -> list[str]:
    return [text[at : at + PART] for at in range(len(text) - PART + 1)]


def _folded(text: str) -> str:
    """`text` without what may stand between its characters, and without differences of case and notation."""
    if not text.isascii():
        from unicodedata import category, normalize

        # Each character is normalised alone: a long text as a whole would take quadratic time.
        letters = (normalize("NFKC", letter) for letter in text if letter.isprintable() and not letter.isspace())
        text = "".join(letter for letter in "".join(letters) if category(letter) not in _MARKS)
    return text.casefold().translate(_SAME)


def _bare(text: str) -> str:
    """The letters and digits alone, since anything else may stand between them."""
    return text.translate(_OTHER) if text.isascii() else "".join(filter(str.isalnum, text))


def _forms(secret: Revealing) -> set[str]:
    """The forms in which others may write the secret, folded. `_readings` undoes escapes of single characters."""
    forms, whole = set(), secret.reveal()
    if len(whole) > LONGEST_SECRET:
        # No header carries such a secret, and nobody quotes it.
        whole = whole[: LONGEST_SECRET // 2] + whole[-LONGEST_SECRET // 2 :]
    for text in {whole, quote_plus(whole, errors="surrogatepass")}:
        data = text.encode("utf-8", "surrogatepass")
        forms |= {text, data.hex()}
        for before in range(3):  # where the secret begins within a group of three bytes
            encoded = base64.b64encode(bytes(before) + data).decode("ascii").rstrip("=")
            forms.add(encoded[(0, 2, 3)[before] : len(encoded) - ((before + len(data)) % 3 > 0)])
    return {_folded(form) for form in forms}


def _readings(text: str) -> Iterator[str]:
    """`text`, and what it says once the escapes of URLs, JSON and HTML are undone, then base64, and so on within."""
    yield text
    for _ in range(ROUNDS):
        undone = unquote(unescape(_ESCAPE.sub(_character, text)))
        decoded = _BASE64.sub(_decoded, undone)
        if undone != text:
            yield undone
        if decoded != undone:
            yield decoded
        if decoded == text:
            return
        text = decoded


def _decoded(run: re.Match[str]) -> str:
    """What base64 or hexadecimal digits encode, where that is a text, or as far as it is one.

    It may hold what a form of the secret does not show, and may begin anywhere in the run.
    """
    data = run[0].rstrip("=").translate(_STANDARD)
    try:
        text = _from_base64(data).decode("utf-8")
    except ValueError:
        text = "\0"
    if text.isprintable():
        return text
    found = [part for skipped in range(4) for part in _LEGIBLE.findall(_from_base64(data[skipped:]))]
    for digits in _HEXADECIMAL.findall(data):
        for skipped in range(2):
            even = digits[skipped : len(digits) - (len(digits) - skipped) % 2]
            found += _LEGIBLE.findall(bytes.fromhex(even))
    return b" ".join(found).decode("ascii") or run[0]


def _from_base64(data: str) -> bytes:
    whole = data[: len(data) - (len(data) % 4 == 1)]
    return base64.b64decode(whole + "=" * (-len(whole) % 4))


def _character(escape: re.Match[str]) -> str:
    """The character for which an escape stands."""
    four, two, itself, hexadecimal, decimal = escape.groups()
    if itself is not None:
        return itself if itself not in "nrtbf" else " "
    code = int(decimal) if decimal else int(four or two or hexadecimal, 16)
    return chr(code) if code <= 0x10FFFF else " "

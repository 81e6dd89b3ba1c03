"""What tells one client from another: a digest of its refresher's settings and code, which reveals neither.

A refusal that may be one client's own fault does not bind a client that differs from it. So the digest is the same in
all processes of one deployment, and differs once the deployment has changed, as far as that can be seen. What a
function reads from elsewhere, such as the environment, is not seen.
"""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Iterator

from onerefresh.refresher import settings_of
from onerefresh.secret import Secret

__all__ = ["digest_of"]

MOST = 300
"""How many functions and values are looked at, at most."""


def digest_of(refresher: object) -> str:
    """A digest of the refresher's `settings`, where its class has that attribute, else of its code."""
    return hashlib.sha256("\0".join(_Walk().parts(settings_of(refresher))).encode("utf-8", "surrogatepass")).hexdigest()


class _Walk:
    """What can be known of a value, as texts whose order is the same in all processes."""

    def __init__(self) -> None:
        self._seen: dict[int, object] = {}  # keeps the objects alive, so that no id is used again
        self._package = ""

    def parts(self, value: object) -> Iterator[str]:
        try:
            if isinstance(value, Secret):
                yield value.fingerprint()
            elif value is None or isinstance(value, (bool, str, bytes)):
                yield repr(value)
            elif id(value) not in self._seen and len(self._seen) < MOST:
                self._seen[id(value)] = value
                yield from self._of_object(value)
        except Exception as error:  # noqa: BLE001 - values change meanwhile, are nested deeply, or odd
            yield type(error).__name__

    def _of_object(self, value: object) -> Iterator[str]:
        match value:
            case tuple():
                yield f"({len(value)}"
                for part in value:
                    yield from self.parts(part)
            case frozenset():
                yield _text(value)
            case dict() | types.MappingProxyType():
                known = dict(value)  # a copy: another thread may change it meanwhile
                for name in sorted(name for name in known if isinstance(name, str)):
                    yield name
                    yield from self.parts(known[name])
            case functools.partial():
                yield from self.parts((value.func, value.args, value.keywords))
            case types.FunctionType():
                yield from self._of_function(value)
            case types.MethodType():
                yield from self.parts((value.__func__, value.__self__))
            case types.CodeType():
                yield from self._of_code(value)
            case types.ModuleType():
                yield value.__name__
            case type():
                yield f"{value.__module__}.{value.__qualname__}"
                yield from self.parts(vars(value)) if self._is_ours(value.__module__) else ()
            case _:
                yield from self._of_instance(value)

    def _of_instance(self, value: object) -> Iterator[str]:
        kind = type(value)
        yield f"{kind.__module__}.{kind.__qualname__}"
        self._package = self._package or _package(kind.__module__)
        if self._is_ours(kind.__module__):
            yield from self.parts(kind)
            yield from self.parts(getattr(value, "__dict__", None))

    def _of_function(self, function: types.FunctionType) -> Iterator[str]:
        yield f"{function.__module__}.{function.__qualname__}"
        self._package = self._package or _package(function.__module__)
        if not self._is_ours(function.__module__):
            return
        code = function.__code__
        yield from self.parts((code, function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            try:
                inner = cell.cell_contents
            except ValueError:  # a cell that is not filled yet
                continue
            yield from self.parts(inner)
        for name in sorted(_names(code)):
            if name in function.__globals__:
                yield name
                yield from self.parts(function.__globals__[name])

    def _of_code(self, code: types.CodeType) -> Iterator[str]:
        yield code.co_code.hex()
        yield " ".join((*code.co_names, *code.co_varnames))
        for constant in code.co_consts:
            yield repr(constant) if isinstance(constant, (int, float, complex)) else ""
            yield from self.parts(constant)

    def _is_ours(self, module: str) -> bool:
        """Whether the module belongs to the same program, rather than to a library that it uses, such as this one."""
        return _package(module) == self._package != _package(__name__)


def _package(module: str) -> str:
    return module.partition(".")[0]


def _text(value: object) -> str:
    """A constant as a text that is the same in every process, although the order of a set is not."""
    if isinstance(value, frozenset):
        return f"{{{' '.join(sorted(map(_text, value)))}}}"
    if isinstance(value, tuple):
        return f"({' '.join(map(_text, value))})"
    kind = type(value)
    is_plain = kind.__module__ == "builtins" and isinstance(value, (str, bytes, int, float, complex, type(None)))
    return repr(value) if is_plain else f"{kind.__module__}.{kind.__qualname__}"


def _names(code: types.CodeType) -> set[str]:
    """The global names that a function uses, with those of the functions within it."""
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*inner)

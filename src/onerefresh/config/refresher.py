"""The refresher that the configuration file names: imported, but never from the working folder.

Python looks there first with ``python -m``, ``python -c`` or its prompt. A user who can write to that folder could run
code as this user.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from onerefresh.errors import ConfigurationError

__all__ = ["imported"]


def imported(reference: str, what: str = "refresher") -> Callable[..., Any]:
    """The function that ``package.module:function`` names; `what` it is, for errors. Raises `ConfigurationError`."""
    module, separator, name = reference.partition(":")
    if not separator or not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise ConfigurationError(f'{what} {reference!r} must have the form "package.module:function"')
    try:
        _keep_out_of_the_working_folder(module)
        home = importlib.import_module(module)
    except _OnlyThere as error:
        raise ConfigurationError(
            f"{what} {reference!r}: the module {error.name!r} is in the working folder, and others may have put it "
            f"there: install it in the environment of onerefresh, or set PYTHONPATH={Path.cwd()} if only you can write "
            "to that folder"
        ) from None
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{what} {reference!r}: there is no module {error.name!r}: install it in the environment of onerefresh"
        ) from None
    except Exception as error:  # the user's module may raise anything; the cause shows it
        raise ConfigurationError(f"{what} {reference!r}: importing it raised {type(error).__name__}") from error
    found = getattr(home, name, None)
    if found is None:
        raise ConfigurationError(f"{what} {reference!r}: the module has no {name!r}")
    if not callable(found):
        raise ConfigurationError(f"{what} {reference!r} is not a function but a value of type {type(found).__name__}")
    function: Callable[..., Any] = found
    return function


class _OnlyThere(ImportError):
    """The module is in the working folder and nowhere else."""


def _keep_out_of_the_working_folder(module: str) -> None:
    """Import the module's packages from elsewhere where a plain import would use the working folder.

    Raises `_OnlyThere`.
    """
    folders = _working_folders()
    parts = module.split(".")
    for number in range(1, len(parts) + 1) if folders else ():
        name = ".".join(parts[:number])
        if name in sys.modules:
            if getattr(sys.modules[name], "__file__", None):
                return  # the program itself has imported this package, which is in one folder
            continue
        spec = importlib.util.find_spec(name)
        beyond = {folder.joinpath(*parts[: number - 1]) for folder in folders}
        if spec is not None and not beyond.isdisjoint(_folders_of(spec)):
            _import_from_elsewhere(name, beyond)
        elif number < len(parts):
            importlib.import_module(name)


def _import_from_elsewhere(name: str, beyond: set[Path]) -> None:
    above, _, _ = name.rpartition(".")
    places = sys.modules[above].__path__ if above else sys.path
    others = [place for place in places if Path(place).absolute() not in beyond]
    specs = (_found_by(finder, name, others, at_top=not above) for finder in sys.meta_path)
    spec = next((spec for spec in specs if spec is not None and beyond.isdisjoint(_folders_of(spec))), None)
    if spec is None:
        raise _OnlyThere(name=name)
    module = importlib.util.module_from_spec(spec)
    if spec.loader is None or spec.origin is None:  # a package without __init__, which would search everywhere again
        module.__path__ = [*(spec.submodule_search_locations or ())]
    sys.modules[name] = module
    try:
        if spec.loader is not None:
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise


def _found_by(finder: Any, name: str, places: list[str], *, at_top: bool) -> importlib.machinery.ModuleSpec | None:
    """What this finder finds; in these places only, where it is a finder that searches places."""
    if not hasattr(finder, "find_spec"):
        return None
    path = None if at_top and finder is not importlib.machinery.PathFinder else places
    found: importlib.machinery.ModuleSpec | None = finder.find_spec(name, path)
    return found


def _folders_of(spec: importlib.machinery.ModuleSpec) -> Iterator[Path]:
    """The folders in which the module was found."""
    if spec.submodule_search_locations is not None:
        yield from (Path(place).absolute().parent for place in spec.submodule_search_locations)
    elif spec.has_location and spec.origin is not None:
        yield Path(spec.origin).absolute().parent


def _working_folders() -> set[Path]:
    """The folders that Python searches only because this process was started there, or through a relative path.

    A program whose own folder is the working folder is at home there. So is a folder that was put on the path as an
    absolute one: by ``PYTHONPATH``, by an installation or by the program.
    """
    try:
        here = Path.cwd()
    except OSError:
        return set()  # the folder is gone, so nothing can be in it
    variable = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    given = variable.split(os.pathsep) if variable else []
    relative = {here / place for place in sys.path if not Path(place).is_absolute()}
    # Made absolute as Python does it, without following links.
    made_absolute = {Path(os.path.abspath(place)) for place in given if not Path(place).is_absolute()}  # noqa: PTH100
    absolute = [Path(place) for place in sys.path if Path(place).is_absolute()]
    for folder in made_absolute:
        if folder in absolute:
            absolute.remove(folder)
            relative.add(folder)
    if _was_started_from_elsewhere(here) and absolute[:1] == [here]:
        del absolute[0]
        relative.add(here)
    return relative - set(absolute)


def _was_started_from_elsewhere(here: Path) -> bool:
    """Whether ``python -m`` put the working folder on the path for a program that is not in it."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if sys.flags.safe_path or spec is None:
        return False
    return spec.origin is None or not Path(spec.origin).absolute().is_relative_to(here)

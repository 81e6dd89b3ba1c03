"""`onerefresh fetch`: many URLs, in parallel, through one credential."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from onerefresh import config
from onerefresh.cli.arguments import Subparsers, add_command, add_name, require, whole_number
from onerefresh.cli.output import say
from onerefresh.clients.origins import Origins
from onerefresh.config import Entry
from onerefresh.errors import ConfigurationError, OnerefreshError
from onerefresh.real_time import monotonic

if TYPE_CHECKING:
    from onerefresh.cli.fetch_calls import Call
    from onerefresh.cli.fetch_show import Show

_DESCRIPTION = """\
GET many URLs in parallel with the access token of a credential. If it is refused or expires during the run,
it is refreshed once, the other calls wait for that, and each refused call is sent once more. Nothing else is retried.

The URLs are arguments, or lines on standard input. All are checked before anything is sent: the token goes to the
credential's origins and nowhere else. Redirects are followed; a redirect to another origin is followed without the
token.

For a single URL, the body is printed. For several, one line for each is printed (status, bytes, URL), or on a terminal
a progress bar and the failures. With --output, each body is written to a file that is named after its URL; a file of
that name is replaced.
"""
_EPILOG = """\
examples:
    onerefresh fetch acme https://api.acme.com/items/1
    onerefresh fetch acme --output items --concurrency 50 < urls.txt

Exit codes: 0 all fetched; 1 some failed; 2 wrong usage or configuration, nothing was sent; 4 log in (again);
75 try again later; 130 interrupted.
"""


def add(subparsers: Subparsers) -> None:
    """Add the command to a parser."""
    line = "fetch many URLs in parallel through one credential"
    parser = add_command(subparsers, "fetch", line, _DESCRIPTION, epilog=_EPILOG)
    add_name(parser)
    parser.add_argument(
        "urls", metavar="URL", nargs="*", help="what to fetch; with - or without any URL, the lines on standard input"
    )
    parser.add_argument(
        "--concurrency",
        type=whole_number(1, 200),
        default=20,
        metavar="N",
        help="calls at the same time (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="write the bodies to files in this folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fetch the URLs."""
    require("fetch", "httpx2", "rich")
    entry = config.read(args.config).named(args.name)
    urls = _checked(list(_given(args.urls)), entry)
    from onerefresh.cli.fetch_calls import fetch_all
    from onerefresh.cli.fetch_show import Show

    calls = _calls(urls, args.output, printed=len(args.urls) == 1 and args.urls != ["-"])
    show = Show(len(urls), prints_body=calls[0].prints_body)
    begun = monotonic()
    try:
        with show:
            fetch_all(
                entry.open(),
                entry.origins,
                calls,
                args.concurrency,
                show.report,
                attach=entry.attach,
                refused=entry.refused,
            )
    except OnerefreshError:
        if show.fetched:
            say(f"{_summary(show, begun)}; stopped")
        raise
    if len(urls) > 1:
        say(_summary(show, begun))
    return 1 if show.failed else 0


def _summary(show: Show, begun: float) -> str:
    failed = f", {show.failed} failed" if show.failed else ""
    return f"{show.fetched} of {show.total} URLs fetched{failed}, in {monotonic() - begun:.1f} s"


def _given(words: Sequence[str]) -> Iterator[str]:
    for word in words or ["-"]:
        if word == "-":
            yield from _on_standard_input()
        else:
            yield word


def _on_standard_input() -> Iterable[str]:
    if sys.stdin is None or sys.stdin.isatty():
        raise ConfigurationError("there is no URL: give URLs as arguments, or pipe them in, one per line")
    lines = (line.decode("utf-8", "replace").strip() for line in sys.stdin.buffer)
    return (line for line in lines if line)


def _checked(urls: list[str], entry: Entry) -> list[str]:
    """The URLs as they are sent. Raises `ConfigurationError` where there is none, or one must not get the token."""
    import httpx2

    if not entry.origins:
        raise ConfigurationError(
            f"{entry.source}: credentials.{entry.name} has no origins, so its token may not be sent anywhere: "
            'write origins = ["https://api.example.com"]'
        )
    if not urls:
        raise ConfigurationError("there is no URL: give URLs as arguments, or pipe them in, one per line")
    origins, checked, outside = Origins(entry.origins), [], []
    for text in urls:
        try:
            url = httpx2.URL(text)
        except httpx2.InvalidURL as error:
            raise ConfigurationError(f"{text!r} is not a URL ({error}); nothing was sent") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigurationError(
                f"{text!r} is not a URL to fetch: write the full URL, https://host/path; nothing was sent"
            )
        if url.userinfo:
            raise ConfigurationError(f"a URL for {url.host} contains a user name or password: leave it out")
        if origins.cover(url.scheme, url.raw_host.decode("ascii"), url.port):
            checked.append(str(url.copy_with(fragment=None)))
        else:
            outside.append(text)
    if outside:
        more = f" (and {len(outside) - 1} more)" if len(outside) > 1 else ""
        raise ConfigurationError(
            f"{outside[0]!r}{more} is outside the origins of {entry.name!r}: {', '.join(entry.origins)}; nothing was "
            f"sent; if the token may go there, add it to credentials.{entry.name}.origins in {entry.source}"
        )
    return checked


def _calls(urls: list[str], folder: Path | None, *, printed: bool) -> list[Call]:
    """The calls to make, and the place of each body."""
    from onerefresh.cli.fetch_calls import Call
    from onerefresh.cli.fetch_files import file_names, make_folder

    if folder is None:
        return [Call(url, prints_body=printed) for url in urls]
    make_folder(folder)
    return [Call(url, path=folder / name) for url, name in zip(urls, file_names(urls), strict=True)]

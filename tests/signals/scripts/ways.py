"""What the main thread does when a signal comes, and what must hold afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import random
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from onerefresh import Credential, Credentials, Store, Token
from onerefresh.stores.forking import fork_lock
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from tests.signals.scripts.storm import Aim

MAX_WAIT = 4.0
LATE = 3.0
"""Seconds beyond `max_wait` after which a waiter has ignored it, on a machine however busy."""
QUIET = 5.0
"""Seconds within which all threads of a round have ended."""


class Wrong(Exception):
    """Something that must not be after a signal, whenever it came."""


STAY = ("watch", "background", "listener", "closer")
"""The threads of the library that last for a while without anybody's waiting for them."""


class Refresher:
    def __init__(self, chance: random.Random, name: str = "") -> None:
        self.chance, self.calls, self.most = chance, 0, chance.choice((0.0, 0.0003, 0.002))
        self.name = name

    def __call__(self, token: Token) -> dict[str, object]:
        self.calls += 1
        number = token.generation + 1
        time.sleep(self.chance.uniform(0.0, self.most))
        return first_of(self.name, number)


def first_of(name: str, number: int = 1) -> dict[str, object]:
    return {"access_token": f"{name}a{number}", "refresh_token": f"{name}r{number}", "expires_in": 3600}


def be_quiet() -> None:
    """For a process of its own: a loop that is stopped, and tasks that were cut off, have much to say."""
    logging.getLogger("onerefresh").setLevel(logging.CRITICAL + 1)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore")


names = map("acme-{}".format, itertools.count())
FIRST = first_of("")


class Others:
    """Threads that ask for the same token meanwhile, or a little later: none of them takes signals."""

    def __init__(self, ask: Callable[[], Token], chance: random.Random, count: int = 2) -> None:
        self.outcomes: list[object] = []
        self.ask = ask
        self.pauses = [chance.choice((0.0, 0.0005, 0.003)) for _ in range(count)]
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self) -> None:
        try:
            time.sleep(self.pauses.pop())
            self.outcomes.append(self.ask())
        except BaseException as error:  # noqa: BLE001 - it is told
            self.outcomes.append(error)

    def check(self, generation: int = 0) -> None:
        """All were answered in time; with a token of this generation, or of any."""
        deadline = time.monotonic() + MAX_WAIT + LATE
        for thread in self.threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        if len(self.outcomes) < len(self.threads):
            raise Wrong("a waiter ignores max_wait")
        for outcome in self.outcomes:
            if not isinstance(outcome, Token) or (generation and outcome.generation != generation):
                raise Wrong(f"another caller was told {outcome!r}")


def begun() -> int:
    """How many threads there are, but those that stay."""
    stay = [f"onerefresh {name}" for name in STAY]
    return len([thread for thread in threading.enumerate() if thread.name not in stay])


def settled(there: int) -> None:
    """All that was begun comes to its end."""
    deadline = time.monotonic() + QUIET
    while begun() > there:
        if time.monotonic() > deadline:
            raise Wrong(f"these threads stay: {threading.enumerate()}")
        time.sleep(0.0002)


class Way:
    """One kind of round. `chance` decides what is not determined."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.there = begun()

    def play(self, aim: Aim) -> None:
        raise NotImplementedError

    def end(self) -> None:
        """After the last round."""


class Ask(Way):
    """The API refused the token: the main thread asks for the next one, as do others."""

    store: str | Store | None = None

    def play(self, aim: Aim) -> None:
        refresher = Refresher(self.chance)
        acme = Credential(next(names), refresher, token=FIRST, store=self.store, max_wait=MAX_WAIT)
        first = acme.token()
        others = Others(lambda: acme.token(refused=first), self.chance)
        aim.at(lambda: self.ask(acme, first))
        if acme.token(refused=first).generation != 2:
            raise Wrong("the next call is not answered")
        others.check(2)
        if refresher.calls != 1:
            raise Wrong(f"{refresher.calls} refreshes")
        self.after(acme)

    def ask(self, acme: Credential, first: Token) -> object:
        return acme.token(refused=first)

    def after(self, acme: Credential) -> None:
        """What else is to hold."""
        if (flight := acme._memory.flight) is not None and not flight.settled:
            raise Wrong("a flight is never settled")


class AskOnALoop(Ask):
    """The same in tasks of a loop, which the signal ends; others wait in threads, and the next loop is served."""

    def ask(self, acme: Credential, first: Token) -> object:
        async def main() -> None:
            await asyncio.gather(*(acme.atoken(refused=first) for _ in range(3)))

        return self.loop.run_until_complete(main())

    def play(self, aim: Aim) -> None:
        self.loop = asyncio.new_event_loop()
        super().play(aim)
        with contextlib.suppress(RuntimeError):  # as in `after`
            self.loop.close()

    def after(self, acme: Credential) -> None:
        asyncio._set_running_loop(None)  # where the signal hit asyncio's own end of the loop, it believes that it runs
        if asyncio.run(acme.atoken(), debug=False).generation != 2:
            raise Wrong("the next loop is not served")
        super().after(acme)


class AskInAFile(Ask):
    """The same with a store on disk."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.folder = tempfile.TemporaryDirectory()
        self.store = f"sqlite:///{self.folder.name}/tokens.db"
        # What runs for all rounds begins before they are counted: the look in the background.
        self.first = Credential("first", Refresher(chance), token=FIRST, store=self.store)
        self.first.token()

    def end(self) -> None:
        self.folder.cleanup()


class AskAServer(Ask):
    """The same with a store on a server, whose connections all share: each gets what is his."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.store = os.environ["STORM_STORE"]
        self.always, _ = self.logged_in()  # the store stays open

    def logged_in(self) -> tuple[Credential, Refresher]:
        name = f"{os.getpid()} {next(names)} "
        refresher = Refresher(self.chance, name)
        acme = Credential(name, refresher, store=self.store, max_wait=MAX_WAIT)
        acme.login(first_of(name))
        return acme, refresher

    def play(self, aim: Aim) -> None:
        (acme, refresher), (beta, _) = self.logged_in(), self.logged_in()
        first, second = acme.token(), beta.token()
        others = Others(lambda: acme.token(refused=first), self.chance)
        besides = Others(lambda: beta.token(refused=second), self.chance)
        aim.at(lambda: self.ask(acme, first))
        for one, token in ((acme, first), (beta, second)):
            if one.token(refused=token).reveal() != f"{one.key}a2":
                raise Wrong("the next call gets another's token")
        others.check(2)
        besides.check(2)
        if refresher.calls != 1:
            raise Wrong(f"{refresher.calls} refreshes")
        self.after(acme)


class Age(Way):
    """The token is ageing: the main thread uses it and begins its renewal, for which others wait."""

    def play(self, aim: Aim) -> None:
        refresher = Refresher(self.chance)
        acme = Credential(next(names), refresher, token={**FIRST, "expires_in": 60}, max_wait=MAX_WAIT)
        first = acme.token()
        acme._memory.held.refresh_at = 0.0
        others = Others(lambda: acme.token(refused=first), self.chance)
        aim.at(acme.token)
        if acme.token().generation not in (1, 2):
            raise Wrong("the next call is not answered")
        others.check(2)
        if acme.token(refused=first).generation != 2 or refresher.calls != 1:
            raise Wrong(f"{refresher.calls} refreshes")


class People(Way):
    """Logins, logouts and looks at the status, beside callers who refresh."""

    def play(self, aim: Aim) -> None:
        refresher = Refresher(self.chance)
        acme = Credential(next(names), refresher, token=FIRST, max_wait=MAX_WAIT)
        first = acme.token()
        does: list[Callable[[], object]] = [lambda: acme.login(FIRST), acme.status, acme.retry, acme.logout]
        do = self.chance.choice(does)
        others = Others(acme.token, self.chance) if do != acme.logout else None
        aim.at(do)
        if others is not None:
            others.check()
        settled(self.there)  # what was interrupted goes on
        time.sleep(0.005 if aim.hit and do == acme.logout else 0.0)  # its thread may have been started, and not begun
        settled(self.there)
        acme.login(FIRST)
        if acme.token(refused=first) is None or (found := acme.status().state) != "idle":
            raise Wrong(f"the next call is not answered: {do} {found}")


class Close(Way):
    """What is closed while its renewal is under way, by the end of its block, after a call that was interrupted."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.store = MemoryStore()

    def play(self, aim: Aim) -> None:
        refresher = Refresher(self.chance)
        key, began = next(names), time.monotonic()
        customers = Credentials(refresher, store=self.store, max_wait=MAX_WAIT)
        first = customers[key].login(FIRST)

        def use() -> None:
            with customers:
                customers[key].token(refused=first)

        aim.at(use)
        customers.close()
        if time.monotonic() - began > MAX_WAIT - 1.0:
            raise Wrong("closing waits for nothing")
        others = Credentials(refresher, store=self.store, max_wait=MAX_WAIT)
        if others[key].token(refused=first).generation != 2 or refresher.calls != 1:
            raise Wrong("the next call is not answered")
        others.close()


class Due(Way):
    """Many credentials are refreshed on the main thread, from a file that others use."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.folder = tempfile.TemporaryDirectory()
        self.store = SQLiteStore(f"{self.folder.name}/tokens.db")
        self.keys = [f"tenant-{number}" for number in range(3)]
        self.customers = Credentials(Refresher(chance), store=self.store, max_wait=MAX_WAIT)
        for key in self.keys:
            self.customers[key].login(FIRST)

    def play(self, aim: Aim) -> None:
        keys = self.keys if self.chance.random() < 0.5 else None
        others = Others(lambda: self.customers[self.keys[0]].token(), self.chance)
        aim.at(lambda: self.customers.refresh_due(within=1.0, keys=keys or self.listed()))
        others.check()
        if self.customers.refresh_due(within=1.0, keys=self.keys).looked_at != 3:
            raise Wrong("the next run does nothing")
        there = [key for key, _ in SQLiteStore(f"{self.folder.name}/tokens.db").scan()]
        if sorted(there) != self.keys:
            raise Wrong("a record is gone")
        self.customers[self.keys[1]].login(FIRST)  # nobody holds the file

    def listed(self) -> list[str]:
        return [key for key, _ in self.store.scan()]

    def end(self) -> None:
        self.customers.close()
        self.folder.cleanup()


class Records(Way):
    """Somebody uses a store himself, on the main thread: others read, write and hold what it held."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.folder = tempfile.TemporaryDirectory()
        self.store = SQLiteStore(f"{self.folder.name}/tokens.db")
        self.written = 0

    def play(self, aim: Aim) -> None:
        found = self.store.load("acme")
        body = '{"x": 1}'

        def hold() -> None:
            held = self.store.hold("acme")
            if held is not None:
                held.release()

        does: list[Callable[[], object]] = [
            lambda: self.store.load("acme"),
            lambda: self.store.cas("acme", found.version if found else None, body),
            lambda: list(self.store.scan()),
            lambda: self.store.wait("acme", "", 0.001),
            hold,
        ]
        do = self.chance.choice(does)
        aim.at(do)
        if do is hold:
            aim.forget()  # whoever keeps the frame that was given the hold keeps the hold
        outcome: list[object] = []

        def use() -> None:
            store = SQLiteStore(f"{self.folder.name}/tokens.db")
            try:
                found = store.load("acme")
                store.cas("acme", found.version if found else None, body)
                held = store.hold("acme")
                if held is None:
                    raise Wrong("the lock file stays locked")
                held.release()
            except BaseException as error:  # noqa: BLE001 - it is told
                outcome.append(error)

        other = threading.Thread(target=use)
        other.start()
        other.join()
        use()
        if outcome:
            raise Wrong(f"the file cannot be used: {outcome}")

    def end(self) -> None:
        self.folder.cleanup()


class Fork(Way):
    """A signal before, in and after a fork: parent and child go on."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.folder = tempfile.TemporaryDirectory()
        self.acme = Credential("acme", Refresher(chance), token=FIRST, store=f"sqlite:///{self.folder.name}/tokens.db")
        self.acme.token(refused=self.acme.token())  # with all that is loaded, and looked up in `logging`, once only

    def play(self, aim: Aim) -> None:
        first, me, child = self.acme.token(), os.getpid(), 0

        def fork() -> None:
            nonlocal child
            child = os.fork()

        others = Others(lambda: self.acme.token(refused=first), self.chance, 1)
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None  # Python says so where it drops an interrupt
        aim.at(fork)
        sys.unraisablehook = hook
        if os.getpid() != me:
            try:
                self.acme.token(refused=self.acme.token())
                with fork_lock:
                    os._exit(0)
            except BaseException as error:  # noqa: BLE001 - it is told
                print(f"child: {error!r}", flush=True)
            finally:
                os._exit(1)
        if child and os.waitpid(child, 0)[1]:
            raise Wrong("the child ended badly")
        others.check()
        self.acme.token(refused=self.acme.token())

    def end(self) -> None:
        self.folder.cleanup()


WAYS: Mapping[str, Callable[[random.Random], Way]] = {
    "ask": Ask,
    "ask on a loop": AskOnALoop,
    "ask in a file": AskInAFile,
    "age": Age,
    "people": People,
    "close": Close,
    "due": Due,
    "records": Records,
    "fork": Fork,
}
SERVED: Mapping[str, Callable[[random.Random], Way]] = {"ask a server": AskAServer}
"""Those that need a store on a server: the environment's ``STORM_STORE``."""

"""The whole simulated world of one run: time, hosts, processes, the store, the server, and who watches over them."""

from __future__ import annotations

import copy
import math
import random
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.simulator import people
from tests.simulator.account import Account
from tests.simulator.faults import Fault, Faults, Happening, Point, What
from tests.simulator.hosts import START, Host, HostClock, KernelHold
from tests.simulator.judge import Judge
from tests.simulator.looks import Looking
from tests.simulator.network import OWN, Network
from tests.simulator.old_records import begin_with_old_record
from tests.simulator.process import Process
from tests.simulator.server import AuthorizationServer
from tests.simulator.store import SimulatedStore
from tests.simulator.tasks import Task
from tests.simulator.timeline import Timeline

from onerefresh import errors
from onerefresh.credential.cached_token import cached_for
from onerefresh.expiry import LEAST_SKEW
from onerefresh.flight import Flight
from onerefresh.record import Record
from onerefresh.secret import Secret
from onerefresh.store import AdvisoryLock, StoreTime
from onerefresh.token import Token

if TYPE_CHECKING:
    from tests.simulator.scenario import Scenario

__all__ = ["World"]

MOMENT = 0.1
"""Seconds by which two clocks that agree may differ here."""

BEGUN_ANEW = frozenset({"considering", "flight", "jitter", "leased", "lock", "under_way", "watched"})
"""What a forked child does not have of its parent's memory."""


class World:
    """Everything that a scenario names, ready to run. Nothing in it is random but by the scenario's seed."""

    def __init__(self, scenario: Scenario, *, account: bool) -> None:
        self.scenario = scenario
        self.rng = random.Random(scenario.seed ^ 0x5EED)
        self.timeline = Timeline()
        self.account = Account(kept=account)
        self.server = AuthorizationServer(scenario.manner)
        self.judge = Judge(self)
        self.store = SimulatedStore(self.timeline, self._written)
        self.network = Network(self)
        self.faults = Faults(scenario.faults)
        self.faults_left = bool(scenario.faults)
        self.waiters: dict[Flight[Any], list[tuple[Task, int]]] = {}
        self.attempts = 0
        self.writer: Task | None = None
        self.accounts: dict[Process, people.Account] = {}
        self.settling = False
        self.servers, self.server_since = 1, 0.0  # of the store, one after the other
        self.went_back_at = -math.inf
        self.note, self.losses = 1, 0  # the note of losses, and how many are in it
        self.note_fails_until = -math.inf
        self.another_server = False  # since it went back: those who have its clock can tell
        self.store_clock_ahead, self.store_clock_set_at = 0.0, -math.inf
        self.clocks_were_set = False
        self.dated: dict[str, float] = {}  # of access tokens whose answers had a date: how far their clock is ahead
        self.storms: list[tuple[Happening, int]] = []  # times in which refreshing is in vain, and the requests in them
        self.hosts = [
            Host(f"host {number}", HostClock(self.timeline, skew, self.rng.uniform(0.0, 1e6)))
            for number, skew in enumerate(scenario.skews, 1)
        ]
        self._born = 0
        self.seed = self.kept = self._first_token()
        if scenario.old_record:
            begin_with_old_record(self, scenario.old_record)
        for number in range(scenario.processes):
            self.start(self.hosts[number % len(self.hosts)])
        if scenario.visited_every:
            self._visit()
        for happening in scenario.happenings:
            self.timeline.after(happening.at, self._happens, happening)

    # --- What processes ask of it ---

    def say(self, who: str, what: str, to: str | None = None) -> None:
        if self.account.kept:
            self.account.say(self.timeline.now, who, what, to)

    def latency(self, rng: random.Random | None = None) -> float:
        return (rng or self.rng).uniform(0.0005, 0.005)

    def moment(self, process: Process) -> StoreTime | None:
        host = process.host
        if self.scenario.host_saves:
            return StoreTime(process.name, host.clock.monotonic(), single_host=True)  # as the memory store says
        if not self.scenario.has_clock or self.store.is_down:
            return None
        if self.scenario.hosts == 1 and not self.scenario.may_go_back:
            return StoreTime(f"boot {host.boots}", self.timeline.now, single_host=True)
        clock_epoch = f"server {self.servers}"
        if process.born < self.store_clock_set_at:  # whoever sees a jump has an era of its own from then on
            clock_epoch += f", set at {self.store_clock_set_at:.3f} as {process.name} sees it"
        return StoreTime(clock_epoch, self.timeline.now + self.store_clock_ahead)

    def take(self, task: Task) -> AdvisoryLock | None:
        host = task.process.host
        if not self.scenario.has_flock:
            return AdvisoryLock()
        if host.holder not in (None, task):
            return None
        host.holder = task
        return KernelHold(host)

    def settled(self, flight: Flight[Any]) -> None:
        for task, serial in self.waiters.pop(flight, ()):
            self.timeline.after(0.0, task.process.answered, task, serial, True, None)

    # --- What befalls it ---

    def strike(self, point: Point, task: Task) -> Fault | None:
        fault = self.faults.strike(point)
        if fault is not None:
            self.judge.struck(fault)
            if self.account.kept:
                self.say(repr(task), f"⚡ {fault}")
        return fault

    def sleep(self, host: Host, seconds: float) -> None:
        """A machine sleeps: nothing on it runs, and its monotonic clock stands still."""
        self.say(host.name, f"sleeps for {seconds:.1f} s")
        host.clock.sleep(seconds)
        host.asleep_until = max(host.asleep_until, self.timeline.now + seconds)
        for process in host.processes:
            process.pause(seconds)
        self.judge.slept(host)

    def store_goes_down(self, seconds: float, *, then_empty: bool = False) -> None:
        self.say("store", f"is down for {seconds:.1f} s")
        self.store.go_down(seconds)
        self.judge.cut_off(seconds)
        if then_empty:
            self.timeline.after(seconds, self._is_back_empty)

    def roll_back(self, seconds: float) -> None:
        lost = self.store.record
        if self.store.go_back(seconds):
            record = self.store.record
            self.say("store", f"forgets what it acknowledged: back to generation {record.generation if record else 0}")
            self.went_back_at, self.another_server = self.timeline.now, False
            self.judge.rolled_back()
            self.judge.forgotten(lost)

    def _is_back_empty(self) -> None:
        self.say("store", "is back, and empty")
        self._lose_all()

    def lose(self) -> None:
        """The store loses the record."""
        lost = self.store.record
        self.store.wipe()
        self.judge.vanished()
        self.judge.forgotten(lost)

    def _lose_all(self) -> None:
        """The store loses the record, and the note of losses with it."""
        self.note, self.losses = self.note + (self.losses > 0), 0
        self.lose()

    def fail_over(self, *, lags: float | None) -> None:
        """Another server takes the place of the store's. `lags`: seconds by which it is behind; None: it is empty."""
        if lags is None:
            self._lose_all()
        else:
            self.roll_back(lags)
        self.servers, self.server_since = self.servers + 1, self.timeline.now
        self.another_server = self.scenario.has_clock and (self.scenario.hosts > 1 or self.scenario.may_go_back)

    def _happens(self, happening: Happening) -> None:
        self.say("world", str(happening.what))
        self.judge.happened(happening)
        match happening.what:
            case What.OUTAGE:
                self.network.down_until = self.timeline.now + happening.seconds
                self.timeline.after(happening.seconds, self._storm_is_over, happening, self.network.sent)
            case What.DOUBTFUL:
                self.network.doubtful_until = self.timeline.now + happening.seconds
                self.timeline.after(happening.seconds, self._storm_is_over, happening, self.network.sent)
            case What.USELESS:
                self.network.useless_until = self.timeline.now + happening.seconds
                self.timeline.after(happening.seconds, self._storm_is_over, happening, self.network.sent)
            case What.REVOKED:
                self.server.revoke_access_tokens()
            case What.SESSION_ENDED:
                self.server.end_sessions()
            case What.BAD_TARGET:
                self.server.has_bad_target = True
                self.timeline.after(happening.seconds, self._storm_is_over, happening, self.network.sent)
            case What.BAD_API:
                self.server.rejects_everything = True
                self.timeline.after(happening.seconds, self._storm_is_over, happening, self.network.sent)
            case What.LOGIN:
                self._person("login", lambda account: account.sign_in(self._new_login()))
            case What.LOGOUT:
                self._person("logout", lambda account: account.sign_out())
            case What.WIPED:
                self.store.wipe()
                self.judge.wiped()
                self._person("login", lambda account: account.sign_in(self._new_login()))
            case What.VANISHED:
                self.lose()
            case What.EMPTY_FAILOVER:
                self.fail_over(lags=None)
            case What.FAILOVER:
                self.fail_over(lags=happening.seconds)
            case What.RESTORED:
                self.roll_back(happening.seconds)
            case What.CLOCK_SET:
                self.rng.choice(self.hosts).clock.set_forward(happening.seconds)
                self.clocks_were_set = True
            case What.STORE_CLOCK_SET:
                self.store_clock_ahead += happening.seconds
                self.store_clock_set_at = self.timeline.now
            case What.FORK:
                self._fork(happening.seconds)
            case What.SAME_LOGIN:
                token = self._new_login()
                self._person("login", lambda account: account.sign_in(token))
                self.timeline.after(happening.seconds, self._person, "login", lambda account: account.sign_in(token))
            case What.REBOOT:
                self._reboot(self.hosts[0])

    def _storm_is_over(self, happening: Happening, sent: int) -> None:
        self.storms.append((happening, self.network.sent - sent))
        if happening.what is What.BAD_API:
            self.server.rejects_everything = False
        if happening.what is What.BAD_TARGET:
            self.server.has_bad_target = False

    def _person(self, name: str, act: Any) -> None:
        """Somebody logs in or out through one of the processes."""
        if not self.accounts:
            self.timeline.after(1.0, self._person, name, act)
            return
        process = self.rng.choice(list(self.accounts))
        word = self.judge.words.begun(name, self.timeline.now)

        def ended(value: object, error: errors.OnerefreshError | None) -> None:
            self.judge.words.ended(word, value, error, self)
            self.judge.person_done(name, value, error)

        process.spawn(name, act(self.accounts[process]), ended)

    def _reboot(self, host: Host) -> None:
        host.boots += 1
        for process in list(host.processes):
            process.crash()

    # --- Processes ---

    def start(self, host: Host, *, calls: int | None = None) -> Process:
        """A new process on `host`, with its callers."""
        self._born += 1
        if self.scenario.host_saves:
            self.store = SimulatedStore(self.timeline, self._written)  # it lives and dies with its process
            self.judge.new_memory()
        process = Process(self, host, f"{host.name} process {self._born}")
        process.has_wrong_client = self.scenario.wrong_client and self._born == 1
        host.processes.append(process)
        account = self.accounts[process] = people.Account(process, self.kept if self.scenario.host_saves else self.seed)
        Looking(process, account)
        scenario = self.scenario
        if calls is None:
            calls = scenario.calls
        paths = [*([scenario.paths[0] if scenario.paths else ""] * scenario.callers), *scenario.paths[1:]]
        for number, path in enumerate(paths if calls else []):
            pause = scenario.duration / (calls + 1)
            caller = process.spawn(f"caller {number + 1}", people.calls(account, calls, pause, path), lambda *_: None)
            caller.is_caller = True
        return process

    def _fork(self, seconds: float) -> None:
        """A process forks: the child has the parent's memory and none of its threads. The parent dies, perhaps."""
        if self.scenario.host_saves or not self.accounts:
            return
        parent = self.rng.choice(list(self.accounts))
        account = self.accounts[parent]
        memory = account._memory
        child = self.start(parent.host)
        self.say(parent.name, f"forks: {child.name}")
        shared = self.accounts[child]._memory
        self.accounts[child]._launcher.first = account._launcher.first
        slots = {name for one in type(memory).__mro__ for name in getattr(one, "__slots__", ())}
        for name in slots - BEGUN_ANEW - {"__weakref__", "sightings"}:
            setattr(shared, name, getattr(memory, name))
        shared.sightings = copy.deepcopy(memory.sightings)
        if shared.known is not None and shared.held.token is not None:
            shared.held = cached_for(shared.known, shared.jitter, shared.timing)
        if seconds:
            self.timeline.after(seconds, parent.crash)

    def gone(self, process: Process) -> None:
        """A process has ended: its host starts another one before long."""
        process.host.processes.remove(process)
        del self.accounts[process]
        if not self.settling and not process.is_visitor:
            self.timeline.after(self.rng.uniform(0.05, 3.0), partial(self._restart, process.host))

    def _visit(self) -> None:
        """A short-lived process comes by, and then the next one."""
        if self.timeline.now > self.scenario.duration:
            return
        process = self.start(self.rng.choice(self.hosts), calls=0)
        process.is_visitor = True
        visiting = people.visit(self.accounts[process], self.rng.randrange(1, 4))
        process.spawn("visit", visiting, lambda *_: process.exit()).is_caller = True
        self.timeline.after(self.scenario.visited_every * self.rng.uniform(0.8, 1.2), self._visit)

    def _restart(self, host: Host) -> None:
        if not self.settling:
            self.start(host, calls=max(self.scenario.calls // 2, 1))

    # --- Tokens ---

    def skew(self, host: Host) -> float:
        """How far the host's wall clock is ahead of the server's."""
        skew = host.clock.time() - (START + self.timeline.now)
        return skew if abs(skew) > LEAST_SKEW else 0.0

    def skew_for(self, host: Host, token: Token) -> float:
        """How far its wall clock is ahead of the clock by which `token` is dated: the server's, or nearly."""
        if token.reveal() not in self.dated:
            return 0.0
        skew = host.clock.time() - (START + self.timeline.now) - self.dated[token.reveal()]
        return skew if abs(skew) > LEAST_SKEW else 0.0

    def tells_its_clock(self, process: Process, token: Token) -> bool:
        """Whether the record tells this process how far its machine's clock is off, if it has to know for `token`.

        It says so of the machine that got the token, and by the store's clock of all others. If that clock was set
        since, it misleads whoever cannot tell that: the token's own machine can, where the token would end later by
        the store's clock, and so can all where the token is not issued yet by it.
        """
        is_off, is_dated = self.skew_for(process.host, token) != 0.0, token.reveal() in self.dated
        record, moment = self.store.record, self.moment(process)
        if is_off and (record is None or self.judge.unordered or self.clocks_were_set):
            return False
        if not is_dated:
            return True
        clock = record.token_clock if record is not None and record.identity == token.identity else None
        if record is None or clock is None or clock.generation != record.generation:  # it may have been there
            return not is_off and self.store_clock_set_at <= self.server.issued(token)
        is_own = clock.machine == process.host.name
        if moment is None or moment.clock_epoch != clock.clock_epoch:
            return is_own or not is_off
        at, there = moment.seconds - clock.ahead, START + self.timeline.now + self.dated[token.reveal()]
        if abs(at - there) <= MOMENT:
            return True
        is_seen = at < token.issued_at - LEAST_SKEW
        return at < there and (is_own or (is_seen and not is_off))

    def known_to(self, task: Task) -> Token | None:
        """The newest token that its process knows by now."""
        account = self.accounts.get(task.process)
        return account._memory.known if account is not None else None

    def is_known(self, access: str, writer: Task | None) -> bool:
        """Whether this token was saved, or is its answer, or in the memory of its process."""
        if access in self.judge.saved or writer is None:
            return access in self.judge.saved
        newest = self.accounts[writer.process]._memory.newest if writer.process in self.accounts else None
        return access == writer.answer or (newest is not None and self.server.name_of(newest) == access)

    def _first_token(self) -> Token:
        """The first login happened a while ago, so that its token's end may be near."""
        lifetime = self.scenario.manner.expires_in
        age = self.rng.choice((0.0, 0.5, 0.95, 2.0)) * (lifetime or 0.0)
        return self._logged_in(-age)

    def _new_login(self) -> Token:
        return self._logged_in(0.0)

    def _logged_in(self, age: float) -> Token:
        grant = self.server.log_in(self.timeline.now + age)
        assert grant.refresh is not None
        return Token(
            Secret(grant.access),
            Secret(grant.refresh),
            expires_in=grant.expires_in,
            issued_at=START + self.timeline.now + age,
            extra=OWN,
        )

    def _written(self, before: Record | None, after: Record) -> None:
        self.judge.written(before, after, self.writer)

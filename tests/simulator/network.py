"""Token requests on their way to the server and back, and what becomes of them there."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from tests import effects
from tests.simulator import server
from tests.simulator.faults import Fault, What
from tests.simulator.hosts import START
from tests.simulator.scenario import HTTP_TIMEOUT

from onerefresh.judge_answer import judge_answer
from onerefresh.record import Grant
from onerefresh.secret import Secret
from onerefresh.token import Token
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict

if TYPE_CHECKING:
    from tests.simulator.tasks import Task
    from tests.simulator.world import World

__all__ = ["OWN", "STRANGER", "Network"]


def _id_token(subject: str) -> dict[str, object]:
    claims = json.dumps({"iss": "https://simulated", "sub": subject}).encode()
    return {"id_token": f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2ln"}


OWN = _id_token("own")
"""What each answer says of whose it is."""
STRANGER = "stranger"
"""The access token of another account."""

UNREACHABLE = Verdict(FailureKind.UNAVAILABLE, "the token endpoint cannot be reached")
SILENCE = Verdict(FailureKind.NO_ANSWER, "no answer came back")
ERROR = Verdict(FailureKind.SERVER_ERROR, "answered 500")
REJECTED = Verdict(FailureKind.CLIENT_REJECTED, "invalid_client")
GARBAGE = Verdict(FailureKind.PROTOCOL, "answered 200 without a token")
INVALID_GRANT = Verdict(FailureKind.DEAD, "invalid_grant")
USELESS = "the answer has an access token that no header can carry"
DOUBTFUL: tuple[tuple[int, bytes, dict[str, str]], ...] = (
    (401, b"", {}),
    (401, b'{"message": "Unauthorized"}', {"content-type": "application/json"}),
    (400, b"", {"content-length": "0"}),
)
"""Answers that do not say whether the session is over or this client is wrong."""


class Network:
    """Between the processes and the authorization server. `down_until`: nobody reaches the token endpoint before."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.down_until = 0.0
        self.doubtful_until = self.useless_until = 0.0
        self.sent = 0

    def send(self, task: Task, effect: effects.Send, fault: Fault | None) -> None:
        """Send a token request, and see to its answer."""
        world, serial, now = self._world, task.serial, self._world.timeline.now
        if task.process.resumes_at > now:
            world.timeline.after(task.process.resumes_at - now, self._leave, task, serial, effect, fault)
            return
        self._leave(task, serial, effect, fault)

    def _leave(self, task: Task, serial: int, effect: effects.Send, fault: Fault | None) -> None:
        if task.over:
            return
        world, what = self._world, fault.what if fault is not None else None
        self.sent += 1
        world.judge.sends(task, effect)
        issued_at = task.process.host.clock.time()
        if task.overdue is not None:
            world.timeline.after(effect.ttl, self._overdue, task, serial, effect.ttl)
        if what is What.HANGS:
            world.say(repr(task), "sends nothing, and its refresher never returns")
            task.hangs = True
            return
        travel = world.rng.uniform(0.01, 0.25)
        if world.timeline.now < self.down_until or what is What.UNAVAILABLE:
            self._fail(travel, task, serial, UNREACHABLE)
        elif fault is not None and what is What.THROTTLED:
            self._fail(travel, task, serial, Verdict(FailureKind.UNAVAILABLE, "answered 429", fault.seconds))
        elif what is What.DOUBTFUL or world.timeline.now < self._is_doubtful_until(task):
            world.judge.answers.doubtful(effect.token)
            self._fail(travel, task, serial, judge_answer(*world.rng.choice(DOUBTFUL)))
        elif what is What.REJECTED:
            self._fail(travel, task, serial, REJECTED)
        elif what is What.LOST_REQUEST:
            world.say(repr(task), "sends a request that is lost", "server")
            self._lose(task, serial, effect, self._patience())
        elif what is What.LATE_REQUEST:
            world.say(repr(task), "sends a request that arrives late", "server")
            self._lose(task, serial, effect, HTTP_TIMEOUT)
            late = HTTP_TIMEOUT + world.rng.uniform(0.2, 20.0)
            world.judge.answer_lost(task, effect, late=True)
            world.timeline.after(late, self._arrive, task, serial, effect, fault, issued_at)
        elif what is What.ERROR_BEFORE:
            self._fail(travel, task, serial, ERROR)
        else:
            world.timeline.after(travel, self._arrive, task, serial, effect, fault, issued_at)

    def _arrive(self, task: Task, serial: int, effect: effects.Send, fault: Fault | None, issued_at: float) -> None:
        world, what = self._world, fault.what if fault is not None else None
        travel = world.rng.uniform(0.01, 0.25)
        try:
            grant = self._decide(task, effect)
        except server.Refused as refusal:
            if what is What.LATE_REQUEST:
                return
            world.judge.refused(task, effect, refusal)
            world.say("server", "invalid_grant", repr(task))
            self._fail(travel, task, serial, INVALID_GRANT)
            self._strike(task, fault)
            return
        if what is What.LATE_REQUEST:
            world.say("server", "rotates, and nobody hears the answer")
            return
        world.judge.rotated(task, effect, grant)
        if what is What.LOST_ANSWER:
            world.say("server", "rotates; the answer is lost", repr(task))
            world.judge.answer_lost(task, effect)
            self._lose(task, serial, effect, self._patience())
            return
        if what in (What.ERROR_AFTER, What.GARBAGE):
            verdict = ERROR if what is What.ERROR_AFTER else GARBAGE
            world.say("server", f"rotates, and {verdict.detail}", repr(task))
            world.judge.answer_lost(task, effect)
            self._fail(travel, task, serial, verdict)
            return
        if what is What.STRANGER and effect.grant is Grant.REFRESH:
            world.say("server", "rotates, and answers with another account's token", repr(task))
            world.judge.answer_lost(task, effect)
            self._answer_with_a_stranger(travel, task, serial, effect)
            return
        world.say("server", "the next token", repr(task))
        if fault is not None and what is What.SLOW_ANSWER:
            world.judge.slow(task, fault.seconds)
            travel = fault.seconds
        if (what is What.USELESS or world.timeline.now < self.useless_until) and self._keeps(effect, grant):
            assert grant.refresh is not None
            # A grace server repeats the refresh token: what is kept of each answer is one token, and has one name.
            task.answer = world.server.useless.setdefault(grant.refresh, grant.access)
            useless = RefreshFailure(Verdict(FailureKind.UNUSABLE, USELESS, kept=Secret(grant.refresh)))
            world.timeline.after(travel, self._deliver, task, serial, None, useless)
            return
        dated = world.scenario.states_dates
        if dated:
            clock = task.process.host.clock
            world.dated[grant.access] = clock.time() - (START + world.timeline.now) - world.skew(task.process.host)
        token = Token(
            Secret(grant.access),
            Secret(grant.refresh) if grant.refresh is not None else None,
            expires_in=grant.expires_in,
            issued_at=issued_at - (world.skew(task.process.host) if dated else 0.0),
            clock_skew=world.skew(task.process.host) if dated else None,
            extra=OWN,
        )
        world.timeline.after(travel, self._deliver, task, serial, token, None)
        self._strike(task, fault)

    def _answer_with_a_stranger(self, travel: float, task: Task, serial: int, effect: effects.Send) -> None:
        world = self._world
        rotates = world.scenario.manner.kind is not server.Kind.STATIC
        refresh = "refresh token of a stranger" if rotates else None
        token = Token(STRANGER, refresh, expires_in=3600.0, extra=_id_token("another"))
        world.judge.answers.strange(task, effect.token if rotates else None)
        world.timeline.after(travel, task.process.answered, task, serial, token, None)

    def _decide(self, task: Task, effect: effects.Send) -> server.Grant:
        world = self._world
        now = world.timeline.now
        if effect.grant is Grant.OBTAIN or effect.token is None or effect.token.refresh_token is None:
            world.server.requests += 1
            return world.server.log_in(now)
        if world.account.kept:
            world.say(repr(task), f"spends generation {effect.token.generation}", "server")
        return world.server.refresh(effect.token.refresh_token.reveal(), now)

    def _keeps(self, effect: effects.Send, grant: server.Grant) -> bool:
        """Whether the answer has a refresh token that must not be lost: another one than that which was sent."""
        rotates = self._world.scenario.manner.kind is not server.Kind.STATIC
        return rotates and effect.grant is Grant.REFRESH and grant.refresh is not None

    def _deliver(self, task: Task, serial: int, token: Token | None, failure: RefreshFailure | None) -> None:
        if not task.over and serial == task.serial:
            task.has_answer = True
            task.answered_at = self._world.timeline.now
            if token is not None:
                at = task.process.host.clock.time()
                skew = token.clock_skew or 0.0
                token = token.arrived(token.issued_at + skew, at)
                self._world.judge.background.arrives(token, at - skew)
            task.process.answered(task, serial, token, failure)

    def _is_doubtful_until(self, task: Task) -> float:
        wrong = task.process.has_wrong_client
        return self._world.scenario.duration if wrong else self.doubtful_until

    def _lose(self, task: Task, serial: int, effect: effects.Send, seconds: float) -> None:
        """No answer comes back, as the sender will find within `seconds`."""
        self._fail(seconds, task, serial, SILENCE)
        self._world.timeline.after(seconds, self._unheard, task, effect)

    def _unheard(self, task: Task, effect: effects.Send) -> None:
        if not task.crashed:
            self._world.judge.answers.unheard(task, effect.token)

    def _fail(self, seconds: float, task: Task, serial: int, verdict: Verdict) -> None:
        self._world.timeline.after(seconds, task.process.answered, task, serial, None, RefreshFailure(verdict))

    def _overdue(self, task: Task, serial: int, ttl: float) -> None:
        if not task.over and serial == task.serial and task.overdue is not None:
            task.overdue(ttl)

    def _patience(self) -> float:
        """A connection that breaks is noticed at once, one that is silent after the time-out."""
        return self._world.rng.choice((0.1, HTTP_TIMEOUT))

    @staticmethod
    def _strike(task: Task, fault: Fault | None) -> None:
        if fault is not None and not task.over:
            if fault.what is What.CRASH_AFTER:
                task.process.crash()
            elif fault.what is What.PAUSE_AFTER:
                task.process.pause(fault.seconds)
            elif fault.what is What.ASLEEP_AFTER:
                task.process.world.sleep(task.process.host, fault.seconds)

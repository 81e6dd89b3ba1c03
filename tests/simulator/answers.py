"""Promises about what the token endpoint answers: doubtful answers, lost ones, and those that it repeats."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tests.simulator.broken import Broken
from tests.simulator.founding import last_of
from tests.simulator.ideas import Idea

from onerefresh import errors
from onerefresh.policy import EARLY_REFRESHES, HTTP_TIMEOUT
from onerefresh.record import Grant, State

if TYPE_CHECKING:
    from tests.simulator.process import Process
    from tests.simulator.tasks import Task
    from tests.simulator.world import World

    from onerefresh.record import Record
    from onerefresh.token import Token

__all__ = ["Answers"]

NOT_OVER = "nobody is told that a session is over with which others go on"

SPENT_FOR_ANOTHER = "a refresh token that brought another account's token is not sent again"

NEVER_DEAD = "a session that lives at the server is never called dead on a doubtful answer"


class Answers:
    """What was answered in one run, to which refresh token."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._doubted: set[str] = set()  # access tokens of the generations whose refresh was refused without a proof
        # Whose refresh brought no answer, as they know, and since when.
        self._unheard: dict[tuple[str, int], dict[Process, float]] = {}
        self._loss_epochs: dict[tuple[str, int], str | None] = {}  # in which era the last one is dated
        self._noted: dict[tuple[str, int], float] = {}  # when the last one was lost that the store was told of
        self._strange: dict[tuple[str, int], set[Process]] = {}  # whose refresh brought another account's token
        self._second_chances: set[str] = set()  # what came of the refusal of a token that may have been a repeated one
        self._dead: set[tuple[str, int]] = set()  # the generations that the store has ever shown as dead
        self._used_before: set[str] = set()  # refresh tokens with which somebody logged in when they were used up

    def doubtful(self, token: Token | None) -> None:
        if token is not None:
            self._doubted.add(token.reveal())

    def unheard(self, task: Task, token: Token | None) -> None:
        """Its sender knows that no answer comes back."""
        if token is not None and token.refresh_token is not None:
            # A login with the same token is another one, and somebody wanted it.
            self._unheard.setdefault(token.identity, {})[task.process] = self._world.timeline.now

    def strange(self, task: Task, token: Token | None) -> None:
        """The server has spent it, and answers with another account's token."""
        if token is not None and token.refresh_token is not None:
            self._strange.setdefault(token.identity, set()).add(task.process)

    @property
    def has_strangers(self) -> bool:
        """Whether a refresh token was spent for another account's."""
        return bool(self._strange)

    def _sends_nothing_spent(self, task: Task, token: Token) -> None:
        """Whether it knows, or is told by the record, that the refresh token was spent for another account's."""
        senders, record = self._strange.get(token.identity, set()), self._world.store.record
        failure = record.failure if record is not None and record.identity == token.identity else None
        is_told = failure is not None and failure.is_for_good and not self._world.judge.unordered
        if self._world.scenario.profile.rotates and (task.process in senders or (senders and is_told)):
            raise Broken(SPENT_FOR_ANOTHER, f"{task} sends generation {token.generation}")

    def sends(self, task: Task, token: Token | None) -> None:
        """Whether it may: after a lost answer, where the profile says never to send again; and beside another one."""
        if token is None or token.refresh_token is None:
            return
        self._sends_alone(task, token)
        if self._world.scenario.host_saves:
            return  # a new process knows nothing of the one before
        claim, record = self._world.judge.claims.of(task), self._world.store.record
        if claim is not None and self._world.timeline.now - claim.born > claim.ttl:
            return  # it was stopped after its last look at the clock: nobody can know what others have sent since
        self._sends_nothing_spent(task, token)
        senders = self._unheard.get(token.identity, {})
        if not self._world.scenario.never_resends:
            lost_at = senders.get(task.process)
            last = self._noted.get(token.identity, -math.inf)
            # A process that began after the store's clock was set cannot know by how much.
            if senders and last >= self._world.store_clock_set_at and self._is_dated(record, task.process):
                lost_at = max(last, -math.inf if lost_at is None else lost_at)
            self._is_after_its_pause(task, token, lost_at)
            return
        # What a store has lost, or was never told, only those who have seen it know.
        is_told = record is not None and record.failure is not None and not self._world.judge.unordered
        if task.process in senders or (senders and is_told):
            raise Broken(
                "a refresh token whose answer was lost is not sent again where that is forbidden",
                f"{task} sends generation {token.generation}",
            )

    def _is_after_its_pause(self, task: Task, token: Token, lost_at: float | None) -> None:
        """The pause counts from the request."""
        pause, now = self._world.scenario.profile.sends_again_after, self._world.timeline.now
        if lost_at is not None and now - lost_at < pause - HTTP_TIMEOUT - 1.0:
            raise Broken(
                "a refresh token whose answer was lost is not sent again before its pause is over",
                f"{task} sends generation {token.generation} after {now - lost_at:.1f} s",
            )

    def _is_dated(self, record: Record | None, process: Process) -> bool:
        """Whether the store's clock tells this process when the answer was lost, whatever its wall clock says.

        A later failure has a date of its own, which does not tell that. Where the lost answer is dated in another era
        of the store's clock, only wall clocks are left, and one that is ahead ends the pause early.
        """
        failure, moment = record.failure if record is not None else None, self._world.moment(process)
        if record is None or failure is None or moment is None or self._world.judge.unordered:
            return False
        return failure.lost and failure.clock_epoch == moment.clock_epoch == self._loss_epochs.get(record.identity)

    def _sends_alone(self, task: Task, token: Token) -> None:
        """No process sends the same refresh token beside a request of its own that is still under way."""
        if not self._world.scenario.profile.rotates:
            return
        for other in task.process.tasks:
            spent = other.spent if other is not task and (other.sending or other.hangs) else None
            if spent is not None and spent.identity == token.identity:
                raise Broken(
                    "a process sends no refresh token beside a request of its own that is under way",
                    f"{task} sends generation {token.generation}, and so does {other}",
                )

    def written(self, before: Record | None, after: Record, writer: Task | None) -> None:
        """A session may have been declared dead, or a token refreshed because it may have been a repeated one."""
        self._logged_in(before, after)
        if after.failure is not None and after.failure.kind.is_lost:
            self._loss_epochs[after.identity] = after.failure.clock_epoch
            if writer is not None and (before is None or before.failure != after.failure):
                lost_at = self._unheard.get(after.identity, {}).get(writer.process, -math.inf)
                self._noted[after.identity] = max(self._noted.get(after.identity, -math.inf), lost_at)
        probation, is_same = before.probation if before is not None else None, False
        if before is not None and before.identity == after.identity:  # unless the API has accepted it since
            is_same = after.probation is not None and after.probation.repeated
        if after.token is not None and probation is not None and probation.repeated and not is_same:
            self._second_chances.add(after.token.reveal())
        if after.state is State.DEAD:
            self._dead.add(after.identity)
        has_died = after.state is State.DEAD and (before is None or before.state is not State.DEAD)
        if has_died and self._world.scenario.watches(Idea.DOUBTFUL) and self._lives(after):
            raise Broken(NEVER_DEAD, f"generation {after.generation} is dead in the store")

    def _logged_in(self, before: Record | None, after: Record) -> None:
        """Somebody may have logged in with a token of an earlier session: to its record it is one that was never sent.

        The server may repeat an old answer to the first request all the same.
        """
        is_new = after.token is not None and (before is None or before.identity != after.identity)
        refresh = after.token.refresh_token if after.token is not None else None
        if is_new and last_of(after) == "login" and refresh is not None:
            self._used_before |= {refresh.reveal()} & self._world.server.first_use.keys()

    def told(self, error: errors.OnerefreshError) -> None:
        """A caller was told so."""
        record = self._world.store.record
        proven = isinstance(error, errors.LoginRequired) and getattr(error, "proven", True)
        if proven and record is not None:
            self._nobody_goes_on(error, record)
        if record is None or error.generation != record.generation:
            return  # it speaks of an earlier session, or there was no record when it was decided
        if proven and self._world.scenario.watches(Idea.DOUBTFUL) and self._lives(record):
            raise Broken(NEVER_DEAD, f"a caller was told: {error}")

    def _nobody_goes_on(self, error: errors.OnerefreshError, record: Record) -> None:
        """A caller was told that the session is over: nobody may have refreshed its token, unless it was dead."""
        generation = error.generation
        if generation is None or self._world.judge.unordered:
            return
        if any((family, generation) in self._dead for family in record.families):
            return  # also where a login has followed since: generations are numbered on
        if any((entry.generation, entry.what) == (generation + 1, Grant.REFRESH.value) for entry in record.history):
            raise Broken(NOT_OVER, f"a caller was told of generation {generation}: {error}")
        for process in self._world.accounts:
            for task in process.tasks:
                spent = task.spent.identity if task.spent is not None else None
                if task.spending and task.has_answer and spent == (record.family, generation) and not task.disturbed:
                    raise Broken(NOT_OVER, f"{task} has the next token, and a caller was told: {error}")

    def _lives(self, record: Record) -> bool:
        """Whether there was a doubt, and the session lives."""
        token = record.token
        if token is None or token.refresh_token is None or token.reveal() not in self._doubted:
            return False
        return self._world.server.lives(token.reveal_refresh_token(), self._world.timeline.now)

    def not_renewed(self, token: Token) -> None:
        """The API refused this token, and the call ends with that."""
        world = self._world
        if not world.scenario.watches(Idea.REPEATED) or world.judge.unordered or world.server.rejects_everything:
            return
        if world.scenario.host_saves:
            return  # a new process knows nothing of the one before, which may have sent the same
        record = world.store.record
        if record is not None and record.history and last_of(record) == "restored":
            return  # whoever brought it back from memory did not know that the answer was a repeated one
        if record is not None and record.floor is not None and len(record.floor.early) >= EARLY_REFRESHES:
            return  # too many came too early, and the next one has to wait
        if (
            token.reveal() in self._second_chances
            or world.server.issued_for[token.reveal()] in self._used_before
            or world.server.is_second_repeat(token.reveal())
            or world.timeline.now < world.network.down_until
        ):
            return
        if token.reveal() in world.server.repeated and world.server.lives(
            token.reveal_refresh_token(), world.timeline.now
        ):
            raise Broken(
                "a token from a repeated request that is refused is refreshed once more",
                f"generation {token.generation} was not",
            )

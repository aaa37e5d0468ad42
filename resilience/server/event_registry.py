"""The events that this server runs: taken up from the database, opened by plan, created by hosts, let go when over.

Knows which run of an event is whose; nothing of sockets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from resilience.config import ServerConfig
from resilience.errors import FencedError, UsageError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol.effects import Record
from resilience.protocol.server.room import Room
from resilience.quiz.game import Game, QuizState
from resilience.quiz.phases import Phase
from resilience.quiz.plan import QuizPlan
from resilience.quiz.verdicts import AnswerVerdict
from resilience.random_streams import random_for
from resilience.runtime import RecordSink, RunClock
from resilience.server.committer import CommitRequest
from resilience.server.hub import Hub
from resilience.server.store import RunLease, Store, StoredEvent
from resilience.units import Instant, Seconds

FRESH, RECOVERED = "fresh", "recovered"

RECENT_QUESTIONS = 2
"""A commit may outlast its question, but hardly the one after it."""

OffLoop = Callable[..., Awaitable[Any]]
"""Calls a function of the store in the writer's thread."""


class EventSpec(msgspec.Struct, frozen=True):
    """One event to serve: its id, what it consists of, the name of a new run of it, and the seed of its draws."""

    event: str
    plan: QuizPlan
    run: str
    seed: int = 1


class EventRegistry:
    """Hubs by event id.

    ``runs`` makes names of runs that were never used before; ``origin`` is the wall time of the run clock's zero;
    ``fenced`` is told of a hub whose run may be another server's, and sees to :meth:`recover`.
    """

    def __init__(  # noqa: PLR0913 - all that events depend on
        self,
        config: ServerConfig,
        store: Store,
        *,
        clock: RunClock,
        origin: float,
        log: RecordSink,
        flush: Callable[[], None],
        submit: Callable[[CommitRequest], None],
        off_loop: OffLoop,
        new_id: Callable[[str], str],
        new_token: Callable[[str], str],
        runs: Callable[[], str],
        fenced: Callable[[Hub], None],
    ) -> None:
        self.hubs: dict[str, Hub] = {}
        self.elsewhere: set[str] = set()
        self._config, self._store, self._clock, self._origin = config, store, clock, origin
        self._log, self._flush, self._submit, self._off_loop = log, flush, submit, off_loop
        self._new_id, self._new_token, self._runs, self._on_fenced = new_id, new_token, runs, fenced
        self._creating: set[str] = set()
        self._started: list[tuple[Record, StoredEvent | None]] = []

    # at the start -----------------------------------------------------------------------------------------------------

    async def open(self, plans: Sequence[EventSpec], *, fresh: bool = False) -> None:
        """Go on with every run that is not over, and begin the planned events that have none; ``fresh`` begins anew."""
        for plan in plans:
            stored = None if fresh else await self._off_loop(self._store.latest, plan.event, self._origin)
            if stored is not None and is_resumable(stored, self._clock.now(), self._config.cleanup_interval):
                await self._resume(stored.lease.key, plan.event, plan.seed)
            else:
                await self._begin(plan)
        for event in await self._off_loop(self._store.unfinished):
            if event not in self.hubs:
                stored = await self._off_loop(self._store.latest, event, self._origin)
                await self._resume(stored.lease.key, event, 1)

    def activate(self) -> None:
        """Log what :meth:`open` did and let the rooms go: the server listens now, and absences count from now."""
        for record, stored in self._started:
            now = self._clock.now()
            self._log(msgspec.structs.replace(record, t=now))
            if stored is not None:
                self._log_answers(stored, now)
                self.hubs[stored.event].room.restore(stored.sessions, now)
        self._started.clear()
        self._flush()  # what was found must be on record before the quiz moves on
        for hub in self.hubs.values():
            hub.start()

    # by hosts ---------------------------------------------------------------------------------------------------------

    async def create(self, event: str, plan: QuizPlan, by: int = 0) -> None:
        """Open an event for the host on connection ``by``; again with the same plan is harmless.

        UsageError says why it cannot be, StoreError too.
        """
        hub = self.hubs.get(event)
        if hub is not None and hub.room.game.phase is Phase.FINISHED:
            self._retire(event, keep=by)
            hub = None
        if hub is not None:
            if hub.room.game.questions == plan.questions and hub.room.game.pace == plan.pace:
                return
            raise UsageError(f"event {event!r} is under way with other questions; finish it, or choose another name")
        if event in self._creating:
            raise UsageError(f"event {event!r} is just being created; try again")
        self._make_room()
        self._creating.add(event)
        try:
            await self._begin(EventSpec(event, plan, self._runs()))
        finally:
            self._creating.discard(event)
        self.activate()

    def _make_room(self) -> None:
        if len(self.hubs) < self._config.max_events:
            return
        over = [event for event, hub in self.hubs.items() if hub.room.game.phase is Phase.FINISHED]
        if not over:
            raise UsageError(f"this server runs {len(self.hubs)} events already, as many as max_events allows")
        self._retire(min(over, key=lambda event: self.hubs[event].room.game.progress.since))

    def _retire(self, event: str, keep: int = 0) -> None:
        hub = self.hubs.pop(event)
        hub.close_all(CloseCode.NORMAL, lambda _: "the event is over", keep=keep)
        hub.abandon()

    # when the database says no ----------------------------------------------------------------------------------------

    async def recover(self, hub: Hub) -> None:
        """This server may no longer write for a run: read it again, unless another server has it now."""
        event = hub.room.event
        if self.hubs.get(event) is not hub:
            return
        del self.hubs[event]
        self.elsewhere.add(event)
        hub.abandon()
        stored = await self._off_loop(self._store.latest, event, self._origin)
        if stored is not None and stored.lease == hub.lease:
            await self._resume(hub.lease.key, event, 1)
            self.elsewhere.discard(event)
            self.activate()

    # making hubs ------------------------------------------------------------------------------------------------------

    async def _begin(self, plan: EventSpec) -> None:
        lease = RunLease(f"{plan.event}#{plan.run}", 1)
        await self._off_loop(self._store.create_event, lease, plan.event, plan.plan, self._origin, self._clock.now())
        self._hub(plan.event, lease, plan.plan, plan.seed)
        self._note(plan.event, FRESH)

    async def _resume(self, key: str, event: str, seed: int) -> None:
        lease = await self._off_loop(self._store.acquire_lease, key)
        stored = await self._off_loop(self._store.latest, event, self._origin)
        hub = self._hub(event, lease, stored.plan, seed)
        hub.room.game.restore(clamp_to_now(stored.progress, self._clock.now()), stored.answers)
        self._note(event, RECOVERED, stored)

    def _hub(self, event: str, lease: RunLease, plan: QuizPlan, seed: int) -> Hub:
        room = Room(
            Game(plan.questions, plan.pace, self._config.late_window),
            self._config.room,
            epoch=f"{lease.key.rpartition('#')[2]}.{lease.incarnation}",
            new_id=self._new_id,
            new_token=self._new_token,
            draw=random_for(seed, "server"),
            event=event,
            title=plan.title,
        )
        hub = Hub(
            room,
            lease,
            clock=self._clock,
            log=self._log,
            submit=self._submit,
            flush=self._flush,
            fenced=self._fenced,
        )
        self.hubs[event] = hub
        return hub

    def _note(self, event: str, outcome: str, stored: StoredEvent | None = None) -> None:
        epoch, sessions = self.hubs[event].room.epoch, 0.0 if stored is None else float(len(stored.sessions))
        record = Record(LogEventKind.SERVER_STARTED, 0.0, outcome=outcome, value=sessions, ref=event, detail=epoch)
        self._started.append((record, stored))

    def _log_answers(self, stored: StoredEvent, now: Instant) -> None:
        """What the last questions brought: a killed server may have committed it without a word in its log."""
        last = {question.id for question in stored.plan.questions[: stored.progress.index + 1][-RECENT_QUESTIONS:]}
        for answer in stored.answers:
            if answer.question in last:
                ref, won = f"{answer.question}/{answer.key}", float(answer.points)
                accepted = AnswerVerdict.ACCEPTED
                self._log(
                    Record(LogEventKind.ANSWER_RECOVERED, now, answer.participant, outcome=accepted, value=won, ref=ref)
                )

    def _fenced(self, hub: Hub, error: FencedError) -> None:
        del error
        hub.close_all(CloseCode.SERVICE_RESTART, lambda _: "retry_after=1.0 the event moves to another server")
        self._on_fenced(hub)


def is_resumable(stored: StoredEvent, now: Instant, retention: Seconds) -> bool:
    """Whether a run is under way, or over for so short a time that its players may still come back to see the end."""
    game = Game(stored.plan.questions, stored.plan.pace)
    game.restore(stored.progress, ())
    while game.phase_ends_at is not None and game.phase_ends_at <= now:
        game.advance()
    return game.phase is not Phase.FINISHED or now - game.progress.since <= retention


def clamp_to_now(progress: QuizState, now: Instant) -> QuizState:
    """Where a stored quiz stands; a phase that began after now was timed by a clock since set back: it begins now."""
    ahead = max(progress.since - now, 0.0)
    return msgspec.structs.replace(
        progress,
        since=progress.since - ahead,
        opened_at=progress.opened_at - ahead,
        closes_at=progress.closes_at - ahead,
        ends_at=None if progress.ends_at is None else progress.ends_at - ahead,
    )


def states_of(hubs: Mapping[str, Hub]) -> dict[str, int]:
    """Participants by connection state, over all events."""
    total: dict[str, int] = {}
    for hub in hubs.values():
        for state, count in hub.room.states().items():
            total[state] = total.get(state, 0) + count
    return total

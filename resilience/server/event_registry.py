"""The events that this server runs: resumed from the database, opened by plan, created by hosts, retired when over.

It knows which run of an event belongs to which server; nothing of sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from resilience.config import ServerConfig
from resilience.errors import FencedError, RecoveryNeededError, StoreError, UsageError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.policy.database_retry import database_retry_delay
from resilience.policy.run_owners import OwnedRun, OwnerWatch
from resilience.protocol.effects import Record, Row
from resilience.protocol.server.crowd import ServerCrowd
from resilience.protocol.server.event_location import DATABASE_AWAY
from resilience.protocol.server.room import Room
from resilience.quiz.game import Game, QuizState
from resilience.quiz.phases import Phase
from resilience.quiz.plan import QuizPlan
from resilience.quiz.verdicts import AnswerVerdict
from resilience.random_streams import random_for
from resilience.runtime import RecordSink, RunClock
from resilience.server.committer import CommitRequest
from resilience.server.hub import Hub
from resilience.server.lease_claim import LeaseClaim
from resilience.server.store import RunExistsError, RunLease, Store, StoredEvent, StoredRunHeader
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

    ``new_id`` and ``new_token`` are those of :class:`~resilience.protocol.server.room.Room`. ``runs`` makes names of
    runs that were never used before; ``origin`` is the wall time of the run clock's zero; ``fenced`` is called with a
    hub that may write no more, and calls :meth:`recover`.

    ``hubs`` has the events that run here, ``elsewhere`` those that another server has recovered, ``recovering`` those
    that this one reads again as soon as the database answers.
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
        self._crowd = ServerCrowd()
        self.elsewhere: set[str] = set()
        self.recovering: set[str] = set()
        self._config, self._store, self._clock, self._origin = config, store, clock, origin
        self._log, self._flush, self._submit, self._off_loop = log, flush, submit, off_loop
        self._new_id, self._new_token, self._runs, self._on_fenced = new_id, new_token, runs, fenced
        self._owners = OwnerWatch(store.owner)
        self._planned: set[str] = set()
        self._is_over = False
        self._creating: dict[str, str] = {}
        self._started: list[tuple[Record, StoredEvent | None]] = []

    # at the start -----------------------------------------------------------------------------------------------------

    async def open(self, specs: Sequence[EventSpec], *, fresh: bool = False) -> None:
        """Resume every run that is not over and begin the planned events that have none; ``fresh`` begins them again.

        Runs that were not planned and that have another server, or may have one, are left to it: see :meth:`keep_runs`.
        Each event is read whole once, after its lease is acquired.
        """
        self._planned = {spec.event for spec in specs}
        for spec in specs:
            if fresh or not await self._resume_newest(spec):
                await self._begin(spec, fresh=fresh)
        for run in await self._off_loop(self._store.unfinished):
            if run.event not in self.hubs and self._owners.is_free(run):
                await self._resume(_claim_of(run), run.event, 1)
            elif run.event not in self.hubs:
                self.elsewhere.add(run.event)

    @property
    def missing(self) -> list[str]:
        """The planned events that another server serves."""
        return sorted(self._planned & self.elsewhere)

    def activate(self) -> None:
        """Log what :meth:`open` did and start the rooms: the server listens now, and absences count from now."""
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
        """Open an event for the host on connection ``by``; a repetition with the same plan is harmless.

        A finished event that it replaces is retired once its successor is stored.
        Raises UsageError when the event cannot be created, StoreError when it could not be stored.
        """
        hub = self.hubs.get(event)
        if event in self.elsewhere:
            raise UsageError(f"event {event!r} is served by another server of this database")
        if hub is not None and not _is_over(hub):
            if hub.room.game.questions == plan.questions and hub.room.game.pace == plan.pace:
                return
            raise UsageError(f"event {event!r} is under way with other questions; finish it, or choose another name")
        if event in self.recovering:
            raise UsageError(f"event {event!r} is being recovered from the database; try again")
        if event in self._creating:
            raise UsageError(f"event {event!r} is just being created; try again")
        spec = EventSpec(event, plan, self._runs())
        self._creating[event] = replaced = self._event_to_replace() if hub is None else event
        try:
            lease = await self._store_run(spec, await self._finished_run(event))
        except RunExistsError as error:
            raise UsageError(f"{error}; try again") from error
        finally:
            del self._creating[event]
        if self._is_over:
            raise UsageError("this server stops")
        if replaced in self.hubs:
            self._retire(replaced, keep=by if replaced == event else 0)
        self._add(spec, lease)
        self.activate()

    async def _finished_run(self, event: str) -> str | None:
        """The newest run of an event that is to be created, which must be over; ``None`` if there is none."""
        run: StoredRunHeader | None = await self._off_loop(self._store.newest_run, event, self._origin)
        if run is not None and event not in self.hubs and run.progress.phase is not Phase.FINISHED:
            raise UsageError(f"event {event!r} is served by another server of this database")
        return None if run is None else run.lease.key

    def _event_to_replace(self) -> str:
        """The finished event that makes room for one more, the one that is over longest; empty if none needs to go.

        Events that are just being created, and those that they replace, are taken into account.
        """
        taken = set(self._creating.values())
        if len(self.hubs.keys() - taken) + len(self.recovering) + len(self._creating) < self._config.max_events:
            return ""
        over = [event for event, hub in self.hubs.items() if _is_over(hub) and event not in taken]
        if not over:
            raise UsageError(f"this server runs {len(self.hubs)} events already, as many as max_events allows")
        return min(over, key=lambda event: self.hubs[event].room.game.progress.since)

    def _retire(self, event: str, keep: int = 0) -> None:
        hub = self.hubs.pop(event)
        hub.close_all(CloseCode.NORMAL, lambda _: "the event is over", keep=keep)
        hub.abandon()

    # among other servers ----------------------------------------------------------------------------------------------

    async def keep_runs(self) -> None:
        """Give a sign of life for the runs served here, and take over those whose server has gone.

        Called every ``RENEWAL_INTERVAL_S`` where servers may share the database. Raises StoreError.
        """
        leases = {hub.lease: hub for hub in self.hubs.values()}
        for lease in await self._off_loop(self._store.renew, list(leases)):
            if self.hubs.get(leases[lease].room.event) is leases[lease]:
                self._fenced(leases[lease], FencedError((lease.key,)))
        runs = await self._off_loop(self._store.unfinished)
        busy = self.hubs.keys() | self._creating.keys() | self.recovering
        others = [run for run in runs if run.event not in busy]
        self.elsewhere = {run.event for run in others} | (self.elsewhere & self.recovering)
        for run in self._owners.observe(others, self._clock.now()):
            if run.event in self.elsewhere and not self._is_over:
                await self._take_over(run)

    async def release(self) -> None:
        """Leave the runs served here to whichever server asks for them first. Raises StoreError."""
        await self._off_loop(self._store.release, [hub.lease for hub in self.hubs.values()])

    def close(self) -> None:
        """Open and take over nothing more: the server stops."""
        self._is_over = True

    async def _take_over(self, run: OwnedRun) -> None:
        if await self._resume(_claim_of(run), run.event, 1):
            self.elsewhere.discard(run.event)
            self.activate()

    # when the database says no ----------------------------------------------------------------------------------------

    async def recover(self, hub: Hub) -> None:
        """This server may no longer write for a run: read the run again, unless another server has it now.

        Returns when the database has answered; until then it is asked again and again.
        """
        event = hub.room.event
        if self.hubs.get(event) is not hub:
            return
        del self.hubs[event]
        self.recovering.add(event)
        unsaved = hub.room.unsaved_rows(self._clock.now())
        hub.abandon()
        try:
            is_here = await self._until_answered(LeaseClaim(hub.lease), event, unsaved)
        finally:
            self.recovering.discard(event)
        if is_here:
            self.elsewhere.discard(event)
            self.activate()
        else:
            self.elsewhere.add(event)

    async def _until_answered(self, claim: LeaseClaim, event: str, unsaved: Sequence[Row]) -> bool:
        """Recover a run, and store first what its room had not; returns whether it is this server's."""
        draw, attempt = random_for(claim.lease.incarnation, claim.lease.key), 0
        while True:
            try:
                return await self._recover_once(claim, event, unsaved)
            except StoreError as error:
                self._log(Record(LogEventKind.COMMIT_FAILED, self._clock.now(), cause=str(error), value=0.0))
            await asyncio.sleep(database_retry_delay(attempt, draw("recovery", 0, attempt)))
            attempt += 1

    async def _recover_once(self, claim: LeaseClaim, event: str, unsaved: Sequence[Row]) -> bool:
        run = await self._off_loop(self._store.newest_run, event, self._origin)
        if run is None or not claim.covers(run.lease):
            return False
        return await self._resume(claim, event, 1, unsaved)

    # making hubs ------------------------------------------------------------------------------------------------------

    async def _begin(self, spec: EventSpec, *, fresh: bool) -> None:
        """Begin a run of a planned event; of two servers that start at one moment the second resumes the first's."""
        newest = await self._off_loop(self._store.newest_run, spec.event, self._origin)
        try:
            lease = await self._store_run(spec, None if newest is None else newest.lease.key)
        except RunExistsError:
            if not await self._resume_newest(spec):
                await self._begin(spec, fresh=fresh)
        else:
            self._add(spec, lease)

    async def _store_run(self, spec: EventSpec, newest: str | None) -> RunLease:
        lease = RunLease(f"{spec.event}#{spec.run}", 1)
        now = self._clock.now()
        await self._off_loop(self._store.create_event, lease, spec.event, spec.plan, self._origin, now, newest)
        return lease

    def _add(self, spec: EventSpec, lease: RunLease) -> None:
        self._hub(spec.event, lease, spec.plan, spec.seed)
        self._note(spec.event, FRESH)

    async def _resume_newest(self, spec: EventSpec) -> bool:
        """Take over the newest run of a planned event; returns whether there was one to continue."""
        run = await self._off_loop(self._store.newest_run, spec.event, self._origin)
        if run is None or not is_resumable(run, self._clock.now(), self._config.cleanup_interval):
            return False
        if not await self._resume(LeaseClaim(run.lease), spec.event, spec.seed):
            self.elsewhere.add(spec.event)
        return True

    async def _resume(self, claim: LeaseClaim, event: str, seed: int, unsaved: Sequence[Row] = ()) -> bool:
        """Acquire the lease of a run, store what its room had not, and read it.

        ``False`` if another server was faster, or has begun a newer run.
        """
        lease = await self._off_loop(claim.acquire, self._store)
        if unsaved:
            await self._off_loop(self._store.commit, [(lease, row) for row in unsaved], self._origin)
        stored = await self._off_loop(self._store.latest, event, self._origin)
        if stored.lease != lease or event in self.hubs:
            return False
        hub = self._hub(event, lease, stored.plan, seed)
        hub.room.game.restore(clamp_to_now(stored.progress, self._clock.now()), stored.answers)
        self._note(event, RECOVERED, stored)
        return True

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
            crowd=self._crowd,
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
        """Log the stored answers to the last questions: a killed server may have committed them without a log line."""
        last = {question.id for question in stored.plan.questions[: stored.progress.index + 1][-RECENT_QUESTIONS:]}
        for answer in stored.answers:
            if answer.question in last:
                ref, won = answer.ref, float(answer.points)
                accepted = AnswerVerdict.ACCEPTED
                self._log(
                    Record(LogEventKind.ANSWER_RECOVERED, now, answer.participant, outcome=accepted, value=won, ref=ref)
                )

    def _fenced(self, hub: Hub, error: FencedError) -> None:
        if isinstance(error, RecoveryNeededError):
            hub.close_all(CloseCode.TRY_AGAIN_LATER, lambda _: DATABASE_AWAY)
        else:
            hub.close_all(CloseCode.SERVICE_RESTART, lambda _: "retry_after=1.0 the event moves to another server")
        self._on_fenced(hub)


def _claim_of(run: OwnedRun) -> LeaseClaim:
    """The claim on a run that another server had; whichever lease is its last is replaced."""
    return LeaseClaim(RunLease(run.key, 0))


def is_resumable(run: StoredRunHeader, now: Instant, retention: Seconds) -> bool:
    """Whether a run is under way, or over for less than ``retention``: participants may return to see the end."""
    game = Game(run.plan.questions, run.plan.pace)
    game.restore(run.progress, ())
    while game.phase_ends_at is not None and game.phase_ends_at <= now:
        game.advance()
    return game.phase is not Phase.FINISHED or now - game.progress.since <= retention


def clamp_to_now(progress: QuizState, now: Instant) -> QuizState:
    """The stored state of a quiz; a phase of the future was timed by a clock that was set back: it begins now."""
    ahead = max(progress.since - now, 0.0)
    return msgspec.structs.replace(
        progress,
        since=progress.since - ahead,
        opened_at=progress.opened_at - ahead,
        closes_at=progress.closes_at - ahead,
        ends_at=None if progress.ends_at is None else progress.ends_at - ahead,
    )


def _is_over(hub: Hub) -> bool:
    return hub.room.game.phase is Phase.FINISHED


def states_of(hubs: Mapping[str, Hub]) -> dict[str, int]:
    """Participants by connection state, over all events."""
    total: dict[str, int] = {}
    for hub in hubs.values():
        for state, count in hub.room.states().items():
            total[state] = total.get(state, 0) + count
    return total

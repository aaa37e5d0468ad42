"""The store of a virtual run whose server is never replaced: the rows of a commit in memory, without SQL.

Keeps the rules of the database that a sound server can meet: a commit is written whole or not at all, a void lease is
rejected, one answer for each participant and question, no row takes back a step. Times are kept as the database keeps
them, seconds since 1970, so that what is read back is rounded in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from resilience.errors import FencedError, StoreError
from resilience.policy.run_owners import OwnedRun
from resilience.protocol.effects import DeleteParticipant, JoinAttempt, Row, SessionRow
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.plan import QuizPlan
from resilience.server.store import ANY_RUN, RunExistsError, RunLease, StoredEvent, StoredRunHeader
from resilience.units import Instant

MOST_TOKENS = 2
"""The columns for token hashes that a participant's row has."""


@dataclass
class _RunRows:
    """The rows of one run of an event, with wall times."""

    key: str
    event: str
    plan: QuizPlan
    incarnation: int
    created_at: float
    progress: QuizState
    owner: str = ""
    renewals: int = 0
    sessions: dict[str, SessionRow] = field(default_factory=dict)
    scores: dict[str, int] = field(default_factory=dict)
    answers: dict[tuple[str, str], StoredAnswer] = field(default_factory=dict)

    @property
    def lease(self) -> RunLease:
        return RunLease(self.key, self.incarnation)

    def write(self, rows: Sequence[Row], origin: float) -> None:
        """One commit in the order of the database's statements: states, deletions, sessions, answers, points."""
        sessions: dict[str, SessionRow] = {}
        gone: list[str] = []
        answers: list[StoredAnswer] = []
        for row in rows:
            match row:
                case SessionRow():
                    sessions[row.participant] = row
                case StoredAnswer():
                    answers.append(row)
                case QuizState():
                    self._write_progress(row, origin)
                case DeleteParticipant():
                    sessions.pop(row.participant, None)
                    gone.append(row.participant)
                case JoinAttempt():
                    pass  # nothing reads the join log of a run
        for participant in gone:
            self.sessions.pop(participant, None)
            self.scores.pop(participant, None)
        for session in sessions.values():
            self._write_session(session, origin)
        for answer in answers:
            self._write_answer(answer, origin)

    def _write_progress(self, state: QuizState, origin: float) -> None:
        if state.step >= self.progress.step:
            self.progress = _moved_state(state, origin)

    def _write_session(self, row: SessionRow, origin: float) -> None:
        stored = self.sessions.get(row.participant)
        self.scores.setdefault(row.participant, 0)
        self.sessions[row.participant] = msgspec.structs.replace(
            row,
            name=row.name if stored is None else stored.name,
            token_hashes=row.token_hashes[:MOST_TOKENS],
            last_heard=row.last_heard + origin,
        )

    def _write_answer(self, row: StoredAnswer, origin: float) -> None:
        self.answers[row.participant, row.question] = msgspec.structs.replace(row, received_at=row.received_at + origin)
        if row.points and row.participant in self.scores:
            self.scores[row.participant] += row.points

    def header(self, origin: float) -> StoredRunHeader:
        """What precedes the participants."""
        return StoredRunHeader(self.lease, self.event, self.plan, _moved_state(self.progress, -origin))

    def whole(self, origin: float) -> StoredEvent:
        """Everything, in the order of the database."""
        sessions = [msgspec.structs.replace(row, last_heard=row.last_heard - origin) for row in self.sessions.values()]
        answers = [msgspec.structs.replace(row, received_at=row.received_at - origin) for row in self.answers.values()]
        return StoredEvent(
            self.lease,
            self.event,
            self.plan,
            _moved_state(self.progress, -origin),
            tuple(sorted(sessions, key=lambda row: row.participant)),
            tuple(sorted(answers, key=_by_time)),
        )


class MemoryStore:
    """A :class:`~resilience.server.store.Store` of one server that shares it with none."""

    owner = ""

    def __init__(self) -> None:
        self._runs: dict[str, _RunRows] = {}

    def create_event(  # noqa: PLR0913, PLR0917 - as the store's own
        self,
        lease: RunLease,
        event: str,
        plan: QuizPlan,
        origin: float,
        at: Instant = 0.0,
        newest: str | None = ANY_RUN,
    ) -> None:
        """Create a run, in the lobby since ``at``, after the run ``newest``."""
        found = self._newest(event)
        if newest not in (ANY_RUN, None if found is None else found.key) or lease.key in self._runs:
            raise RunExistsError(f"another server has created event {event}")
        state = _moved_state(QuizState(since=at), origin)
        self._runs[lease.key] = _RunRows(lease.key, event, plan, lease.incarnation, at + origin, state)

    def newest_run(self, event: str, origin: float) -> StoredRunHeader | None:
        """The newest run of an event without its participants."""
        found = self._newest(event)
        return None if found is None else found.header(origin)

    def latest(self, event: str, origin: float) -> StoredEvent | None:
        """The newest run of an event, whole."""
        found = self._newest(event)
        return None if found is None else found.whole(origin)

    def unfinished(self) -> list[OwnedRun]:
        """The newest runs that have not finished, with their owners, the longest running first."""
        newest = {run.event: run for run in self._runs.values()}.values()
        open_runs = sorted((run.created_at, run.key, run) for run in newest if run.progress.phase is not Phase.FINISHED)
        return [OwnedRun(run.event, run.key, run.owner, run.renewals) for _, _, run in open_runs]

    def renew(self, leases: Sequence[RunLease]) -> list[RunLease]:
        """Count a sign of life of these runs; returns the leases that are void by now."""
        valid = [lease for lease in leases if self._is_valid(lease)]
        for lease in valid:
            self._runs[lease.key].renewals += 1
        return [lease for lease in leases if lease not in valid]

    def release(self, leases: Sequence[RunLease]) -> None:
        """Do nothing: the only server gives its runs up to none."""

    def acquire_lease(self, key: str) -> RunLease:
        """Become the run's server."""
        if key not in self._runs:
            raise StoreError(f"the database has no run {key} to recover")
        run = self._runs[key]
        run.incarnation += 1
        run.renewals += 1
        return run.lease

    def commit(self, rows: Sequence[tuple[RunLease, Row]], origin: float) -> None:
        """Write the rows, or raise before anything is written."""
        by_run: dict[RunLease, list[Row]] = {}
        for lease, row in rows:
            by_run.setdefault(lease, []).append(row)
        if void := {lease.key for lease in by_run if not self._is_valid(lease)}:
            raise FencedError(tuple(sorted(void)))
        for lease, mine in by_run.items():
            _require_new_answers(self._runs[lease.key], mine)
        for lease, mine in by_run.items():
            self._runs[lease.key].write(mine, origin)

    def scores(self, key: str) -> dict[str, int]:
        """``total_score`` as stored, by participant, in the order of their ids."""
        return dict(sorted(self._runs[key].scores.items())) if key in self._runs else {}

    def close(self) -> None:
        """Do nothing: the rows live as long as this object."""

    def _newest(self, event: str) -> _RunRows | None:
        return next((run for run in reversed(self._runs.values()) if run.event == event), None)

    def _is_valid(self, lease: RunLease) -> bool:
        return lease.key in self._runs and self._runs[lease.key].incarnation == lease.incarnation


def _require_new_answers(run: _RunRows, rows: Sequence[Row]) -> None:
    """Raise the error of a primary key: a participant answers a question once."""
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if isinstance(row, StoredAnswer):
            place = (row.participant, row.question)
            if place in seen or place in run.answers:
                raise StoreError(f"the database rejected a commit: {row.participant} has answered {row.question}")
            seen.add(place)


def _moved_state(state: QuizState, by: float) -> QuizState:
    """The state with each instant later by so many seconds."""
    return msgspec.structs.replace(
        state,
        since=state.since + by,
        opened_at=state.opened_at + by,
        closes_at=state.closes_at + by,
        ends_at=None if state.ends_at is None else state.ends_at + by,
    )


def _by_time(answer: StoredAnswer) -> tuple[Any, ...]:
    return answer.received_at, answer.participant, answer.question

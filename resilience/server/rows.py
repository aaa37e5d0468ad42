"""Converts values to rows and back, and holds the statements for them. Executes nothing.

In memory a time is seconds on the server's run clock, in the database seconds since 1970; ``origin`` is the difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import RowMapping, Select, Update, bindparam, func, select
from sqlalchemy.dialects import sqlite

from resilience.protocol.effects import JoinAttempt, SessionRow
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.plan import Pace, QuizPlan
from resilience.quiz.questions import Question
from resilience.server.schema import ANSWERS, EVENTS, JOIN_ATTEMPTS, PARTICIPANTS, QUESTIONS
from resilience.units import Instant

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

Stored = RowMapping
"""A row as it was read, by column."""

Tuple = tuple[Any, ...]
"""A row to write, in the order of its statement's parameters."""

# --- statements of a commit, whose parameters are in the order of the tuples below ------------------------------------

INSERT_ANSWER = ANSWERS.insert()
INSERT_ATTEMPT = (
    JOIN_ATTEMPTS.insert()
    .inline()
    .values({column.name: bindparam(column.name) for column in JOIN_ATTEMPTS.columns if column.name != "id"})
)
ADD_POINTS = (
    PARTICIPANTS.update()
    .where(PARTICIPANTS.c.event == bindparam("run"), PARTICIPANTS.c.participant == bindparam("who"))
    .values(total_score=PARTICIPANTS.c.total_score + bindparam("won"))
)
FORGET = PARTICIPANTS.delete().where(
    PARTICIPANTS.c.event == bindparam("run"), PARTICIPANTS.c.participant == bindparam("who")
)


def select_lease(dialect: str) -> Select[Any]:
    """A run's incarnation; on PostgreSQL also the transaction's number and the start of the server process.

    The row is locked until the transaction ends.
    """
    transaction = (func.txid_current(), func.pg_postmaster_start_time()) if dialect == "postgresql" else ()
    return select(EVENTS.c.incarnation, *transaction).where(EVENTS.c.id == bindparam("run")).with_for_update(read=True)


def upsert_participant(dialect: str) -> postgresql.Insert | sqlite.Insert:
    """Write a participant's row, replacing the stored one; the name and the score stay unchanged."""
    insert = _postgresql_insert() if dialect == "postgresql" else sqlite.insert(PARTICIPANTS)
    kept = ("event", "participant", "name", "total_score")
    fresh = {c.name: insert.excluded[c.name] for c in PARTICIPANTS.columns if c.name not in kept}
    return insert.on_conflict_do_update(index_elements=["event", "participant"], set_=fresh)


def _postgresql_insert() -> postgresql.Insert:
    from sqlalchemy.dialects.postgresql import insert  # noqa: PLC0415 - a server on SQLite starts sooner without it

    return insert(PARTICIPANTS)


def participant(key: str, row: SessionRow, origin: float) -> Tuple:
    """Parameters of :func:`upsert_participant`."""
    hashes = row.token_hashes
    return (
        key,
        row.participant,
        row.name,
        row.instance,
        row.confirmed,
        row.join_status,
        row.connection_no,
        row.generation,
        hashes[0],
        hashes[1] if len(hashes) > 1 else None,
        0,
        row.last_heard + origin,
    )


def answer(key: str, row: StoredAnswer, origin: float) -> Tuple:
    """Parameters of ``INSERT_ANSWER``."""
    return (key, row.participant, row.question, row.key, row.choice, row.received_at + origin, row.points)


def add_points_params(key: str, row: StoredAnswer) -> Tuple:
    """Parameters of ``ADD_POINTS``."""
    return (row.points, key, row.participant)


def attempt(key: str, row: JoinAttempt, origin: float) -> Tuple:
    """Parameters of ``INSERT_ATTEMPT``."""
    return (key, row.participant, row.outcome, row.at + origin)


# --- statements for one event -----------------------------------------------------------------------------------------


def update_progress(key: str, progress: QuizState, origin: float) -> Update:
    """Write the state of a quiz, unless a later step is stored."""
    not_later = (EVENTS.c.id == key) & (EVENTS.c.step <= progress.step)
    return EVENTS.update().where(not_later).values(progress_columns(progress, origin))


def newest_run(event: str) -> Select[Any]:
    """The event's newest run."""
    return select(EVENTS).where(EVENTS.c.event == event).order_by(EVENTS.c.run_no.desc()).limit(1)


def unfinished_runs() -> Select[Any]:
    """Event, key, owner and renewals of each newest run that has not finished, oldest run first."""
    newest = select(EVENTS.c.event, func.max(EVENTS.c.run_no).label("run_no")).group_by(EVENTS.c.event).subquery()
    is_newest = (EVENTS.c.event == newest.c.event) & (EVENTS.c.run_no == newest.c.run_no)
    columns = (EVENTS.c.event, EVENTS.c.id, EVENTS.c.owner, EVENTS.c.renewals)
    open_runs = select(*columns).join(newest, is_newest).where(EVENTS.c.phase != Phase.FINISHED.value)
    return open_runs.order_by(EVENTS.c.created_at, EVENTS.c.id)


def acquire(key: str, owner: str) -> Update:
    """Make a server the owner of a run."""
    values = {"incarnation": EVENTS.c.incarnation + 1, "renewals": EVENTS.c.renewals + 1, "owner": owner}
    return EVENTS.update().where(EVENTS.c.id == key).values(values)


def renew(key: str, incarnation: int) -> Update:
    """Count a sign of life of a run's owner, if it is still its owner."""
    is_valid = (EVENTS.c.id == key) & (EVENTS.c.incarnation == incarnation)
    return EVENTS.update().where(is_valid).values(renewals=EVENTS.c.renewals + 1)


def release(key: str, incarnation: int) -> Update:
    """Leave a run without an owner, if the lease is still valid."""
    is_valid = (EVENTS.c.id == key) & (EVENTS.c.incarnation == incarnation)
    return EVENTS.update().where(is_valid).values(owner="")


def event_row(  # noqa: PLR0913, PLR0917 - a run and when it begins
    key: str, event: str, number: int, plan: QuizPlan, origin: float, at: Instant
) -> dict[str, Any]:
    """The row of the event's run of this number that begins ``at``, without its incarnation and owner."""
    return {
        "id": key,
        "event": event,
        "run_no": number,
        "title": plan.title,
        "pace": msgspec.json.encode(plan.pace).decode(),
        "created_at": at + origin,
        **progress_columns(QuizState(since=at), origin),
    }


def question_rows(key: str, questions: Iterable[Question]) -> list[dict[str, Any]]:
    """One row for each question."""
    return [
        {"event": key, "id": question.id, "position": i, "body": msgspec.json.encode(question).decode()}
        for i, question in enumerate(questions)
    ]


def progress_columns(progress: QuizState, origin: float) -> dict[str, Any]:
    """The state of a quiz as columns of its event."""
    return {
        "phase": progress.phase.value,
        "question_index": progress.index,
        "step": progress.step,
        "phase_since": progress.since + origin,
        "opened_at": progress.opened_at + origin,
        "closes_at": progress.closes_at + origin,
        "phase_ends_at": None if progress.ends_at is None else progress.ends_at + origin,
    }


# --- back to values ---------------------------------------------------------------------------------------------------


def to_progress(row: Stored, origin: float) -> QuizState:
    """The quiz state in a row of ``events``."""
    ends_at = row["phase_ends_at"]
    return QuizState(
        phase=Phase(row["phase"]),
        index=row["question_index"],
        step=row["step"],
        since=row["phase_since"] - origin,
        opened_at=row["opened_at"] - origin,
        closes_at=row["closes_at"] - origin,
        ends_at=None if ends_at is None else ends_at - origin,
    )


def to_plan(row: Stored, questions: Iterable[Stored]) -> QuizPlan:
    """The plan in a row of ``events`` and its questions in order."""
    return QuizPlan(
        questions=tuple(msgspec.json.decode(question["body"], type=Question) for question in questions),
        title=row["title"],
        pace=msgspec.json.decode(row["pace"], type=Pace),
    )


def to_session(row: Stored, origin: float) -> SessionRow:
    """The session in a row of ``event_participants``."""
    previous = row["previous_token_hash"]
    return SessionRow(
        participant=row["participant"],
        name=row["name"],
        join_status=row["join_status"],
        connection_no=row["connection_no"],
        generation=row["generation"],
        token_hashes=(row["token_hash"],) if previous is None else (row["token_hash"], previous),
        instance=row["instance"],
        confirmed=row["confirmed"],
        last_heard=row["last_heartbeat"] - origin,
    )


def to_answer(row: Stored, origin: float) -> StoredAnswer:
    """The answer in a row of ``answers``."""
    return StoredAnswer(
        participant=row["participant"],
        question=row["question"],
        key=row["key"],
        choice=row["choice"],
        received_at=row["received_at"] - origin,
        points=row["points"],
    )


def questions_of(key: str) -> Select[Any]:
    """A run's questions, in their order."""
    return select(QUESTIONS).where(QUESTIONS.c.event == key).order_by(QUESTIONS.c.position)


def rows_of(key: str) -> tuple[Select[Any], Select[Any], Select[Any]]:
    """A run's questions, participants and answers."""
    return (
        questions_of(key),
        select(PARTICIPANTS).where(PARTICIPANTS.c.event == key),
        select(ANSWERS).where(ANSWERS.c.event == key),
    )

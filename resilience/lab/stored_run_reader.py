"""Reads a run straight from the database's tables, past all code that wrote them. Changes nothing.

Apart from the values, so that analysing a stored run needs no database library.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, RowMapping, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from resilience.errors import HarnessError
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.plan import Pace, QuizPlan
from resilience.quiz.questions import Question

from .stored_run import StoredRun

_NEWEST = "SELECT * FROM events WHERE event = :event ORDER BY run_no DESC LIMIT 1"
_QUESTIONS = "SELECT body FROM questions WHERE event = :run ORDER BY position"
_SCORES = "SELECT participant, total_score FROM event_participants WHERE event = :run"
_ANSWERS = "SELECT participant, question, key, choice, received_at, points FROM answers WHERE event = :run"


def read_stored_run(url: str, event: str, origin: float) -> StoredRun:
    """Read it; ``origin`` is the wall time (seconds since 1970) of the run clock's zero. HarnessError when it fails."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    engine = create_engine(parsed)
    try:
        with engine.connect() as connection:
            return _read(connection, event, origin)
    except SQLAlchemyError as error:
        raise HarnessError(f"the database cannot be read: {type(error).__name__}") from error
    finally:
        engine.dispose()


def _read(connection: Connection, event: str, origin: float) -> StoredRun:
    run = connection.execute(text(_NEWEST), {"event": event}).mappings().one_or_none()
    if run is None:
        raise HarnessError(f"the database has no run of event {event!r}")
    key = {"run": run["id"]}
    questions = tuple(msgspec.json.decode(body, type=Question) for body in connection.scalars(text(_QUESTIONS), key))
    plan = QuizPlan(questions, run["title"], msgspec.json.decode(run["pace"], type=Pace))
    scores = {who: score for who, score in connection.execute(text(_SCORES), key)}  # noqa: C416 - rows are no tuples
    answers = tuple(_answer(row, origin) for row in connection.execute(text(_ANSWERS), key).mappings())
    return StoredRun(plan, _state(run, origin), scores, answers, run["incarnation"])


def _state(run: RowMapping, origin: float) -> QuizState:
    return QuizState(
        Phase(run["phase"]),
        run["question_index"],
        run["step"],
        run["phase_since"] - origin,
        run["opened_at"] - origin,
        run["closes_at"] - origin,
    )


def _answer(row: RowMapping, origin: float) -> StoredAnswer:
    received_at = row["received_at"] - origin
    return StoredAnswer(row["participant"], row["question"], row["key"], row["choice"], received_at, row["points"])

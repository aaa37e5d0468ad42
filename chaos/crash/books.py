"""Reads a run of an event straight from the tables, past all code that wrote them. Changes nothing."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, RowMapping, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from reports.durability_checks import StoredRun
from resilience.errors import HarnessError
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.plan import Pace, QuizPlan
from resilience.quiz.questions import Question

_NEWEST = "SELECT * FROM events WHERE event = :event ORDER BY run_no DESC LIMIT 1"
_QUESTIONS = "SELECT body FROM questions WHERE event = :run ORDER BY position"
_SCORES = "SELECT participant, total_score FROM event_participants WHERE event = :run"
_ANSWERS = "SELECT participant, question, key, choice, received_at, points FROM answers WHERE event = :run"


class Books(msgspec.Struct, frozen=True):
    """The newest run of an event, and how many servers had it."""

    stored: StoredRun
    incarnation: int


def read_books(url: str, event: str, origin: float) -> Books:
    """Read it; ``origin`` is the wall time of the run clock's zero. HarnessError when it cannot be read."""
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


def _read(connection: Connection, event: str, origin: float) -> Books:
    run = connection.execute(text(_NEWEST), {"event": event}).mappings().one_or_none()
    if run is None:
        raise HarnessError(f"the database has no run of event {event!r}")
    key = {"run": run["id"]}
    questions = tuple(msgspec.json.decode(body, type=Question) for body in connection.scalars(text(_QUESTIONS), key))
    plan = QuizPlan(questions, run["title"], msgspec.json.decode(run["pace"], type=Pace))
    scores = {who: score for who, score in connection.execute(text(_SCORES), key)}  # noqa: C416 - rows are no tuples
    answers = [_answer(row, origin) for row in connection.execute(text(_ANSWERS), key).mappings()]
    return Books(StoredRun(plan, _progress(run, origin), scores, answers), run["incarnation"])


def _progress(run: RowMapping, origin: float) -> QuizState:
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

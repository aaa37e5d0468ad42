"""What a server needs to recover a run: plan, quiz state, lease, and every time in seconds since 1970.

Runs of the old schema cannot be continued, because their quiz state was not stored: they are kept as finished. Their
answers were timed by a clock that began with the run, so its zero is assumed to be the run's creation time.
"""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

REBUILT = ("events", "questions", "event_participants", "answers")
COPIES = (
    "INSERT INTO questions (event, id, position, body) SELECT event, id, position, body FROM questions_0001",
    """
    INSERT INTO event_participants (event, participant, name, instance, confirmed, join_status, connection_no,
        generation, token_hash, previous_token_hash, total_score, last_heartbeat)
    SELECT event, participant, name, '', true, join_status, connection_no,
        generation, token_hash, previous_token_hash, total_score, last_heartbeat
    FROM event_participants_0001
    """,
    """
    INSERT INTO answers (event, participant, question, key, choice, received_at, points)
    SELECT a.event, a.participant, a.question, a.key, a.choice, e.created_at + a.received_at, a.points
    FROM answers_0001 AS a JOIN events_0001 AS e ON e.id = a.event
    """,
)


def upgrade() -> None:
    """Create the new tables next to the old ones, copy, drop: every database can do that in one transaction."""
    for table in REBUILT:
        op.rename_table(table, f"{table}_0001")
    events = _create_events()
    _create_questions()
    _create_participants()
    _create_answers()
    _copy_events(events)
    for statement in COPIES:
        op.execute(statement)
    for table in reversed(REBUILT):
        op.drop_table(f"{table}_0001")
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps neither comments nor the names of primary keys
        op.execute("ALTER TABLE join_attempts RENAME CONSTRAINT join_attempts_pkey TO pk_join_attempts")
        op.alter_column("join_attempts", "at", comment=None, existing_comment="seconds since 1970, UTC")


def _create_events() -> sa.Table:
    return op.create_table(
        "events",
        sa.Column("id", sa.String, nullable=False, comment="one run of an event: <event>#<run>"),
        sa.Column("event", sa.String, nullable=False),
        sa.Column(
            "run_no", sa.Integer, nullable=False, comment="1 for the event's first run; the newest is the greatest"
        ),
        sa.Column("incarnation", sa.Integer, nullable=False, comment="which of the run's servers may write"),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("pace", sa.String, nullable=False, comment="the pauses between questions, as JSON"),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("question_index", sa.Integer, nullable=False, comment="counted from 0; -1 before the first"),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("phase_since", sa.Float, nullable=False),
        sa.Column("opened_at", sa.Float, nullable=False),
        sa.Column("closes_at", sa.Float, nullable=False),
        sa.Column("phase_ends_at", sa.Float, comment="null: the host ends the phase"),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.UniqueConstraint("event", "run_no", name="uq_events_event_run_no"),
    )


def _create_questions() -> None:
    op.create_table(
        "questions",
        sa.Column("event", sa.String, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("body", sa.String, nullable=False, comment="the question as JSON, with its right answer"),
        sa.PrimaryKeyConstraint("event", "id", name="pk_questions"),
        sa.ForeignKeyConstraint(["event"], ["events.id"], name="fk_questions_event"),
    )


def _create_participants() -> None:
    op.create_table(
        "event_participants",
        sa.Column("event", sa.String, nullable=False),
        sa.Column("participant", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("instance", sa.String, nullable=False, comment="the client that joined"),
        sa.Column("confirmed", sa.Boolean, nullable=False, comment="known to hold its first token"),
        sa.Column("join_status", sa.String, nullable=False),
        sa.Column("connection_no", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("token_hash", sa.String, nullable=False),
        sa.Column("previous_token_hash", sa.String),
        sa.Column("total_score", sa.Integer, nullable=False),
        sa.Column("last_heartbeat", sa.Float, nullable=False, comment="the last sign of life when the row was written"),
        sa.PrimaryKeyConstraint("event", "participant", name="pk_event_participants"),
        sa.ForeignKeyConstraint(["event"], ["events.id"], name="fk_event_participants_event"),
    )
    index, columns = "ix_event_participants_event_token_hash", ["event", "token_hash"]
    op.create_index(index, "event_participants", columns, unique=True)


def _create_answers() -> None:
    op.create_table(
        "answers",
        sa.Column("event", sa.String, nullable=False),
        sa.Column("participant", sa.String, nullable=False),
        sa.Column("question", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("choice", sa.Integer, nullable=False),
        sa.Column("received_at", sa.Float, nullable=False),
        sa.Column("points", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("event", "participant", "question", name="pk_answers"),
        sa.ForeignKeyConstraint(["event"], ["events.id"], name="fk_answers_event"),
    )


def _copy_events(events: sa.Table) -> None:
    found = sa.text(
        "SELECT id, epoch, created_at, (SELECT count(*) FROM questions_0001 WHERE event = events_0001.id) AS questions"
        " FROM events_0001 ORDER BY created_at, id"
    )
    connection, runs = op.get_bind(), Counter[str]()
    for old in connection.execute(found).all():
        event = old.id.removesuffix(f"#{old.epoch}")
        runs[event] += 1
        times = dict.fromkeys(("phase_since", "opened_at", "closes_at", "created_at"), old.created_at)
        row = {"id": old.id, "event": event, "run_no": runs[event], "incarnation": 1, "title": "", "pace": "{}"}
        stands = {"phase": "finished", "question_index": old.questions - 1, "step": 0}
        connection.execute(events.insert().values({**row, **stands, **times}))

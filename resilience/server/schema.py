"""The tables as this version of the code knows them. Names and columns only; nothing here executes a statement.

Only the scripts in ``migrations`` create them; a test compares the two. Every time is seconds since 1970, UTC.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
)

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names of constraints, so that a later migration can refer to them on every database."""

METADATA = MetaData(naming_convention=NAMES)

EVENTS = Table(
    "events",
    METADATA,
    Column("id", String, primary_key=True, comment="one run of an event: <event>#<run>"),
    Column("event", String, nullable=False),
    Column("run_no", Integer, nullable=False, comment="1 for the event's first run; the newest is the greatest"),
    Column("incarnation", Integer, nullable=False, comment="which of the run's servers may write"),
    Column("title", String, nullable=False),
    Column("pace", String, nullable=False, comment="the pauses between questions, as JSON"),
    Column("phase", String, nullable=False),
    Column("question_index", Integer, nullable=False, comment="counted from 0; -1 before the first"),
    Column("step", Integer, nullable=False),
    Column("phase_since", Float, nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("closes_at", Float, nullable=False),
    Column("phase_ends_at", Float, comment="null: the host ends the phase"),
    Column("created_at", Float, nullable=False),
    Column("owner", String, nullable=False, server_default="", comment="the server that may write; empty: given up"),
    Column("renewals", Integer, nullable=False, server_default="0", comment="counts the owner's signs of life"),
    UniqueConstraint("event", "run_no"),
)

QUESTIONS = Table(
    "questions",
    METADATA,
    Column("event", ForeignKey("events.id"), primary_key=True),
    Column("id", String, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("body", String, nullable=False, comment="the question as JSON, with its right answer"),
)

PARTICIPANTS = Table(
    "event_participants",
    METADATA,
    Column("event", ForeignKey("events.id"), primary_key=True),
    Column("participant", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("instance", String, nullable=False, comment="the client that joined"),
    Column("confirmed", Boolean, nullable=False, comment="known to hold its first token"),
    Column("join_status", String, nullable=False),
    Column("connection_no", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("token_hash", String, nullable=False),
    Column("previous_token_hash", String),
    Column("total_score", Integer, nullable=False),
    Column("last_heartbeat", Float, nullable=False, comment="the last sign of life when the row was written"),
    Index(None, "event", "token_hash", unique=True),
)

ANSWERS = Table(
    "answers",
    METADATA,
    Column("event", ForeignKey("events.id"), nullable=False),
    Column("participant", String, nullable=False),
    Column("question", String, nullable=False),
    Column("key", String, nullable=False),
    Column("choice", Integer, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("points", Integer, nullable=False),
    PrimaryKeyConstraint("event", "participant", "question"),
)

JOIN_ATTEMPTS = Table(
    "join_attempts",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("event", String, nullable=False),
    Column("participant", String),
    Column("outcome", String, nullable=False),
    Column("at", Float, nullable=False),
)

"""The schema that was shipped before databases carried a version, as it was then: made by ``create_all``."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Integer, MetaData, String, Table, UniqueConstraint

METADATA = MetaData()

EVENTS = Table(
    "events",
    METADATA,
    Column("id", String, primary_key=True),
    Column("epoch", String, nullable=False),
    Column("created_at", Float, nullable=False, comment="seconds since 1970, UTC"),
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
    Column("join_status", String, nullable=False),
    Column("connection_no", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("token_hash", String, nullable=False, index=True),
    Column("previous_token_hash", String, index=True),
    Column("total_score", Integer, nullable=False, default=0),
    Column("last_heartbeat", Float, nullable=False, comment="seconds since 1970, UTC, as of the row's last change"),
)

ANSWERS = Table(
    "answers",
    METADATA,
    Column("event", ForeignKey("events.id"), nullable=False),
    Column("participant", String, nullable=False),
    Column("question", String, nullable=False),
    Column("key", String, nullable=False),
    Column("choice", Integer, nullable=False),
    Column("received_at", Float, nullable=False, comment="seconds on the server's run clock"),
    Column("points", Integer, nullable=False),
    UniqueConstraint("event", "participant", "question"),
)

JOIN_ATTEMPTS = Table(
    "join_attempts",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("event", String, nullable=False),
    Column("participant", String),
    Column("outcome", String, nullable=False),
    Column("at", Float, nullable=False, comment="seconds since 1970, UTC"),
)

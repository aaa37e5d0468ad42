"""The tables as they were before databases carried a version.

Such a database has them already, or some of them if its first start was cut short: only the missing ones are created.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the missing tables."""
    op.create_table(
        "events",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("epoch", sa.String, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False, comment="seconds since 1970, UTC"),
        if_not_exists=True,
    )
    op.create_table(
        "questions",
        sa.Column("event", sa.String, sa.ForeignKey("events.id"), primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("body", sa.String, nullable=False, comment="the question as JSON, with its right answer"),
        if_not_exists=True,
    )
    _create_participants()
    op.create_table(
        "answers",
        sa.Column("event", sa.String, sa.ForeignKey("events.id"), nullable=False),
        sa.Column("participant", sa.String, nullable=False),
        sa.Column("question", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("choice", sa.Integer, nullable=False),
        sa.Column("received_at", sa.Float, nullable=False, comment="seconds on the server's run clock"),
        sa.Column("points", sa.Integer, nullable=False),
        sa.UniqueConstraint("event", "participant", "question"),
        if_not_exists=True,
    )
    op.create_table(
        "join_attempts",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("participant", sa.String),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False, comment="seconds since 1970, UTC"),
        if_not_exists=True,
    )


def _create_participants() -> None:
    table = "event_participants"
    op.create_table(
        table,
        sa.Column("event", sa.String, sa.ForeignKey("events.id"), primary_key=True),
        sa.Column("participant", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("join_status", sa.String, nullable=False),
        sa.Column("connection_no", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("token_hash", sa.String, nullable=False),
        sa.Column("previous_token_hash", sa.String),
        sa.Column("total_score", sa.Integer, nullable=False),
        sa.Column("last_heartbeat", sa.Float, nullable=False, comment="seconds since 1970, UTC"),
        if_not_exists=True,
    )
    for column in ("token_hash", "previous_token_hash"):
        op.create_index(f"ix_{table}_{column}", table, [column], if_not_exists=True)

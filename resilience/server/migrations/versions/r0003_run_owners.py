"""Runs know which server serves them and whether it is alive."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the owner, unknown so far, and its signs of life."""
    comment = "the server that may write; empty: given up"
    op.add_column("events", sa.Column("owner", sa.String, nullable=False, server_default="", comment=comment))
    comment = "counts the owner's signs of life"
    op.add_column("events", sa.Column("renewals", sa.Integer, nullable=False, server_default="0", comment=comment))

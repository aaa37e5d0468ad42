"""Brings a database to the schema of this version: the scripts in ``versions``, run by Alembic. Forward only.

A server that restarts on its own database needs no script and loads no Alembic, which takes a fifth of the time until
it listens. Nothing else creates tables. To go back, restore a copy of the database. Revision 0001 is the schema that
was used before databases were versioned; such a database is recognised by its tables.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import Connection, func, inspect, select, text

from resilience.errors import StoreError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0003"

VERSION = sa.table("alembic_version", sa.column("version_num"))
"""Where Alembic keeps the revision of a database."""

UNVERSIONED = {
    "events": {"id", "epoch", "created_at"},
    "questions": {"event", "id", "position", "body"},
    "event_participants": {
        "event",
        "participant",
        "name",
        "join_status",
        "connection_no",
        "generation",
        "token_hash",
        "previous_token_hash",
        "total_score",
        "last_heartbeat",
    },
    "answers": {"event", "participant", "question", "key", "choice", "received_at", "points"},
    "join_attempts": {"id", "event", "participant", "outcome", "at"},
}
"""The columns of revision 0001, whose tables carry no version."""

LOCK = 7_081_442_190
"""The PostgreSQL advisory lock on which servers that start at once wait for each other."""

logging.getLogger("alembic").setLevel(logging.WARNING)
_one_at_a_time = threading.Lock()  # Alembic keeps the migration in progress in a variable of its module


def upgrade(connection: Connection, database: str) -> None:
    """Bring the database up to date within the connection's transaction. ``database`` names it in errors.

    Raises :class:`~resilience.errors.StoreError` for tables of a newer version or of another program.
    """
    if _revision(connection) == HEAD:
        return
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415

    with _one_at_a_time:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL lock_timeout = '60s'"))
            connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
        revision = _revision(connection)
        if revision == HEAD:
            return
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
        if revision is None:
            _recognise(connection, database)
        else:
            _require_known(revision, config, database)
        command.upgrade(config, HEAD)


def _revision(connection: Connection) -> str | None:
    """The revision of the database; ``None`` where none is noted. Several, which no version writes, are one string."""
    if not inspect(connection).has_table(VERSION.name):
        return None
    return ", ".join(sorted(connection.scalars(select(VERSION.c.version_num)))) or None


def _require_known(revision: str, config: Config, database: str) -> None:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see above

    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision not in known:
        raise StoreError(
            f"{database} has schema {revision}, and this version knows none newer than {HEAD}: "
            "use the version that created it, a newer one, or another database"
        )


def _recognise(connection: Connection, database: str) -> None:
    """Accept tables without a version only if they are those of revision 0001; its script creates the missing ones."""
    inspector = inspect(connection)
    for table in sorted(UNVERSIONED.keys() & set(inspector.get_table_names())):
        if {column["name"] for column in inspector.get_columns(table)} != UNVERSIONED[table]:
            raise StoreError(f"{database} has a table {table!r} that is not of this program: use another database")

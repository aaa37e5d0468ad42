"""Run by Alembic around the scripts, on the connection and in the transaction that :func:`upgrade` holds.

It shows Alembic no tables: a script must mean the same when the schema has moved on.
"""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()

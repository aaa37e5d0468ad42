"""Run by Alembic around the scripts, on the connection and in the transaction of :func:`upgrade`.

It passes Alembic no tables: a script must mean the same after the schema has changed.
"""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()

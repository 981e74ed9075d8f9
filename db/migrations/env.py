"""Alembic's environment: it runs the revisions on a URL of libpq's, each in a transaction of its own."""

import psycopg
from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from lib.conninfo import conninfo

url = conninfo(context.config.attributes["url"])
# psycopg connects, so that several hosts, options and TLS in the URL work as in the service.
engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
with engine.connect() as connection:
    connection.exec_driver_sql(f"SET lock_timeout = '{context.config.attributes['lock_timeout']}'")
    connection.commit()
    # CREATE INDEX CONCURRENTLY cannot run inside a transaction.
    context.configure(
        connection=connection,
        transaction_per_migration=True,
        on_version_apply=context.config.attributes["on_version_apply"],
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()

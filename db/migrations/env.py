"""How Alembic runs our revisions: on a URL that libpq reads, each in a transaction of its own."""

import psycopg
from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from lib.conninfo import conninfo

url = conninfo(context.config.attributes["url"])
# libpq connects, so that several hosts, options and TLS mean what they mean everywhere else.
engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
with engine.connect() as connection:
    # Whoever waits for a table keeps everybody behind them waiting: give up and try again later.
    connection.exec_driver_sql("SET lock_timeout = '5s'")
    connection.commit()
    # An index is built CONCURRENTLY, which no transaction may hold.
    context.configure(
        connection=connection,
        transaction_per_migration=True,
        on_version_apply=context.config.attributes["on_version_apply"],
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()

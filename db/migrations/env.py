"""Alembic's environment: it runs the revisions on the given connection, each in a transaction of its own."""

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

attributes = context.config.attributes
# psycopg has connected, so that several hosts, options and TLS in the URL work as in the service.
engine = create_engine("postgresql+psycopg://", creator=lambda: attributes["connection"], poolclass=StaticPool)
with engine.connect() as connection:
    # CREATE INDEX CONCURRENTLY cannot run inside a transaction.
    context.configure(
        connection=connection,
        transaction_per_migration=True,
        on_version_apply=attributes["on_version_apply"],
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()

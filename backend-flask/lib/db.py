"""Database access of a request for the routes: `pool`, `get_db`, and the query wrappers.

    from lib.db import pool, query_wrap_array

    with pool.connection() as connection:
        (json,) = connection.execute(query_wrap_array("SELECT users.handle FROM users").encode()).fetchone()

Services get a `Db`, which runs the queries of `db/sql` by name: `HomeActivities(get_db())`.
"""

from functools import partial
from typing import cast

from flask import Flask, current_app, g
from psycopg_pool import ConnectionPool
from werkzeug.local import LocalProxy

from lib.config import Config
from lib.database import Db
from lib.deadline import Deadline
from lib.local_proxy import unwrap
from lib.pool import Connection, DatabasePool
from lib.queries import query_wrap_array, query_wrap_object

__all__ = ["Db", "get_db", "pool", "query_wrap_array", "query_wrap_object"]


def init_app(app: Flask, config: Config) -> None:
    """Open the application's connection pool, in the background. Call this after the fork."""
    app.extensions["database_pool"] = DatabasePool(
        config.conninfo(), config.database_timeout, prepare=config.database_prepare == "on"
    )


def get_database_pool() -> DatabasePool:
    """Return the current application's connection pool with its circuit breaker."""
    return cast(DatabasePool, current_app.extensions["database_pool"])


def get_pool() -> "ConnectionPool[Connection]":
    """Return the current application's `psycopg_pool.ConnectionPool`."""
    return get_database_pool().pool


# A proxy for the current application's pool. Each worker process opens one, in create_app.
pool = cast("ConnectionPool[Connection]", LocalProxy(get_pool))


def get_db() -> Db:
    """Return the request's `Db`. A single deadline bounds all of its queries together."""
    state = unwrap(g)
    if "db" not in state:
        database_pool = get_database_pool()
        state.db = Db(partial(database_pool.connection, Deadline(database_pool.timeout)))
    return cast(Db, state.db)

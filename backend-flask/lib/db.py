"""Database access of a request for the routes: `pool`, `get_db`, and the query wrappers.

    from lib.db import pool, query_wrap_array

    with pool.connection() as connection:
        (json,) = connection.execute(query_wrap_array("SELECT users.handle FROM users").encode()).fetchone()

Services get a `Db`, which runs the queries of `db/sql` by name: `HomeActivities(get_db())`. With READ_CONNECTION_URL
standbys answer reads, and responses carry `Cruddur-Seen`.
"""

from functools import partial
from typing import Any, NamedTuple, cast

from flask import Flask, Response, current_app, g, request
from psycopg_pool import ConnectionPool
from werkzeug.local import LocalProxy

from lib.auth import sends_token
from lib.config import Config
from lib.consistency import Consistency, Floor, Seen
from lib.database import Db
from lib.deadline import Deadline
from lib.local_proxy import unwrap
from lib.pool import Connection, DatabasePool, PrimaryPool, StandbyPool
from lib.queries import query_wrap_array, query_wrap_object
from lib.replicated_database import ReplicatedDb, Servers

__all__ = ["Db", "get_db", "pool", "query_wrap_array", "query_wrap_object"]

SEEN = "Cruddur-Seen"
# The share of a request's deadline after which the primary is asked in place of a silent standby.
STANDBY_SHARE = 0.75


class Replication(NamedTuple):
    """The pools of a process for a primary and its standbys."""

    primary: PrimaryPool
    standby: StandbyPool
    floor: Floor


def init_app(app: Flask, config: Config) -> None:
    """Open the application's connection pools, in the background. Call this after the fork."""
    read_conninfo = config.read_conninfo()
    options: dict[str, Any] = {"timeout": config.database_timeout, "prepare": config.database_prepare == "on"}
    if read_conninfo is None:
        app.extensions["database_pool"] = DatabasePool(config.conninfo(), **options)
        return
    replication = Replication(PrimaryPool(config.conninfo(), **options), StandbyPool(read_conninfo, **options), Floor())
    app.extensions.update(database_pool=replication.primary, replication=replication)
    app.after_request(add_seen)


def pools(app: Flask) -> "list[ConnectionPool[Connection]]":
    """Return the application's connection pools: that of the primary, and that of the standbys where there are any."""
    replication = app.extensions.get("replication")
    return [each.pool for each in (replication[:2] if replication else [app.extensions["database_pool"]])]


def get_database_pool() -> DatabasePool:
    """Return the current application's connection pool with its circuit breaker."""
    return cast(DatabasePool, current_app.extensions["database_pool"])


def get_pool() -> "ConnectionPool[Connection]":
    """Return the current application's `psycopg_pool.ConnectionPool`."""
    return get_database_pool().pool


# A proxy for the current application's pool. Each worker process opens one, in create_app.
pool = cast("ConnectionPool[Connection]", LocalProxy(get_pool))


def get_db() -> Db:
    """Return the request's `Db`. A single deadline bounds all of its queries together, without calls to Cognito."""
    state = unwrap(g)
    if "db" not in state:
        database_pool, replication = get_database_pool(), current_app.extensions.get("replication")
        deadline = Deadline(database_pool.timeout)
        if replication is None:
            state.db = Db(partial(database_pool.connection, deadline))
            state.db.deadlines = (deadline,)
        else:
            state.db = replicated_db(replication, deadline)
    return cast(Db, state.db)


def replicated_db(replication: Replication, deadline: Deadline) -> ReplicatedDb:
    """Return the `Db` of a request where there are standbys.

    Without `Cruddur-Seen` only an anonymous read may ask a standby. The primary answers when the header is malformed.
    """
    header = request.headers.get(SEEN)
    seen = Seen.parse(header) if header is not None else None
    # A public view verifies no token. Its client may have written all the same.
    may_read_standby = request.method in {"GET", "HEAD"} and (seen or not sends_token(request))
    standby_deadline = Deadline(replication.standby.timeout * STANDBY_SHARE, within=deadline)
    servers = Servers(
        connect_primary=partial(replication.primary.connection, deadline),
        connect_standby=partial(replication.standby.connection, standby_deadline) if may_read_standby else None,
        is_standby_busier=lambda: replication.standby.in_use > replication.primary.in_use,
        drain=replication.standby.pool.drain,
        cluster=lambda: replication.primary.cluster,
    )
    db = ReplicatedDb(servers, Consistency(replication.floor, seen))
    db.deadlines = (deadline, standby_deadline)
    return db


def add_seen(response: Response) -> Response:
    """Add `Cruddur-Seen` to a response: what the request's statements have seen."""
    db = unwrap(g).get("db")
    if db is not None and db.seen is not None:
        response.headers[SEEN] = str(db.seen)
    return response

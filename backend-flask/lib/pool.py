"""Connections to Postgres, and the pool that lends them."""

import select
from functools import cached_property

import psycopg
from psycopg import Cursor, OperationalError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg.types.string import ByteaBinaryLoader
from psycopg_pool import ConnectionPool

# A worker process has this many threads, and a connection for each.
THREADS = 4
# How long a request waits for a connection, and the pool between two tries to make one, in seconds.
POOL_TIMEOUT = 2.0
# What a connection string leaves open. libpq alone would wait 130 s for a server that
# swallows packets, and for hours on a connection whose other end is gone.
DEFAULTS = {
    "fallback_application_name": "cruddur",
    "connect_timeout": "3",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "8000",
}


class Connection(psycopg.Connection[TupleRow]):
    """A connection that keeps a cursor for its statements: to make one, and what it knows of types, takes 6 us."""

    @cached_property
    def statements(self) -> Cursor[TupleRow]:
        """The cursor, whose values come in binary."""
        return self.cursor(binary=True)


def conninfo(url: str) -> str:
    """The connection string `url` with our defaults for what it leaves open."""
    return make_conninfo("", **{**DEFAULTS, **conninfo_to_dict(url)})


def open_pool(url: str) -> ConnectionPool[Connection]:
    """A pool of connections to `url`, opening in the background. For one process: not to be forked."""

    def check(connection: Connection) -> None:
        # A connection that idles has nothing to read, but for the news that the server has
        # ended it. Then the others have ended too, and trying each of them takes its time.
        # No round trip, unlike `ConnectionPool.check_connection`: 3 us.
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        if poll.poll(0):
            pool.drain()
            raise OperationalError("the server has closed this connection")

    pool = ConnectionPool(
        conninfo(url),
        connection_class=Connection,
        kwargs={"autocommit": True, "prepare_threshold": 0},
        configure=pass_json_on,
        check=check,
        min_size=THREADS,
        timeout=POOL_TIMEOUT,
        # Unless told, the pool waits longer with each try, and 23 s too long after an outage of 35.
        reconnect_timeout=POOL_TIMEOUT,
        reconnect_failed=lambda pool: pool.check(),
        open=False,
        name="cruddur",
    )
    pool.open()
    return pool


def pass_json_on(connection: Connection) -> None:
    """Have JSON come as the bytes that Postgres sent."""
    connection.adapters.register_loader("json", ByteaBinaryLoader)

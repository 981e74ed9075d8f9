"""The one way out: a connection pool, and queries by name whose JSON Postgres builds.

The JSON comes as bytes and stays bytes until it is in the socket. Reads run in
autocommit, one statement and one round trip each; statements that belong
together share a `transaction`.
"""

import select
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

from psycopg import Connection, OperationalError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg.types.string import ByteaBinaryLoader
from psycopg_pool import ConnectionPool

from lib.errors import NotFound
from lib.paging import FIRST_PAGE, Cursor, Json, Listing, Page, Position
from lib.queries import (
    Feed,
    Heading,
    array_statement,
    object_statement,
    page_statement,
    query_wrap_array,
    query_wrap_object,
    template,
)

__all__ = ["THREADS", "Db", "Feed", "Heading", "conninfo", "open_pool", "query_wrap_array", "query_wrap_object"]

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


class Db:
    """The queries of `db/sql`, run on connections that `connect` lends.

    Each method raises psycopg's errors, `OperationalError` above all: the database is away.
    """

    def __init__(self, connect: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._connect = connect

    def query_object(self, name: str, **parameters: Any) -> Json:
        """The one row of query `name` as a JSON object. Raises `NotFound` when there is none."""
        (json,) = self._row(object_statement(name), parameters)
        return cast(Json, json)

    def query_array(self, name: str, **parameters: Any) -> Listing:
        """The rows of query `name` as a JSON array."""
        json, length = self._row(array_statement(name), parameters)
        return Listing(json, length)

    def query_row(self, name: str, **parameters: Any) -> TupleRow:
        """The one row of query `name` as values, for what is no answer. Raises `NotFound` when there is none."""
        return self._row(template(name).encode(), parameters)

    def query_page(self, feed: Feed, page: Page, *, prepare: bool | None = None, **parameters: Any) -> Listing:
        """A page of `feed` as a JSON array or, with a heading that has keys, an object with it as a member.

        `prepare=False` has the statement planned anew for the values that it comes with.
        Raises `NotFound` when the heading has no row.
        """
        backwards = page.cursor is not None and page.cursor.backwards
        walk = feed.order.reversed if backwards else feed.order
        place = page.cursor.position if page.cursor else walk.start
        json, fetched, created_ats, uuids, ends_in = self._row(
            page_statement(feed, walk, usual=page.limit == FIRST_PAGE.limit),
            {**parameters, "limit": page.limit, "created_at": place.created_at, "uuid": place.uuid},
            prepare=prepare,
        )
        places = [Position(*place) for place in zip(created_ats or (), uuids or (), strict=True)]
        # Past the end of a feed nothing marks the way back: it leads from that end.
        first, last = (places[0], places[-1]) if places else (walk.reversed.start, None)
        behind = Cursor(not backwards, first) if page.cursor else None
        ahead = Cursor(backwards, last) if last and fetched > page.limit else None
        following, preceding = (behind, ahead) if backwards else (ahead, behind)
        return Listing(json, min(fetched, page.limit), following, preceding, ends_in)

    @contextmanager
    def transaction(self) -> Iterator["Db"]:
        """A `Db` whose statements happen all together, or, after an exception, not at all."""
        with self._connect() as connection, connection.transaction():
            yield Db(lambda: nullcontext(connection))

    def _row(self, statement: bytes, parameters: dict[str, Any], *, prepare: bool | None = None) -> TupleRow:
        with self._connect() as connection:
            row = connection.execute(statement, parameters, prepare=prepare, binary=True).fetchone()
        if row is None:
            raise NotFound
        return row


def conninfo(url: str) -> str:
    """The connection string `url` with our defaults for what it leaves open."""
    return make_conninfo("", **{**DEFAULTS, **conninfo_to_dict(url)})


def open_pool(url: str) -> ConnectionPool:
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

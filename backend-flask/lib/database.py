"""Database access for services: queries by name, whose JSON Postgres builds.

The service sends the JSON's bytes unchanged. Each read is one statement in autocommit, with one round trip;
statements that belong together share a `transaction`.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, cast
from uuid import UUID

import psycopg
from opentelemetry.trace import Span
from psycopg.rows import TupleRow

from lib import spans
from lib.consistency import Seen
from lib.deadline import Deadline
from lib.exceptions import DatabaseUnavailable, NotFound, Unauthorized, is_connection_error
from lib.pagination import FIRST_PAGE, Cursor, JSONBytes, Page, PageRequest
from lib.pool import Connection
from lib.queries import CURRENT_USER, PagedQuery, array_statement, is_read, load_sql, object_statement, page_statement

# The SQLSTATE of the function `admit`, which refuses deleted users.
USER_DELETED = "CR401"
# The servers of lib/replicated_database.py, as metrics and spans name them.
PRIMARY, STANDBY = "primary", "standby"

Connect = Callable[[], AbstractContextManager[Connection]]


class Server(NamedTuple):
    """A server of the database: how to connect, and the role that metrics and spans name where there are several.

    `check` raises an exception for a row that this server may not answer with.
    """

    connect: Connect
    role: str | None = None
    check: Callable[[Connection, TupleRow | None], None] | None = None


@dataclass(slots=True)
class Timings:
    """Seconds of one request's steps: waits for a connection (`pool`), queries (`db`), and those of standbys."""

    pool: float = 0.0
    db: float = 0.0
    standby: float = 0.0


class Db:
    """The queries of `db/sql`, run on the connections that `connect` acquires.

    Each method raises psycopg's errors, above all `OperationalError` when the database is away, and `Unauthorized` when
    the reader was deleted. Outside of a transaction a read whose connection was lost is repeated once. `timings` adds
    up the queries' durations.
    """

    # The role that metrics and spans name, where there are several servers.
    role: str | None = None
    # The uuid of the current user, from the last statement that returned it.
    user_uuid: UUID | None = None
    # The limits of the request's queries.
    deadlines: tuple[Deadline, ...] = ()

    def __init__(
        self,
        connect: Connect,
        timings: Timings | None = None,
        *,
        in_transaction: bool = False,
    ) -> None:
        self._connect = connect
        self._in_transaction = in_transaction
        self.timings = timings or Timings()

    @property
    def primary(self) -> "Db":
        """The same queries, whose reads ask no standby."""
        return self

    def restart_deadlines(self) -> None:
        """Give the queries that follow all of the time again. Call this after a wait for another service."""
        for deadline in self.deadlines:
            deadline.restart()

    @property
    def has_read_standby(self) -> bool:
        """Return whether the request has asked a standby, whose rows may be a second old."""
        return self.timings.standby > 0

    @property
    def seen(self) -> Seen | None:
        """The last transaction that the request has seen. `None` without standbys, where that needs no proof."""
        return None

    @property
    def held(self) -> Seen | None:
        """The last transaction up to which the request's last read has all. `None` without standbys."""
        return None

    def may_show(self, seen: Seen | None, held: Seen | None) -> bool:  # noqa: ARG002 - without standbys all are new enough
        """Return whether a cached response has all that the client has seen: all up to `held`. Record `seen` then."""
        return True

    def query_object(self, name: str, **parameters: Any) -> JSONBytes:
        """Return the one row of query `name` as a JSON object. Raises `NotFound` when there is none."""
        json, *user = self._row(name, object_statement(name, has_reader=has_reader(parameters)), parameters)
        if user:
            (self.user_uuid,) = user
        return cast(JSONBytes, json)

    def query_array(self, name: str, **parameters: Any) -> Page:
        """Return the rows of query `name` as a JSON array."""
        json, length = self._row(name, array_statement(name, has_reader=has_reader(parameters)), parameters)
        return Page(json, length)

    def query_row(self, name: str, **parameters: Any) -> TupleRow:
        """Return the one row of query `name` as values. Raises `NotFound` when there is none."""
        return self._row(name, load_sql(name).encode(), parameters)

    def query_page(self, feed: PagedQuery, page_request: PageRequest, **parameters: Any) -> Page:
        """Return a page of `feed`: a JSON array or, under a parent with keys, an object that holds parent and array.

        Raises `NotFound` when the parent query has no row.
        """
        backwards = page_request.cursor is not None and page_request.cursor.backwards
        order = feed.order.reversed if backwards else feed.order
        start = page_request.cursor.position if page_request.cursor else order.start
        json, fetched, keysets, expires_in, *bounds = self._row(
            feed.query,
            page_statement(
                feed,
                order,
                is_first=page_request.cursor is None,
                is_default_limit=page_request.limit == FIRST_PAGE.limit,
                has_reader=has_reader(parameters),
            ),
            {**parameters, "limit": page_request.limit, "created_at": start.created_at, "uuid": start.uuid},
        )
        if feed.parent is CURRENT_USER:
            self.user_uuid = bounds.pop()
        # A bounded scan may end before the page is full. Then `stopped_at` is the keyset of the last scanned row.
        stopped_at = bounds[0] if bounds else None
        end_keyset = keysets[-1] if fetched > page_request.limit else stopped_at
        ahead = Cursor(backwards, end_keyset) if end_keyset else None
        behind = None
        if page_request.cursor:
            # Past the end of a feed no row gives the cursor back, so that cursor starts at the feed's end.
            first = keysets[0] if keysets else stopped_at or order.reversed.start.packed
            behind = Cursor(not backwards, first)
        following, preceding = (behind, ahead) if backwards else (ahead, behind)
        return Page(json, min(fetched, page_request.limit), following, preceding, expires_in)

    @contextmanager
    def transaction(self) -> Iterator["Db"]:
        """Yield a `Db` whose statements share one transaction. An exception rolls all of them back."""
        with self._connect() as connection, connection.transaction():
            statements = Db(lambda: nullcontext(connection), self.timings, in_transaction=True)
            statements.role = self.role
            yield statements
            self.user_uuid = statements.user_uuid

    def _row(self, name: str, statement: bytes, parameters: dict[str, Any]) -> TupleRow:
        try:
            return self._execute(name, statement, parameters)
        except psycopg.OperationalError as error:
            if self._in_transaction or not is_connection_error(error) or not is_read(name):
                raise
        return self._execute(name, statement, parameters)

    def _execute(self, name: str, statement: bytes, parameters: dict[str, Any]) -> TupleRow:
        row = self._fetch(Server(self._connect, self.role), name, statement, parameters)
        if row is None:
            raise NotFound
        return row

    def _fetch(self, server: Server, name: str, statement: bytes, parameters: dict[str, Any]) -> TupleRow | None:
        with spans.query(name) as span:
            start = time.perf_counter()
            acquisition = 0.0
            error_type = ""
            try:
                with server.connect() as connection:
                    acquisition = time.perf_counter()
                    row = connection.prepared_cursor.execute(statement, parameters).fetchone()
                    if server.check:
                        server.check(connection, row)
                    return row
            except (psycopg.Error, DatabaseUnavailable) as error:
                error_type = getattr(error, "sqlstate", None) or type(error).__name__
                if error_type == USER_DELETED:
                    raise Unauthorized from error
                raise
            finally:
                end = time.perf_counter()
                # Without a connection all of the time was the pool's.
                acquisition = acquisition or end
                self._record(span, name, (acquisition - start, end - acquisition), error_type, server.role)

    def _record(self, span: Span, name: str, seconds: tuple[float, float], error_type: str, role: str | None) -> None:
        pool, db = seconds
        self.timings.pool += pool
        if role == STANDBY:
            self.timings.standby += db
        else:
            self.timings.db += db
        failure = {"error.type": error_type} if error_type else {}
        server = {"app.db.server": role} if role else {}
        attributes = {"db.query.summary": name, "db.system.name": "postgresql", **failure, **server}
        spans.operation_duration.record(db, attributes)
        if span.is_recording():
            span.set_attributes({"app.pool_wait_ms": round(pool * 1000, 3), **server})
            if error_type:
                span.set_attributes({"db.response.status_code": error_type, **failure})


def has_reader(parameters: Mapping[str, Any]) -> bool:
    """Return whether a query's parameters name an authenticated reader, whose response has more columns."""
    return parameters.get("reader") is not None

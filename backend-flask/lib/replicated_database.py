"""Database access over a primary and its standbys: `Db`, whose reads ask a standby that has replayed enough."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import TupleRow

from lib.consistency import Consistency, Seen, Snapshot
from lib.database import PRIMARY, STANDBY, Connect, Db, Server, Timings
from lib.exceptions import CLIENT_ERRORS, DatabaseUnavailable, NotFound, StandbyBehind, Unauthorized
from lib.pool import Connection, history
from lib.queries import SNAPSHOT, is_read, snapshot_statement

# After a snapshot that is too old for any request, a connection to a standby pauses for this long.
BEHIND_SECONDS = 0.1
# After one of these the primary is asked. Not found and unauthorized are the primary's word. Recovery may have
# cancelled the statement (SQLSTATE 40001), or the standby's schema may be older than this version.
STANDBY_FAILURES = (psycopg.Error, DatabaseUnavailable, NotFound, Unauthorized)


class Servers(NamedTuple):
    """The connections of one request to a primary and its standbys.

    `connect_standby` is `None` for a request that only the primary may answer. `is_standby_busier` compares the
    connections that requests hold. `drain` closes the connections to standbys, of which one was promoted. `cluster`
    returns the identifier of the primary's.
    """

    connect_primary: Connect
    connect_standby: Connect | None
    is_standby_busier: Callable[[], bool]
    drain: Callable[[], None]
    cluster: Callable[[], int]


class ReplicatedDb(Db):
    """The queries of `db/sql`: writes and transactions on the primary, other reads on a standby where one may answer.

    The primary answers a read when the standby is away, fails, has no row, or has not replayed all that the request
    must see (lib/consistency.py).
    """

    role = PRIMARY

    def __init__(self, servers: Servers, consistency: Consistency, timings: Timings | None = None) -> None:
        super().__init__(servers.connect_primary, timings)
        self._servers = servers
        self._consistency = consistency

    @property
    def primary(self) -> Db:
        """The same queries, whose reads ask no standby."""
        return ReplicatedDb(self._servers._replace(connect_standby=None), self._consistency, self.timings)

    @property
    def seen(self) -> Seen | None:
        """The last transaction that the request's statements have seen."""
        return self._consistency.seen

    @property
    def held(self) -> Seen | None:
        """The last transaction up to which the request's last read has all."""
        return self._consistency.held

    def may_show(self, seen: Seen | None, held: Seen | None) -> bool:
        """Return whether a cached response has all that the client has seen: all up to `held`. Record `seen` then."""
        may_show = self._consistency.allows(held)
        if may_show and seen:
            self._consistency.record(seen)
        return may_show

    @contextmanager
    def transaction(self) -> Iterator[Db]:
        """Yield a `Db` whose statements share one transaction on the primary. An exception rolls all of them back."""
        with self._seeing_primary(), super().transaction() as transaction:
            yield transaction

    def _row(self, name: str, statement: bytes, parameters: dict[str, Any]) -> TupleRow:
        if not is_read(name):
            with self._seeing_primary():
                return super()._row(name, statement, parameters)
        connect_standby = self._servers.connect_standby
        if connect_standby and self._consistency.wants_standby() and not self._servers.is_standby_busier():
            standby_row = self._standby_row(connect_standby, name, statement, parameters)
            if standby_row is not None:
                return standby_row
        began_at = time.monotonic()
        try:
            row = super()._row(name, snapshot_statement(statement), parameters)
        except NotFound:
            # The client has seen that the row is gone.
            self._see_primary()
            raise
        *columns, snapshot, timeline = row
        self._sample(began_at, snapshot, timeline)
        return tuple(columns)

    def _standby_row(
        self, connect: Connect, name: str, statement: bytes, parameters: dict[str, Any]
    ) -> TupleRow | None:
        server = Server(connect, STANDBY, self._check_standby)
        try:
            row = self._fetch(server, name, snapshot_statement(statement), parameters)
        except STANDBY_FAILURES:
            return None
        return row and row[:-2]

    def _check_standby(self, connection: Connection, row: TupleRow | None) -> None:
        if row is None:
            raise NotFound
        *_, snapshot, timeline = row
        if timeline is not None:
            # A promoted standby goes on in a history of its own.
            self._servers.drain()
            raise StandbyBehind
        bounds = Snapshot.parse(snapshot)
        if self._consistency.is_behind_floor(connection.history, bounds):
            connection.behind_until = time.monotonic() + BEHIND_SECONDS
            raise StandbyBehind
        if not self._consistency.accept(connection.history, bounds):
            raise StandbyBehind

    @contextmanager
    def _seeing_primary(self) -> Iterator[None]:
        """Record after a write what the client has seen: the write, or that the write found nothing to change."""
        try:
            yield
        except CLIENT_ERRORS:
            self._see_primary()
            raise
        self._see_primary()

    def _see_primary(self) -> None:
        """Record that the client has seen all that the primary has committed.

        A failure is not the request's: a client would repeat a write that was committed.
        """
        began_at = time.monotonic()
        try:
            with self._connect() as connection:
                row = connection.prepared_cursor.execute(b"SELECT " + SNAPSHOT).fetchone()
            if row:
                self._sample(began_at, *row)
        except (psycopg.Error, DatabaseUnavailable):
            self._consistency.forget()

    def _sample(self, began_at: float, snapshot: bytes, timeline: str | None) -> None:
        if timeline is None:
            # A pooler leads to a standby where the primary was.
            raise DatabaseUnavailable
        self._consistency.sample(
            began_at, history(self._servers.cluster(), int(timeline, 16)), Snapshot.parse(snapshot)
        )

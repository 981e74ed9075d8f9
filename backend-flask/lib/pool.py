"""The pool of connections to Postgres: deadlines, a circuit breaker, and JSON loaded as bytes."""

import logging
import secrets
import select
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TypeVar

import psycopg
from psycopg import Cursor, OperationalError
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import Loader
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.rows import TupleRow
from psycopg.types.string import ByteaBinaryLoader
from psycopg_pool import ConnectionPool, PoolTimeout

from lib.circuit_breaker import GRACE_SECONDS, CircuitBreaker
from lib.deadline import Deadline
from lib.exceptions import PREPARED_ELSEWHERE, StandbyBehind, is_connection_error

logger = logging.getLogger("cruddur")

T = TypeVar("T")

# The cluster's identifier, from a primary only: a standby has no current position to write at, and raises an error.
CLUSTER = "SELECT pg_control_system.system_identifier FROM pg_control_system() WHERE pg_current_wal_lsn() IS NOT NULL"
# The cluster's identifier, and the timeline that a standby follows. The control file names a new timeline at the
# standby's next restartpoint, which comes within checkpoint_timeout.
STANDBY_HISTORY = """
    SELECT
        pg_control_system.system_identifier,
        greatest(pg_control_checkpoint.timeline_id, pg_control_recovery.min_recovery_end_timeline)
    FROM pg_control_system() CROSS JOIN pg_control_checkpoint() CROSS JOIN pg_control_recovery()
"""
# For a pooler that loses prepared statements.
REMEDY = "set DATABASE_PREPARE=off, or give PgBouncer 1.22 or later max_prepared_statements=200"
# The threads of a worker process. The pool has one connection for each.
THREADS = 4
# The longest pause between two attempts of the pool to open a connection.
RECONNECT_SECONDS = 2.0
# After this wait for a connection a request has the circuit breaker probe the database.
ACQUIRE_TIMEOUT_SECONDS = 0.5
# The limit of one probe's statement.
PROBE_TIMEOUT_SECONDS = 1.0
# A probe waits this long for an idle connection. Requests may hold all of them.
IDLE_ACQUIRE_TIMEOUT_SECONDS = 0.01
# A statement's name `_pg3_<number>` is shorter than Postgres' limit of 63 bytes.
MAX_STATEMENT_NUMBER = 2**63
# A pooler that loses prepared statements fails many requests. The log has one line in this time.
REPORT_SECONDS = 60.0
# A read waits this long for a connection to a standby, and asks the primary then.
STANDBY_ACQUIRE_TIMEOUT_SECONDS = 0.25
# The limit of each step on a connection that no request holds, such as the steps of the pool's own threads.
IO_TIMEOUT_SECONDS = 2.0


class Connection(psycopg.Connection[TupleRow]):
    """A connection with the deadline of its request, and one cursor for all of its statements."""

    # The deadline of the request that holds this connection.
    deadline: Deadline | None = None
    # Until this monotonic time the standby at the other end counts as too far behind.
    behind_until = 0.0
    # The history that the standby at the other end follows.
    history = ""

    @cached_property
    def prepared_cursor(self) -> Cursor[TupleRow]:
        """Return the connection's cursor, with values in binary. Creating one, with its type adapters, takes 6 us."""
        return self.cursor(binary=True)

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait as psycopg does, for `timeout` seconds, by default until the request's deadline.

        Without a limit the client would wait for ever for a frozen server, or for lost packets.
        """
        if timeout is None:
            timeout = self.deadline.remaining() if self.deadline else IO_TIMEOUT_SECONDS
        return super().wait(gen, interval, timeout)


class DatabasePool:
    """A connection pool that opens in the background, and a circuit breaker.

    The pool calls `conninfo` for each new connection. `prepare` is for a database, or a pooler, that keeps prepared
    statements. A pool belongs to one process and does not survive a fork.
    """

    acquire_timeout = ACQUIRE_TIMEOUT_SECONDS
    grace = GRACE_SECONDS
    server = "the database"
    name = "cruddur"

    def __init__(
        self, conninfo: Callable[[], str], timeout: float = IO_TIMEOUT_SECONDS, *, prepare: bool = True
    ) -> None:
        self._conninfo = conninfo
        # Seconds that a request may wait for the database.
        self.timeout = timeout
        self._breaker = CircuitBreaker(self._probe, grace=self.grace, server=self.server)
        self._reported_at = float("-inf")
        self.pool = ConnectionPool(
            self._conninfo,
            connection_class=Connection,
            kwargs={"autocommit": True, "prepare_threshold": 0 if prepare else None},
            configure=self._configure,
            check=self._check,
            min_size=THREADS,
            # The pool's default doubles each pause: after an outage of 35 s it reconnects 23 s too late.
            reconnect_timeout=RECONNECT_SECONDS,
            reconnect_failed=lambda pool: pool.check(),
            open=False,
            name=self.name,
        )
        self.pool.open()

    @property
    def in_use(self) -> int:
        """The number of connections that requests hold."""
        stats = self.pool.get_stats()
        return stats["pool_size"] - stats["pool_available"]

    def close(self) -> None:
        """Close the pool and its connections."""
        self.pool.close()

    @contextmanager
    def connection(self, deadline: Deadline) -> Iterator[Connection]:
        """Acquire a connection whose steps all end by `deadline`. Raises psycopg's errors and `DatabaseUnavailable`."""
        self._breaker.raise_if_open(deadline)
        try:
            connection = self._acquire(deadline)
            connection.deadline = deadline
            try:
                yield connection
            except psycopg.InternalError as error:
                if error.sqlstate is not None:
                    raise
                # psycopg's own error: COMMIT has two results where a pooler adds its error to that of the lost server.
                connection.close()
                raise OperationalError("the connection was lost") from error
            finally:
                connection.deadline = None
                self.pool.putconn(connection)
        except OperationalError as error:
            if is_connection_error(error):
                self._breaker.record_failure(error)
            raise
        except ReadOnlySqlTransaction:
            # After a failover the old server is read-only. The pool's other connections lead to that server too.
            self.pool.drain()
            raise
        except PREPARED_ELSEWHERE as error:
            # Statements of the pool's other connections are lost too.
            self._report_lost_statement(error)
            self.pool.drain()
            raise

    def _report_lost_statement(self, error: psycopg.Error) -> None:
        if time.monotonic() - self._reported_at < REPORT_SECONDS:
            return
        self._reported_at = time.monotonic()
        logger.error("a pooler loses prepared statements, and requests fail: SQLSTATE %s: %s", error.sqlstate, REMEDY)

    def _acquire(self, deadline: Deadline) -> Connection:
        while True:
            try:
                return self.pool.getconn(min(deadline.remaining(), self.acquire_timeout))
            except PoolTimeout as error:
                # The pool has a connection for each thread, so this thread's connection is not open yet.
                if deadline.remaining() <= 0:
                    raise
                self._breaker.record_failure(error)
                self._breaker.raise_if_open(deadline)

    def _configure(self, connection: Connection) -> None:
        configure_connection(connection)

    def _check(self, connection: Connection) -> None:
        # An idle connection is readable only when the server has closed it. Then the pool's other
        # connections are closed too, so drain them all: checking each one would take longer.
        # This poll takes 3 us. `ConnectionPool.check_connection` needs a round trip.
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        if poll.poll(0):
            self.pool.drain()
            raise OperationalError("the server has closed this connection")

    def _probe(self) -> None:
        if not self._probe_idle_connection():
            self._probe_new_connection()
        self.pool.check()

    def _probe_idle_connection(self) -> bool:
        # This probe comes first, because it works also when the server has no slot left for a new connection.
        try:
            connection = self.pool.getconn(IDLE_ACQUIRE_TIMEOUT_SECONDS)
        except PoolTimeout:
            return False
        connection.deadline = Deadline(PROBE_TIMEOUT_SECONDS)
        try:
            connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        finally:
            connection.deadline = None
            self.pool.putconn(connection)
        return True

    def _probe_new_connection(self) -> None:
        # All of the pool's connections may still wait for a server that is gone. A new connection shows the present.
        with Connection.connect(self._conninfo(), autocommit=True, prepare_threshold=None) as connection:
            connection.deadline = Deadline(PROBE_TIMEOUT_SECONDS)
            connection.execute("SELECT 1")


class PrimaryPool(DatabasePool):
    """The pool of connections to a primary with standbys, which knows the cluster's identifier."""

    cluster = 0

    def _configure(self, connection: Connection) -> None:
        super()._configure(connection)
        self.cluster = read_cluster(connection)


class StandbyPool(DatabasePool):
    """The pool of connections to the standbys. A read that can't have one soon asks the primary."""

    acquire_timeout = STANDBY_ACQUIRE_TIMEOUT_SECONDS
    grace = 0.0
    server = "the standby"
    name = "cruddur-standby"

    @contextmanager
    def connection(self, deadline: Deadline) -> Iterator[Connection]:
        """Acquire a connection to a standby that is not too far behind. Raises as `DatabasePool.connection` does."""
        with super().connection(deadline) as connection:
            if time.monotonic() < connection.behind_until:
                raise StandbyBehind
            if connection.behind_until:
                # The standby may follow a new primary by now.
                connection.behind_until = 0.0
                connection.history = read_standby_history(connection)
            yield connection

    def _configure(self, connection: Connection) -> None:
        super()._configure(connection)
        connection.history = read_standby_history(connection)


def read_cluster(connection: psycopg.Connection) -> int:
    """Return the identifier of a primary's cluster. Raises psycopg's errors, also for a standby."""
    row = connection.execute(CLUSTER, prepare=False).fetchone()
    return int(row[0]) if row else 0


def read_standby_history(connection: psycopg.Connection) -> str:
    """Return the history that a standby follows. Raises psycopg's errors."""
    row = connection.execute(STANDBY_HISTORY, prepare=False).fetchone()
    return history(*row) if row else ""


def history(cluster: int, timeline: int) -> str:
    """Return eight hexadecimal digits of a cluster and its timeline: a restored or promoted one has others."""
    return f"{zlib.crc32(f'{cluster}/{timeline}'.encode()):08x}"


class JSONBytesLoader(Loader):
    """Loader of JSON in text format: the bytes that Postgres sent, not decoded."""

    def load(self, data: Buffer) -> bytes:
        """Return the value's bytes."""
        return bytes(data)


def configure_connection(connection: Connection) -> None:
    """Register loaders for `json` in text and in binary format: both return the bytes that Postgres sent.

    Give the connection's prepared statements names that no other connection has. psycopg counts from 0 on each: behind
    a pooler that loses statements, a connection would run another connection's statement, and return its rows.
    """
    connection._prepared._prepared_idx = secrets.randbelow(MAX_STATEMENT_NUMBER)  # noqa: SLF001 - there is no option
    connection.adapters.register_loader("json", JSONBytesLoader)
    connection.adapters.register_loader("json", ByteaBinaryLoader)

"""Connections to Postgres: the pool that lends them, and what happens to it on bad days."""

import select
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

from lib.circuit_breaker import CircuitBreaker
from lib.deadline import Deadline
from lib.exceptions import is_connection_error

T = TypeVar("T")

# A worker process has this many threads, and a connection for each.
THREADS = 4
# Between the pool's last try to make a connection and its next, in seconds.
RECONNECT_SECONDS = 2.0
# Who has waited for so long for a connection asks what is the matter.
ACQUIRE_TIMEOUT_SECONDS = 0.5
# For the one question whether the database answers.
PROBE_TIMEOUT_SECONDS = 1.0
# For a connection of the pool to ask on, when all of them are with requests.
IDLE_ACQUIRE_TIMEOUT_SECONDS = 0.01
# For each step on a connection that no request has: such as those in the pool's own threads.
IO_TIMEOUT_SECONDS = 2.0


class Connection(psycopg.Connection[TupleRow]):
    """A connection that waits no longer than its request may, and keeps a cursor for its statements."""

    # That of the request that has acquired this connection.
    deadline: Deadline | None = None

    @cached_property
    def prepared_cursor(self) -> Cursor[TupleRow]:
        """The cursor, whose values come in binary. To make one, and what it knows of types, takes 6 us."""
        return self.cursor(binary=True)

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """As psycopg's. A server that is frozen, or whose packets are lost, would be waited for for ever."""
        if timeout is None:
            timeout = self.deadline.remaining() if self.deadline else IO_TIMEOUT_SECONDS
        return super().wait(gen, interval, timeout)


class DatabasePool:
    """A pool of connections to where `conninfo` says, each time anew, opening in the background, and a breaker.

    For one process: not to be forked.
    """

    def __init__(self, conninfo: Callable[[], str], timeout: float = IO_TIMEOUT_SECONDS) -> None:
        self._conninfo = conninfo
        # Seconds that a request may wait for the database.
        self.timeout = timeout
        self._breaker = CircuitBreaker(self._probe)
        self.pool = ConnectionPool(
            self._conninfo,
            connection_class=Connection,
            kwargs={"autocommit": True, "prepare_threshold": 0},
            configure=configure_connection,
            check=self._check,
            min_size=THREADS,
            # Unless told, the pool waits longer with each try, and 23 s too long after an outage of 35.
            reconnect_timeout=RECONNECT_SECONDS,
            reconnect_failed=lambda pool: pool.check(),
            open=False,
            name="cruddur",
        )
        self.pool.open()

    def close(self) -> None:
        """Close the pool and its connections."""
        self.pool.close()

    @contextmanager
    def connection(self, deadline: Deadline) -> Iterator[Connection]:
        """Acquire a connection whose steps all end by `deadline`. Raises psycopg's errors, `DatabaseUnavailable`."""
        self._breaker.raise_if_open(deadline)
        try:
            connection = self._acquire(deadline)
            connection.deadline = deadline
            try:
                yield connection
            finally:
                connection.deadline = None
                self.pool.putconn(connection)
        except OperationalError as error:
            if is_connection_error(error):
                self._breaker.record_failure(error)
            raise
        except ReadOnlySqlTransaction:
            # A failover has left us with a server that only reads: the others lead there too.
            self.pool.drain()
            raise

    def _acquire(self, deadline: Deadline) -> Connection:
        while True:
            try:
                return self.pool.getconn(min(deadline.remaining(), ACQUIRE_TIMEOUT_SECONDS))
            except PoolTimeout as error:
                # There is one for each thread: to wait for one is to wait for it to be made.
                if deadline.remaining() <= 0:
                    raise
                self._breaker.record_failure(error)
                self._breaker.raise_if_open(deadline)

    def _check(self, connection: Connection) -> None:
        # A connection that idles has nothing to read, but for the news that the server has
        # ended it. Then the others have ended too, and trying each of them takes its time.
        # No round trip, unlike `ConnectionPool.check_connection`: 3 us.
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
        # First: it answers also where the server has no slot left for another connection.
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
        # The pool's connections may all be waiting, and would tell of the past.
        with Connection.connect(self._conninfo(), autocommit=True) as connection:
            connection.deadline = Deadline(PROBE_TIMEOUT_SECONDS)
            connection.execute("SELECT 1")


class JSONBytesLoader(Loader):
    """Load JSON as the bytes that Postgres sent, which need no decoding."""

    def load(self, data: Buffer) -> bytes:
        """Return the bytes."""
        return bytes(data)


def configure_connection(connection: Connection) -> None:
    """Have JSON come as the bytes that Postgres sent, by cursors of text and of binary."""
    connection.adapters.register_loader("json", JSONBytesLoader)
    connection.adapters.register_loader("json", ByteaBinaryLoader)

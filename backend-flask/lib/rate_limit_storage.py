"""Storages of rate limits: a bounded table in this process, or Redis with that table as its fallback.

Both are storages of the package limits: https://limits.readthedocs.io/en/stable/custom-storage.html
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar, cast

from limits.storage import RedisStorage, Storage, storage_from_string
from opentelemetry import metrics

T = TypeVar("T")

logger = logging.getLogger("cruddur")
storage_errors = metrics.get_meter("cruddur").create_counter("app.rate_limit.storage.errors", "{error}")

# Windows of one process: 46 MB. One process cannot serve more clients than this in a minute.
MAX_WINDOWS = 100_000
# The limit for connecting to Redis, and for a response.
TIMEOUT_SECONDS = 0.1
# The pause after a failure of Redis, for which requests count in memory.
PAUSE_SECONDS = 5


def open_storage(redis_url: str | None) -> Storage:
    """Return the storage in a Redis, or that in this process's memory without a `redis_url`."""
    return SharedStorage(redis_url) if redis_url else BoundedMemoryStorage()


class Window:
    """A fixed window: its number of hits, and its end."""

    __slots__ = ("count", "end")

    def __init__(self, end: float) -> None:
        self.count = 0
        self.end = end


class BoundedMemoryStorage(Storage):
    """Storage of windows in this process's memory. Every call takes constant time.

    limits' own storage `memory` has no bound, and with nearly every hit starts a thread that visits every window.
    """

    base_exceptions = ()

    def __init__(self) -> None:
        super().__init__()
        # A table for each duration of windows. In each they are in the order of their start, and so of their end.
        self._tables: dict[float, OrderedDict[str, Window]] = {}
        self._lock = Lock()

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count a hit, and return the window's count."""
        now = time.monotonic()
        with self._lock:
            table = self._tables.setdefault(expiry, OrderedDict())
            window = table.get(key)
            if window is None or window.end <= now:
                make_room(table, now)
                table.pop(key, None)
                window = table[key] = Window(now + expiry)
            window.count += amount
            return window.count

    def _window(self, key: str) -> Window | None:
        # A key names the duration, so one table has it.
        return next((table[key] for table in self._tables.values() if key in table), None)

    def get(self, key: str) -> int:
        """Return the count of the key's window."""
        with self._lock:
            window = self._window(key)
        return window.count if window and window.end > time.monotonic() else 0

    def get_expiry(self, key: str) -> float:
        """Return the end of the key's window, in seconds since the epoch."""
        with self._lock:
            window = self._window(key)
        return time.time() + (max(0.0, window.end - time.monotonic()) if window else 0.0)

    def check(self) -> bool:
        """Return whether the storage works."""
        return True

    def reset(self) -> int:
        """Forget all windows, and return how many there were."""
        with self._lock:
            count = sum(map(len, self._tables.values()))
            self._tables.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget the key's window."""
        with self._lock:
            for table in self._tables.values():
                table.pop(key, None)


def make_room(table: OrderedDict[str, Window], now: float) -> None:
    """Remove up to two ended windows before a new one, so that the table shrinks again; the oldest if it is full."""
    for _ in range(2):
        if table and next(iter(table.values())).end <= now:
            table.popitem(last=False)
    if len(table) >= MAX_WINDOWS:
        table.popitem(last=False)


class SharedStorage(Storage):
    """Storage of windows in Redis, for several processes. While Redis is away each process counts its own hits."""

    base_exceptions = ()

    def __init__(self, url: str) -> None:
        super().__init__()
        # A local import: a service without Redis need not load the client.
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # The client connects with its first command. Its default of three more attempts would take seconds.
        options: dict[str, Any] = {
            "socket_timeout": TIMEOUT_SECONDS,
            "socket_connect_timeout": TIMEOUT_SECONDS,
            "retry": Retry(NoBackoff(), 0),
        }
        self._redis = cast(RedisStorage, storage_from_string(url, **options))
        self._memory = BoundedMemoryStorage()
        self._is_away = False
        self._retry_at = 0.0

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count a hit, and return the window's count."""
        return self._call(lambda: self._redis.incr(key, expiry, amount), lambda: self._memory.incr(key, expiry, amount))

    def get(self, key: str) -> int:
        """Return the count of the key's window."""
        return self._call(lambda: self._redis.get(key), lambda: self._memory.get(key))

    def get_expiry(self, key: str) -> float:
        """Return the end of the key's window, in seconds since the epoch."""
        return self._call(lambda: self._redis_expiry(key), lambda: self._memory.get_expiry(key))

    def _redis_expiry(self, key: str) -> float:
        # limits' own method reads whole seconds, which Redis rounds down.
        milliseconds = cast(int, self._redis.storage.pttl(self._redis.prefixed_key(key)))
        return time.time() + max(0, milliseconds) / 1000

    def check(self) -> bool:
        """Return whether the storage works."""
        return True

    def reset(self) -> int | None:
        """Forget all windows, and return how many there were."""
        return self._call(self._redis.reset, self._memory.reset)

    def clear(self, key: str) -> None:
        """Forget the key's window."""
        self._call(lambda: self._redis.clear(key), lambda: self._memory.clear(key))

    def _call(self, redis: Callable[[], T], memory: Callable[[], T]) -> T:
        if self._is_away:
            if time.monotonic() < self._retry_at:
                return memory()
            # Other requests count in memory while this one tries Redis.
            self._retry_at = time.monotonic() + PAUSE_SECONDS
        try:
            result = redis()
        except self._redis.base_exceptions as error:
            self._note_failure(error)
            return memory()
        if self._is_away:
            self._is_away = False
            logger.warning("the storage of rate limits answers again")
        return result

    def _note_failure(self, error: Exception) -> None:
        storage_errors.add(1)
        self._retry_at = time.monotonic() + PAUSE_SECONDS
        if not self._is_away:
            self._is_away = True
            # The error's text is left out: it may hold the address.
            logger.warning(
                "the storage of rate limits is away: each process counts by itself (%s)", type(error).__name__
            )

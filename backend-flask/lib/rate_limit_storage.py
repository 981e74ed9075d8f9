"""Where rate limits are counted: in a bounded table of this process, or in Redis, which may be away.

Both are storages of the package limits, chosen by the scheme of their URL:
https://limits.readthedocs.io/en/stable/custom-storage.html
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

MEMORY_URL = "bounded-memory://"
# Put in front of the URL of a Redis.
SHARED = "shared+"
# Of one process: 46 MB. More clients than this in a minute are more than one process can answer.
MAX_WINDOWS = 100_000
# For Redis to connect, and to answer.
TIMEOUT_SECONDS = 0.1
# Redis is not asked again for this long after it did not answer.
PAUSE_SECONDS = 5


def storage_url(redis_url: str | None) -> str:
    """Return the URL by which limits chooses the storage: in that Redis, or in this process without one."""
    return f"{SHARED}{redis_url}" if redis_url else MEMORY_URL


class Window:
    """A fixed window: how many hits there were, and when it ends."""

    __slots__ = ("count", "end")

    def __init__(self, end: float) -> None:
        self.count = 0
        self.end = end


class BoundedMemoryStorage(Storage):
    """Windows of this process. Every call takes constant time.

    The storage `memory` of limits has no bound, and starts a thread that visits every window with nearly every hit.
    """

    STORAGE_SCHEME = ["bounded-memory"]  # noqa: RUF012 - as limits declares it
    base_exceptions = ()

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **_: Any) -> None:  # noqa: FBT001, FBT002 - as limits calls it
        super().__init__(uri, wrap_exceptions)
        # In the order of their begin. All limits are per minute, so that this is the order of their end too.
        self._windows: OrderedDict[str, Window] = OrderedDict()
        self._lock = Lock()

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count a hit, and return the window's count."""
        now = time.monotonic()
        with self._lock:
            window = self._windows.get(key)
            if window is None or window.end <= now:
                self._make_room(now)
                self._windows.pop(key, None)
                window = self._windows[key] = Window(now + expiry)
            window.count += amount
            return window.count

    def _make_room(self, now: float) -> None:
        # Two for each that comes: so the table shrinks again, and no request removes thousands.
        for _ in range(2):
            if self._windows and next(iter(self._windows.values())).end <= now:
                self._windows.popitem(last=False)
        if len(self._windows) >= MAX_WINDOWS:
            self._windows.popitem(last=False)

    def get(self, key: str) -> int:
        """Return the count of the key's window."""
        window = self._windows.get(key)
        return window.count if window and window.end > time.monotonic() else 0

    def get_expiry(self, key: str) -> float:
        """Return when the key's window ends, in seconds since the epoch."""
        window = self._windows.get(key)
        return time.time() + (max(0.0, window.end - time.monotonic()) if window else 0.0)

    def check(self) -> bool:
        """Return whether the storage works."""
        return True

    def reset(self) -> int:
        """Forget all windows, and return how many there were."""
        with self._lock:
            count = len(self._windows)
            self._windows.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget the key's window."""
        with self._lock:
            self._windows.pop(key, None)


class SharedStorage(Storage):
    """Windows in Redis, for several processes. While Redis is away this process counts its own hits."""

    STORAGE_SCHEME = [f"{SHARED}redis", f"{SHARED}rediss"]  # noqa: RUF012 - as limits declares it
    base_exceptions = ()

    def __init__(self, uri: str, wrap_exceptions: bool = False, **_: Any) -> None:  # noqa: FBT001, FBT002 - as limits calls it
        super().__init__(uri, wrap_exceptions)
        # Here, so that a service without a Redis need not load the client.
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # It connects with the first command. The default of three more attempts would take seconds.
        options: dict[str, Any] = {
            "socket_timeout": TIMEOUT_SECONDS,
            "socket_connect_timeout": TIMEOUT_SECONDS,
            "retry": Retry(NoBackoff(), 0),
        }
        self._redis = cast(RedisStorage, storage_from_string(uri.removeprefix(SHARED), **options))
        self._memory = BoundedMemoryStorage()
        self._is_away = False
        self._retry_at = 0.0

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count a hit, and return the window's count."""
        return self._ask(lambda: self._redis.incr(key, expiry, amount), lambda: self._memory.incr(key, expiry, amount))

    def get(self, key: str) -> int:
        """Return the count of the key's window."""
        return self._ask(lambda: self._redis.get(key), lambda: self._memory.get(key))

    def get_expiry(self, key: str) -> float:
        """Return when the key's window ends, in seconds since the epoch."""
        return self._ask(lambda: self._redis_expiry(key), lambda: self._memory.get_expiry(key))

    def _redis_expiry(self, key: str) -> float:
        # The storage of limits asks in whole seconds, which Redis rounds down too.
        milliseconds = cast(int, self._redis.storage.pttl(self._redis.prefixed_key(key)))
        return time.time() + max(0, milliseconds) / 1000

    def check(self) -> bool:
        """Return whether the storage works."""
        return True

    def reset(self) -> int | None:
        """Forget all windows, and return how many there were."""
        return self._ask(self._redis.reset, self._memory.reset)

    def clear(self, key: str) -> None:
        """Forget the key's window."""
        self._ask(lambda: self._redis.clear(key), lambda: self._memory.clear(key))

    def _ask(self, redis: Callable[[], T], memory: Callable[[], T]) -> T:
        if self._is_away:
            if time.monotonic() < self._retry_at:
                return memory()
            # Other requests go on without it while this one asks.
            self._retry_at = time.monotonic() + PAUSE_SECONDS
        try:
            answer = redis()
        except self._redis.base_exceptions as error:
            self._note_failure(error)
            return memory()
        if self._is_away:
            self._is_away = False
            logger.warning("the storage of rate limits answers again")
        return answer

    def _note_failure(self, error: Exception) -> None:
        storage_errors.add(1)
        self._retry_at = time.monotonic() + PAUSE_SECONDS
        if not self._is_away:
            self._is_away = True
            # Without the error's text, which may hold the address.
            logger.warning(
                "the storage of rate limits is away: each process counts by itself (%s)", type(error).__name__
            )

"""Logging through a bounded queue: a thread writes the records, so that no request waits for the log."""

import logging
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable
from copy import copy
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from multiprocessing.util import Finalize
from queue import SimpleQueue
from typing import Any

from pythonjsonlogger.json import JsonFormatter

STDERR = 2
# About 6 MB of request records in each process, while the reader of the log is stuck.
QUEUE_SIZE = 10_000
FLUSH_SECONDS = 1.0
# The listener waits this long for more records, and writes up to so many lines at once. Otherwise its thread would wake
# for each record, which took 26 of 730 us of CPU for a profile.
BATCH_SECONDS = 0.02
BATCH_LINES = 100
# The workers share standard error. Only a write of at most this many bytes to a pipe is never mixed with another's.
ATOMIC_BYTES = select.PIPE_BUF
NOTICE_SECONDS = 1.0
# The log of psycopg's pool has each message once in this time.
REPETITION_SECONDS = 10.0
REQUESTS = "cruddur.request"
# The attributes of a record that become keys of the JSON object.
KEYS = ("trace_id", "request_id", "method", "route", "status", "duration_ms")

logger = logging.getLogger("cruddur")


def configure_logging(*, is_json: bool, context: Callable[[], dict[str, Any]]) -> None:
    """Write this process's log to standard error, from a thread. `context` returns fields of the current request.

    Call this after the fork: threads do not survive it. The logger `cruddur.request` has a level of its own.
    """
    handler = BoundedQueueHandler(QUEUE_SIZE)
    handler.addFilter(ContextFilter(context))
    # In a process without standard error (2>&-) another file has its number: our shared memory, or a socket.
    descriptor = os.open(os.devnull, os.O_WRONLY) if sys.stderr is None else STDERR
    listener = Listener(handler, JSONFormatter() if is_json else TextFormatter(), Stream(descriptor))
    listener.start()
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # No format shows file, line, thread or process. Collecting them costs 3 us a request:
    # https://docs.python.org/3/howto/logging.html#optimization
    logging._srcfile = None  # noqa: SLF001 - the documented switch for the caller's file and line
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.captureWarnings(capture=True)
    # In an outage behind a pooler each probe costs a connection, ten times a second.
    logging.getLogger("psycopg.pool").addFilter(RepetitionFilter(REPETITION_SECONDS))
    # The default hooks print to sys.stderr, in the failed thread and with the exception's text.
    threading.excepthook = log_thread_failure
    sys.unraisablehook = log_unraisable
    # granian's workers end without atexit handlers. Finalizers run, and this one runs after those that still log.
    Finalize(None, listener.stop, exitpriority=0)


class BoundedQueueHandler(QueueHandler):
    """Handler that queues records for the listener's thread, and drops and counts records while the queue is full."""

    def __init__(self, size: int) -> None:
        # SimpleQueue is reentrant. With queue.Queue's lock a signal handler or destructor that logs could deadlock.
        self.records: SimpleQueue[logging.LogRecord | None] = SimpleQueue()
        super().__init__(self.records)
        self._size = size
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Merge arguments and exception into the message: they may change, or hold memory. The listener formats it."""
        if isinstance(record.msg, str) and not (record.args or record.exc_info or record.stack_info):
            return record
        # Other handlers may hold the same record, so change a copy.
        merged_record = copy(record)
        error = record.exc_info[1] if record.exc_info else None
        parts = (record.getMessage(), describe_exception(error) if error else "", record.stack_info)
        merged_record.msg = "\n".join(part for part in parts if part)
        merged_record.args = merged_record.exc_info = merged_record.exc_text = merged_record.stack_info = None
        return merged_record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put the record into the queue if it has room. `handle` holds the handler's lock, so the bound is exact."""
        if self.records.qsize() < self._size:
            self.records.put(record)
        else:
            self.dropped += 1

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as logging calls it
        """Queue a record whose arguments do not fit its message. logging's default prints a traceback to sys.stderr."""
        replacement = copy(record)
        replacement.msg = f"malformed log message: {record.msg if isinstance(record.msg, str) else type(record.msg)}"
        replacement.args = replacement.exc_info = replacement.exc_text = replacement.stack_info = None
        self.enqueue(replacement)


class Listener(QueueListener):
    """Listener that formats and writes the queued records.

    A StreamHandler would not do: an unread pipe would block one that holds its lock, and `logging.shutdown` waits for
    the lock of every handler.
    """

    def __init__(self, handler: BoundedQueueHandler, formatter: logging.Formatter, stream: "Stream") -> None:
        super().__init__(handler.queue)
        self._handler, self._formatter, self._stream = handler, formatter, stream
        self._lines: list[bytes] = []
        self._failed = self._reported = 0
        self._reported_at = float("-inf")

    def dequeue(self, block: bool) -> logging.LogRecord:  # noqa: FBT001 - as logging calls it
        """Return the next record, after the lines so far are written if there is none yet."""
        if not self._handler.records.empty():
            return super().dequeue(block)
        self._flush()
        record = super().dequeue(block)
        time.sleep(BATCH_SECONDS)
        return record

    def handle(self, record: logging.LogRecord) -> None:
        """Format one record, and write a full batch."""
        try:
            self._lines.append(self._line(record))
        except Exception:  # noqa: BLE001 - an exception would end the thread, and with it the log
            self._failed += 1
        if len(self._lines) >= BATCH_LINES:
            self._flush()

    def _flush(self) -> None:
        """Write the lines. When writing works again, report the number of lost records."""
        lines, self._lines = self._lines, []
        is_written = False
        while lines:
            length = count = 0
            while count < len(lines) and (not count or length + len(lines[count]) <= ATOMIC_BYTES):
                length += len(lines[count])
                count += 1
            is_written = self._write(b"".join(lines[:count]))
            self._failed += 0 if is_written else count
            del lines[:count]
        if is_written and (self._handler.records.empty() or time.monotonic() - self._reported_at > NOTICE_SECONDS):
            self._report_lost()

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self._formatter.format(record)}\n".encode(errors="backslashreplace")

    def _write(self, lines: bytes) -> bool:
        try:
            self._stream.write(lines)
        except Exception:  # noqa: BLE001 - as in `handle`
            return False
        return True

    def _report_lost(self) -> None:
        lost = self._handler.dropped + self._failed
        if lost == self._reported:
            return
        message = f"{lost - self._reported} log records were dropped: standard error was not read, or not writable"
        notice = logging.LogRecord(logger.name, logging.WARNING, __file__, 0, message, None, None)
        if self._write(self._line(notice)):
            self._reported, self._reported_at = lost, time.monotonic()

    def stop(self) -> None:
        """Write the queued records, for a second at most: an unread pipe must not keep the process from ending."""
        self.enqueue_sentinel()
        if self._thread is not None:
            self._thread.join(FLUSH_SECONDS)
            if not self._thread.is_alive():
                self._flush()
                self._report_lost()


class Stream:
    """An unbuffered stream on a file descriptor.

    A blocked write to `sys.stderr` would hold its buffer's lock, and the process's exit waits for that lock.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_torn = False

    def write(self, lines: bytes) -> None:
        """Write lines, in one piece if the kernel accepts it. Raises `OSError`."""
        # After a line that failed halfway, the first of these starts on a new one.
        rest = (b"\n" if self._is_torn else b"") + lines
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
            self._is_torn = bool(rest)


class ContextFilter(logging.Filter):
    """Filter that adds the current request's fields to each record, in the request's own thread."""

    def __init__(self, context: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self._context = context

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields, and accept every record."""
        record.__dict__.update(self._context())
        return True


class RepetitionFilter(logging.Filter):
    """Filter that accepts a message about a pool, whatever its other arguments, once in `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._accepted_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the message is the first for so long."""
        now = time.monotonic()
        # The pool's name is the first argument, if that is a text. A lost standby must not hide what the primary says.
        name = record.args[0] if isinstance(record.args, tuple) and record.args else ""
        key = (record.msg, name if isinstance(name, str) else "")
        if now - self._accepted_at.get(key, float("-inf")) < self._seconds:
            return False
        self._accepted_at[key] = now
        return True


class JSONFormatter(JsonFormatter):
    """Formatter of a record as one JSON object a line."""

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:  # noqa: ARG002 - as python-json-logger calls it
        """Add the time, the level, the message, and the fields in `KEYS`. Extras of other libraries are left out."""
        log_data["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        log_data["level"] = record.levelname.lower()
        log_data["message"] = record.message
        attributes = record.__dict__
        log_data.update({key: attributes[key] for key in KEYS if key in attributes})


class TextFormatter(logging.Formatter):
    """Formatter of a record as a line for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time of day and message; for a request its method, route, status, duration and id."""
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        if record.name == REQUESTS:
            text = "{method} {route} {status} {duration_ms:.1f} ms {request_id:.8}".format_map(
                record.__dict__ | {"route": record.__dict__["route"] or "(no such path)"}
            )
        return f"{datetime.fromtimestamp(record.created):%H:%M:%S} {text}"


def describe_exception(error: BaseException) -> str:
    """Return the class and the stack of an exception. Its text is left out: it may quote a row or personal data."""
    stack = "".join(traceback.format_tb(error.__traceback__))
    return f"{type(error).__name__}\n{stack}".rstrip("\n")


def log_thread_failure(failure: threading.ExceptHookArgs) -> None:
    """Log the exception that has ended a thread."""
    if failure.exc_type is not SystemExit:
        name = failure.thread.name if failure.thread else "without a name"
        logger.error("the thread %s has ended", name, exc_info=failure.exc_value)


def log_unraisable(failure: "sys.UnraisableHookArgs") -> None:
    """Log an exception that no caller can catch, such as a destructor's."""
    logger.error("%s", failure.err_msg or "an exception was ignored", exc_info=failure.exc_value)

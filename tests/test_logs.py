"""Logging on standard error: JSON and text lines, traces on a terminal, and an unwritable log."""

import json
import logging
import os
import re
import signal
import socket
import sys
import threading
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from subprocess import PIPE
from typing import Any

import psycopg
import pytest

from harness.ports import free_port
from harness.postgres import rows
from harness.processes import UNLIMITED, tree
from harness.waiting import wait_until
from lib import logs
from lib.logs import (
    ATOMIC_BYTES,
    QUEUE_SIZE,
    REQUESTS,
    BoundedQueueHandler,
    ContextFilter,
    JSONFormatter,
    Listener,
    RepetitionFilter,
    Stream,
    TextFormatter,
)
from ops.command import ROOT
from tests import tokens
from tests.factories import Make, User
from tests.processes import STOP_SECONDS, UNWRITABLE, running, started, unwritable
from tests.service import RIGHT, get

BACKEND = str(ROOT / "backend-flask")
SERVE = ROOT / "bin" / "serve"
HOME = "/api/activities/home"
# Text that must never appear in a log.
MARKER = "f1nd-me"


def post(port: str, author: User, message: str) -> int:
    """Return the status of a POST of an activity."""
    headers = {"Content-Type": "application/json", **tokens.bearer(author.cognito_user_id)}
    with closing(HTTPConnection("127.0.0.1", int(port), timeout=5)) as connection:
        connection.request("POST", "/api/activities", json.dumps({"message": message, "ttl": "1-day"}), headers)
        return connection.getresponse().status


def send_pipelined(port: str, count: int) -> int:
    """Send `count` send_pipelined requests on one connection, and return the number of 200 responses."""
    request = f"GET {HOME} HTTP/1.1\r\nHost: localhost\r\n".encode()
    sent = (request + b"\r\n") * (count - 1) + request + b"Connection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(port)), timeout=60) as connection:
        sender = threading.Thread(target=connection.sendall, args=[sent])
        sender.start()
        with connection.makefile("rb") as responses:
            count_200 = responses.read().count(b"HTTP/1.1 200 OK\r\n")
        sender.join()
    return count_200


def count_records(lines: list[dict[str, Any]]) -> tuple[int, int]:
    """Return the number of requests in a log, and the number of records reported as dropped."""
    notices = [re.match(r"(\d+) log records were dropped: ", line["message"]) for line in lines]
    return sum(line["message"] == "request" for line in lines), sum(int(notice[1]) for notice in notices if notice)


def record(message: str, *values: object) -> logging.LogRecord:
    """Return a log record of another library."""
    return logging.LogRecord("urllib3", logging.WARNING, __file__, 1, message, values, None)


def test_json_log_has_one_object_per_line(service_url: str, owner: psycopg.Connection, make: Make) -> None:
    make.activity(make.user("lin"), MARKER)
    port = free_port()
    # Lines of two processes are in the order of their batches.
    settings = {**RIGHT, "CONNECTION_URL": service_url, "PORT": port, "ACCESS_LOG": "on", "WEB_CONCURRENCY": "1"}
    with running("serve", **settings) as server:
        assert get(port, "/livez")[0] == 200
        with closing(HTTPConnection("127.0.0.1", int(port), timeout=5)) as connection:
            connection.request("GET", f"/api/activities/@lin?term={MARKER}", headers={"X-Request-Id": "mine"})
            assert connection.getresponse().status == 200
        owner.execute("ALTER TABLE users DROP COLUMN bio")
        assert get(port, "/api/activities/@lin")[0] == 500
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=30)

    first, fault, last = (json.loads(line) for line in err.splitlines())
    keys = {"time", "level", "message", "trace_id", "request_id", "method", "route", "status", "duration_ms"}
    assert first.keys() == last.keys() == keys
    assert (first["request_id"], first["route"], first["status"]) == ("mine", "/api/activities/@<handle>", 200)
    assert (last["status"], last["trace_id"]) == (500, fault["trace_id"])
    assert fault["message"].startswith("UndefinedColumn 42703\n")
    assert MARKER not in err


@pytest.mark.slow
def test_without_the_access_log_no_request_is_logged(service_url: str) -> None:
    port = free_port()
    settings = {**RIGHT, "CONNECTION_URL": service_url, "PORT": port}
    with running("serve", **settings) as server:
        assert get(port, HOME)[0] == 200
        server.send_signal(signal.SIGTERM)

        assert server.communicate(timeout=30) == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize(("log_level", "access_log"), [("info", "on"), ("warning", "off")])
def test_deprecated_log_level_works_and_is_reported_once(service_url: str, log_level: str, access_log: str) -> None:
    port = free_port()
    # Two workers: the line is the main process's.
    settings = {**RIGHT, "CONNECTION_URL": service_url, "PORT": port, "WEB_CONCURRENCY": "2"}
    with running("serve", **settings | {"ACCESS_LOG": "", "LOG_LEVEL": log_level}) as server:
        assert get(port, HOME)[0] == 200
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=30)

    deprecation, *requests = [json.loads(line) for line in err.splitlines()]
    assert (deprecation["level"], deprecation["message"]) == (
        "warning",
        f"LOG_LEVEL is deprecated, and the next release ignores it: unset it, and set ACCESS_LOG={access_log} instead",
    )
    assert [line["message"] for line in requests] == ["request"] * (access_log == "on")


@pytest.mark.slow
def test_console_exporter_prints_a_span_tree(service_url: str, make: Make) -> None:
    author = make.user()
    port = free_port()
    settings = {"OTEL_TRACES_EXPORTER": "console"}
    with running("serve", **{**RIGHT, "CONNECTION_URL": service_url, "PORT": port, **settings}) as server:
        assert get(port, f"/api/activities/@{author.handle}")[0] == 200
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=30)

    names = [line[: len(line) - len(line.lstrip())] + line.split(" ms ")[0].split()[0] for line in err.splitlines()]
    assert names == ["GET", "  anonymous-page", "    user-activities", "      activities/user"]


@pytest.mark.slow
@pytest.mark.parametrize("way", UNWRITABLE)
def test_unwritable_log_fails_no_request(
    service_url: str, pool: dict[str, str], owner: psycopg.Connection, make: Make, way: str
) -> None:
    author = make.user()
    port = free_port()
    settings = {**RIGHT, **pool, "CONNECTION_URL": service_url, "PORT": port, "ACCESS_LOG": "on"}
    with unwritable(way) as stderr, started([SERVE], PIPE, stderr, **settings) as server:
        assert [get(port, HOME)[0] for _ in range(50)] == [200] * 50
        assert post(port, author, MARKER) == 200
        # No request waits for an error's log record either.
        owner.execute("ALTER TABLE users DROP COLUMN bio")
        assert get(port, f"/api/activities/@{author.handle}")[0] == 500
        server.send_signal(signal.SIGTERM)
        assert server.wait(STOP_SECONDS) == 0

    assert rows(service_url, "SELECT message FROM activities") == [(MARKER,)]


@pytest.mark.slow
def test_closed_standard_error_redirects_no_log_line(service_url: str, pool: dict[str, str], make: Make) -> None:
    author = make.user()
    port = free_port()
    settings = {**RIGHT, **pool, "CONNECTION_URL": service_url, "PORT": port, "ACCESS_LOG": "on"}
    # Start Python directly: bash would read bin/serve by the free descriptor.
    with started(["bash", "-c", 'exec "$0" -m serve 2>&-', sys.executable], PYTHONPATH=BACKEND, **settings) as server:
        assert [get(port, HOME)[0] for _ in range(10)] == [200] * 10
        assert post(port, author, MARKER) == 200
        # The free number is that of the memory in which the processes share their stop signal.
        assert get(port, "/readyz")[0] == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(STOP_SECONDS) == 0

    assert rows(service_url, "SELECT message FROM activities") == [(MARKER,)]


@pytest.mark.slow
def test_killed_worker_is_replaced_with_unread_output(service_url: str) -> None:
    port = free_port()
    settings = {**RIGHT, "CONNECTION_URL": service_url, "PORT": port, "WEB_CONCURRENCY": "1"}
    with unwritable("pipe not read") as output, started([SERVE], output, output, **settings) as server:
        assert get(port, HOME)[0] == 200
        (worker,) = tree(server.pid)[1:]
        os.kill(worker, signal.SIGKILL)

        wait_until(lambda: tree(server.pid)[1:] not in ([], [worker]))
        assert get(port, HOME)[0] == 200


@pytest.mark.slow
def test_main_process_logs_in_the_workers_format(service_url: str) -> None:
    port = free_port()
    settings = {**RIGHT, "CONNECTION_URL": service_url, "PORT": port, "WEB_CONCURRENCY": "1"}
    with running("serve", **settings) as server:
        assert get(port, HOME)[0] == 200
        (worker,) = tree(server.pid)[1:]
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: tree(server.pid)[1:] not in ([], [worker]))
        assert get(port, HOME)[0] == 200
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=30)

    line = json.loads(err)
    assert out == ""
    assert line.keys() == {"time", "level", "message"}
    assert (line["level"], line["message"]) == ("error", "Unexpected exit from worker-1")


@pytest.mark.slow
def test_unread_log_drops_and_counts_records_beyond_the_queue(service_url: str) -> None:
    port = free_port()
    settings = {**RIGHT, **UNLIMITED, "CONNECTION_URL": service_url, "PORT": port, "ACCESS_LOG": "on"}
    settings["WEB_CONCURRENCY"] = "1"
    # More records than the queue and a pipe hold.
    count = QUEUE_SIZE + 2_000
    reader, writer = os.pipe()
    with os.fdopen(reader) as log, started([SERVE], PIPE, writer, **settings) as server:
        os.close(writer)
        assert get(port, HOME)[0] == 200
        assert send_pipelined(port, count) == count
        lines = [json.loads(next(log)) for _ in range(QUEUE_SIZE)]
        assert get(port, HOME)[0] == 200
        server.send_signal(signal.SIGTERM)
        lines += [json.loads(line) for line in log]

    written, dropped = count_records(lines)
    assert written + dropped == count + 2
    # The records in the pipe, in the queue and in the writing thread. A line has more than 200 bytes.
    assert QUEUE_SIZE < written < QUEUE_SIZE + 400


@pytest.mark.slow
def test_log_continues_when_its_reader_returns(service_url: str, tmp_path: Path) -> None:
    port = free_port()
    settings = {**RIGHT, "CONNECTION_URL": service_url, "PORT": port, "ACCESS_LOG": "on"}
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    gone = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo, os.O_WRONLY)
    os.close(gone)
    with started([SERVE], PIPE, writer, **settings) as server:
        assert [get(port, HOME)[0] for _ in range(20)] == [200] * 20
        with fifo.open() as log:
            os.close(writer)
            assert [get(port, HOME)[0] for _ in range(20)] == [200] * 20
            server.send_signal(signal.SIGTERM)
            lines = [json.loads(line) for line in log]

    written, dropped = count_records(lines)
    assert written + dropped == 40
    assert written > 0
    assert dropped > 0


# A record of another library within a request, and Python's own messages.
PROGRAM = """
import logging, threading, warnings
from lib.logs import configure_logging

class Untidy:
    def __del__(self):
        raise ValueError("f1nd-me")

def fail():
    raise LookupError("f1nd-me")

configure_logging(is_json=True, context=lambda: {"trace_id": "t", "request_id": "r", "route": "/", "user": "f1nd-me"})
try:
    fail()
except LookupError as error:
    logging.getLogger("urllib3").warning("no %s", "luck", exc_info=True, stack_info=True, extra={"row": "f1nd-me"})
thread = threading.Thread(target=fail, name="worker")
thread.start()
thread.join()
Untidy()
warnings.warn("old", DeprecationWarning)
logging.getLogger("urllib3").info("not told")
"""


def test_exception_text_is_not_logged() -> None:
    with started([ROOT / "bin" / "python", "-W", "always", "-c", PROGRAM]) as program:
        out, err = program.communicate(timeout=30)
    assert (program.returncode, out) == (0, "")
    lines = [json.loads(line) for line in err.splitlines()]

    assert MARKER not in err
    heads = [line["message"].split("\n")[:2] for line in lines]
    assert heads[0] == ["no luck", "LookupError"]
    assert heads[1] == ["the thread worker has ended", "LookupError"]
    assert heads[2][1] == "ValueError"
    assert "DeprecationWarning: old" in heads[3][0]
    assert '  File "<string>", line 10, in fail' in lines[0]["message"]
    keys = {"time", "level", "message"}
    assert [set(line) for line in lines] == [keys | {"trace_id", "request_id", "route"}] * 4


def test_record_has_the_context_of_its_own_thread() -> None:
    handler = BoundedQueueHandler(2)
    handler.addFilter(ContextFilter(lambda: {"route": threading.current_thread().name}))

    thread = threading.Thread(target=handler.handle, args=[record("hello")], name="/livez")
    thread.start()
    thread.join()

    assert json.loads(JSONFormatter().format(handler.records.get()))["route"] == "/livez"


def test_repeated_message_is_logged_once_in_a_time() -> None:
    filters = {seconds: RepetitionFilter(seconds) for seconds in (60, 0)}

    def accepted(seconds: int) -> list[bool]:
        """Return which of three records are logged. The first two are about different connections."""
        records = [record("discarding %s", object()), record("discarding %s", object()), record("connecting")]
        return [bool(filters[seconds].filter(each)) for each in records]

    assert [accepted(60), accepted(60)] == [[True, False, True], [False, False, False]]
    assert accepted(0) == [True, True, True]


def test_message_about_a_standby_hides_none_about_the_primary() -> None:
    repetitions = RepetitionFilter(60)
    records = [record("connecting in %r: %s", pool, "refused") for pool in ("cruddur-standby", "cruddur") * 2]

    assert [bool(repetitions.filter(each)) for each in records] == [True, True, False, False]


def test_full_queue_drops_and_counts_records() -> None:
    handler = BoundedQueueHandler(2)

    handler.handle(record("one"))
    handler.handle(record("two"))
    assert handler.dropped == 0
    handler.handle(record("three"))

    assert handler.dropped == 1
    assert [handler.records.get().msg for _ in range(handler.records.qsize())] == ["one", "two"]


def test_malformed_message_is_logged_unformatted() -> None:
    handler = BoundedQueueHandler(1)

    handler.handle(record("%d of %d", MARKER))

    assert handler.records.get().getMessage() == "malformed log message: %d of %d"


def test_arguments_may_change_after_logging() -> None:
    handler, names = BoundedQueueHandler(1), ["ann"]
    logged = record("names: %s", names)

    handler.handle(logged)
    names.append("bob")

    assert handler.records.get().getMessage() == "names: ['ann']"
    # Other handlers get the unchanged record.
    assert logged.msg == "names: %s"


def test_partly_written_line_does_not_corrupt_the_next() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    stream = Stream(writer)
    with pytest.raises(BlockingIOError):
        stream.write(b"x" * (1 << 20) + b"\n")
    with os.fdopen(reader, "rb", buffering=0) as log:
        log.read(1 << 20)

        stream.write(b"next\n")
        stream.write(b"last\n")
        os.close(writer)

        assert log.read() == b"\nnext\nlast\n"


def test_text_format_is_one_short_line() -> None:
    request = logging.makeLogRecord(
        {"name": REQUESTS, "method": "GET", "route": "", "status": 404, "duration_ms": 1.25, "request_id": "0123456789"}
    )

    assert TextFormatter().format(request)[9:] == "GET (no such path) 404 1.2 ms 01234567"
    assert TextFormatter().format(record("no %s", "luck"))[9:] == "warning: no luck"


class RecordedStream(Stream):
    """A stream that keeps what is written to it."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, lines: bytes) -> None:
        """Keep the lines."""
        self.writes.append(lines)


def test_queued_lines_are_written_at_the_end_in_writes_that_no_process_mixes(monkeypatch: pytest.MonkeyPatch) -> None:
    # A single wait for further lines would be too long. So a wait with lines in the queue fails this test.
    monkeypatch.setattr(logs, "BATCH_SECONDS", 60)
    monkeypatch.setattr(logs, "FLUSH_SECONDS", 30)
    handler, stream = BoundedQueueHandler(QUEUE_SIZE), RecordedStream()
    listener = Listener(handler, JSONFormatter(), stream)
    # One line is longer than what a pipe takes in one piece.
    for n in range(QUEUE_SIZE):
        text = "long " * ATOMIC_BYTES if n == 70 else f"line {n}"
        handler.handle(logging.LogRecord("cruddur", logging.INFO, __file__, 0, text, None, None))

    listener.start()
    listener.stop()

    assert len(b"".join(stream.writes).splitlines()) == QUEUE_SIZE
    assert all(each.endswith(b"\n") for each in stream.writes)
    assert [each.count(b"\n") for each in stream.writes if len(each) > ATOMIC_BYTES] == [1]
    assert len(stream.writes) < QUEUE_SIZE / 10
    assert handler.dropped == 0

"""What the service says on standard error: its log, and traces for who looks at a terminal."""

import json
import signal
from contextlib import closing
from http.client import HTTPConnection

import psycopg

from tests.make import Make
from tests.running import free_port, running
from tests.test_serve import RIGHT, get

HOME = "/api/activities/home"
# What nobody must find in a log.
MARKER = "f1nd-me"


def test_the_log_has_one_object_a_line(service_url: str, owner: psycopg.Connection, make: Make) -> None:
    make.activity(make.user("lin"), MARKER)
    port = free_port()
    settings = {**RIGHT, "CONNECTION_URL": service_url, "PORT": port, "LOG_LEVEL": "info"}
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


def test_a_log_of_warnings_tells_of_no_request(service_url: str) -> None:
    port = free_port()
    settings = {**RIGHT, "CONNECTION_URL": service_url, "PORT": port}
    with running("serve", **settings) as server:
        assert get(port, HOME)[0] == 200
        server.send_signal(signal.SIGTERM)

        assert server.communicate(timeout=30) == ("", "")


def test_the_console_shows_a_tree(service_url: str, make: Make) -> None:
    author = make.user()
    port = free_port()
    settings = {"OTEL_TRACES_EXPORTER": "console"}
    with running("serve", **{**RIGHT, "CONNECTION_URL": service_url, "PORT": port, **settings}) as server:
        assert get(port, f"/api/activities/@{author.handle}")[0] == 200
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=30)

    names = [line[: len(line) - len(line.lstrip())] + line.split(" ms ")[0].split()[0] for line in err.splitlines()]
    assert names == ["GET", "  user-activities", "    activities/user"]

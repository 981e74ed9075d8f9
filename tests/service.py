"""The service as in production, for tests of whole processes."""

import json
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection
from subprocess import CompletedProcess
from unittest.mock import patch

import serve
from harness.ports import free_port
from harness.waiting import wait_until
from tests import in_process, tokens
from tests.conftest import FRONTEND
from tests.processes import running, script

RIGHT = {
    "CONNECTION_URL": "postgresql://127.0.0.1:1/cruddur",
    "FRONTEND_URL": FRONTEND,
    **tokens.SETTINGS,
    "DRAIN_SECONDS": "0",
    # A line for each request would fill the pipe: the test reads it at the end.
    "ACCESS_LOG": "off",
}


def get(port: str, path: str) -> tuple[int, bytes]:
    """Return status and body of a GET, as soon as the server listens."""

    def response() -> tuple[int, bytes] | None:
        with (
            suppress(ConnectionRefusedError),
            closing(HTTPConnection("127.0.0.1", int(port), timeout=5)) as connection,
        ):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        return None

    return wait_until(response, "a listening server")


@contextmanager
def serving(service_url: str, *, says: str = "", **settings: str) -> Iterator[str]:
    """Run the service as in production while this lasts. Its log has no line but `says`. Yields its port."""
    port = free_port()
    with running("serve", **{**RIGHT, "CONNECTION_URL": service_url, "PORT": port, **settings}) as server:
        assert get(port, "/api/health-check")[0] == HTTPStatus.OK
        yield port
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=30)
    end = (server.returncode, out, faults(err))
    assert end == (0, "", [says] if says else []), end


def faults(err: str) -> list[str]:
    """Return the first line of each record of a log, without those of requests."""
    records = [json.loads(line) for line in err.splitlines()]
    return [record["message"].partition("\n")[0] for record in records if record["level"] != "info"]


def refused(done: CompletedProcess[str]) -> list[str]:
    """Return the lines of the failure of a service that must not start."""
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr.splitlines()


def fails(**settings: str) -> list[str]:
    """Start a service that must not start, in the tests' own process. Return the lines of its failure."""
    with patch.object(serve, "Server", side_effect=AssertionError("it starts")):
        return refused(in_process.script("serve", **{"PORT": free_port(), **RIGHT, **settings}))


def process_fails(**settings: str) -> list[str]:
    """Start such a service in a process of its own. Return the lines of its failure."""
    return refused(script("serve", **{"PORT": free_port(), **RIGHT, **settings}))

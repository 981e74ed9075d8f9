"""A deleted user in the whole service: no table, log line, span, export, ledger or restored backup has a marker."""

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from harness.collector import Collector, collecting
from harness.ports import free_port
from harness.waiting import wait_until
from tests import settings
from tests.cognito import DELETE_USER, FakeCognito
from tests.conftest import NEW
from tests.in_process import succeeds
from tests.processes import running
from tests.service import RIGHT, get
from tests.tokens import bearer

pytestmark = pytest.mark.slow

# Each text of the user has a marker of its own. The service never has it in another form, but for case.
HANDLE, NAME, EMAIL, SUB = "mark_handle", "mark-name", "mark-email@example.com", "mark-sub"
MARKERS = (HANDLE, NAME, EMAIL, SUB, "mark-bio", "mark-crud", "marktag", "mark-reply", "mark-comment", "mark-key")
# docs/privacy.md says that these stay: the other member's conversation, and the evidence of reports: the reported
# activity and the parent of a reported reply, with their author.
MESSAGE, REPORTED = "mark-message", "mark-reported"
KEPT = {"messages": {MESSAGE}, "reports": {REPORTED, HANDLE, NAME, "mark-bio", "mark-crud", "marktag"}}
LEDGER = "deletions.ledger"
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
ACCOUNT = "/api/account"


class Response(NamedTuple):
    """The status and the body of a response."""

    status: int
    body: Any


class Service:
    """The service in processes of its own, with what its requests and its telemetry go to."""

    def __init__(self, server: "subprocess.Popen[str]", port: str, cognito: FakeCognito, collector: Collector) -> None:
        self._server = server
        self.port = port
        self.cognito = cognito
        self.collector = collector

    def stop(self) -> str:
        """Stop the service, and return its output."""
        self._server.send_signal(signal.SIGTERM)
        return "".join(self._server.communicate(timeout=30))

    def send(self, sub: str, method: str, path: str, body: object = None, **headers: str) -> Response:
        """Send a request of the user `sub`."""
        headers = {"Content-Type": "application/json", **bearer(sub), **headers}
        with closing(HTTPConnection("127.0.0.1", int(self.port), timeout=30)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return Response(response.status, json.loads(response.read() or b"null"))

    def done(self, sub: str, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Send a request that must succeed, and return its body."""
        response = self.send(sub, method, path, body, **headers)
        assert response.status == 200, response
        return response.body

    def statuses(self, sub: str) -> list[int]:
        """Send 64 concurrent requests of the user, and return their statuses."""
        with ThreadPoolExecutor(16) as threads:
            sent = [threads.submit(self.send, sub, *REQUESTS[n % len(REQUESTS)]) for n in range(64)]
            return [each.result().status for each in sent]


REQUESTS: Sequence[tuple[Any, ...]] = [
    ("GET", "/api/activities/home"),
    ("GET", "/api/users/me"),
    ("GET", ACCOUNT),
    ("GET", "/api/message_groups"),
    ("POST", "/api/activities", {"message": "mark-late", "ttl": "1-day"}),
    ("POST", "/api/messages", {"handle": "partner", "message": "mark-late"}),
    ("PUT", "/api/users/@partner/follow", {}),
    ("DELETE", ACCOUNT, {"handle": HANDLE}),
]


@pytest.fixture
def service(service_url: str, cognito: FakeCognito, tmp_path: Path) -> Iterator[Service]:
    """Run the service with a log, a collector, a user pool and a ledger."""
    port = free_port()
    cognito.people[SUB] = {"preferred_username": HANDLE, "name": NAME, "email": EMAIL}
    cognito.people["sub-partner"] = {"preferred_username": "partner", "name": "Partner", "email": "p@example.com"}
    pool = {
        "AWS_COGNITO_JWKS_URL": f"{cognito.url}/jwks.json",
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": cognito.url,
    }
    limits = {name.upper(): str(limit) for name, limit in settings.UNLIMITED.items()}
    files = {"DELETION_LEDGER": str(tmp_path / LEDGER), "CONNECTION_URL": service_url}
    with collecting() as collector:
        telemetry = {"ACCESS_LOG": "on", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        options = {**RIGHT, **pool, **limits, **files, **telemetry, "WEB_CONCURRENCY": "2", "PORT": port}
        with running("serve", **options) as server:
            assert get(port, "/api/health-check")[0] == 200
            yield Service(server, port, cognito, collector)


def act(service: Service) -> None:
    """Have a new user and a partner do one of everything."""
    done = service.done
    assert done("sub-partner", "GET", "/api/users/me")["handle"] == "partner"
    done(SUB, "PUT", "/api/profile/update", {"display_name": NAME, "bio": "mark-bio"})
    keyed = {"Idempotency-Key": "mark-key"}
    crud = done(SUB, "POST", "/api/activities", {"message": "mark-crud #marktag", "ttl": "1-day"}, **keyed)
    theirs = done("sub-partner", "POST", "/api/activities", {"message": "theirs", "ttl": "1-day"})
    done(SUB, "POST", f"/api/activities/{theirs['uuid']}/reply", {"message": "mark-reply"})
    below = done("sub-partner", "POST", f"/api/activities/{crud['uuid']}/reply", {"message": "below"})
    for reader, activity in ((SUB, theirs), ("sub-partner", crud)):
        done(reader, "PUT", f"/api/activities/{activity['uuid']}/like", {})
        done(reader, "PUT", f"/api/activities/{activity['uuid']}/repost", {})
    for reader, handle in ((SUB, "partner"), ("sub-partner", HANDLE)):
        done(reader, "PUT", f"/api/users/@{handle}/follow", {})
        done(reader, "PUT", f"/api/users/@{handle}/mute", {"ttl": "1-day"})
    done(SUB, "PUT", "/api/users/@bystander/block", {})
    report = {"activity_uuid": below["uuid"], "category": "spam", "comment": "mark-comment"}
    done(SUB, "POST", "/api/reports", report)
    reported = done(SUB, "POST", "/api/activities", {"message": REPORTED, "ttl": "1-day"})
    done("sub-partner", "POST", "/api/reports", {"activity_uuid": reported["uuid"], "category": "spam"})
    group = done(SUB, "POST", "/api/messages", {"handle": "partner", "message": MESSAGE})["message_group_uuid"]
    done("sub-partner", "POST", "/api/messages", {"message_group_uuid": group, "message": "hello", "ttl": "1-hour"})
    until = {"until": "2026-01-01T00:00:00+00:00"}
    done(SUB, "PUT", "/api/notifications/read", until)
    done(SUB, "PUT", f"/api/messages/{group}/read", until)
    export = json.dumps(done(SUB, "GET", "/api/account/export"))
    assert {each for each in MARKERS if each not in export} == {"mark-comment", "mark-key", SUB}


def texts(url: str) -> dict[str, str]:
    """Return all rows of each table as a text."""
    with psycopg.connect(url) as connection:
        tables = [name for (name,) in connection.execute(TABLES).fetchall()]
        statements = {name: SQL("SELECT {0}::text FROM {0}").format(Identifier(name)) for name in tables}
        return {name: "\n".join(text for (text,) in connection.execute(each)) for name, each in statements.items()}


def found(text: str, markers: Sequence[str] = (*MARKERS, MESSAGE, REPORTED, "mark-late")) -> set[str]:
    """Return the markers in a text."""
    return {each for each in markers if each.lower() in text.lower()}


def found_in_tables(url: str) -> dict[str, set[str]]:
    """Return the markers in each table that has one."""
    return {name: markers for name, text in texts(url).items() if (markers := found(text))}


def counts(owner: Connection) -> list[tuple[Any, ...]]:
    """Return the numbers of rows that a request of the user could add to."""
    tables = ("users", "activities", "messages", "message_groups", "follows", "likes", "idempotency_keys", "deletions")
    return owner.execute("SELECT " + ", ".join(f"(SELECT count(*) FROM {each})" for each in tables)).fetchall()


def delete(service: Service, owner: Connection) -> None:
    """Delete the user. The user pool waits until 64 requests with the user's token have their responses."""
    cognito = service.cognito
    cognito.answering.clear()
    with ThreadPoolExecutor(1) as thread:
        deletion = thread.submit(service.send, SUB, "DELETE", ACCOUNT, {"handle": HANDLE})
        wait_until(lambda: cognito.asked[DELETE_USER] == 1)
        before = counts(owner)
        assert Counter(service.statuses(SUB)) == {401: 64}
        assert counts(owner) == before
        cognito.answering.set()
        assert deletion.result().status == 200
    assert cognito.people.keys() == {"sub-partner"}


def finish(owner: Connection) -> None:
    """Wait for the service's purge, with a deletion that was confirmed 70 seconds ago."""
    owner.execute("UPDATE deletions SET confirmed_at = confirmed_at - interval '70 seconds'")
    wait_until(lambda: owner.execute("SELECT FROM deletions WHERE finished_at IS NOT NULL").rowcount == 1)


@pytest.mark.usefixtures("bystander")
def test_no_marker_of_a_deleted_user_remains(
    service: Service, owner: Connection, owner_url: str, new_url: str, tmp_path: Path
) -> None:
    act(service)
    backup = str(tmp_path / "before.dump")
    succeeds("db-backup", backup, CONNECTION_URL=owner_url)
    assert set().union(*found_in_tables(owner_url).values()) == {*MARKERS, MESSAGE, REPORTED}

    delete(service, owner)
    finish(owner)

    before = counts(owner)
    assert Counter(service.statuses(SUB)) == {401: 64}
    assert counts(owner) == before
    export = service.done("sub-partner", "GET", "/api/account/export")
    assert export["conversations"][0]["handle"].startswith("deleted_")
    assert found(json.dumps(export)) == set()
    log = service.stop()
    assert sum(json.loads(line)["message"] == "request" for line in log.splitlines()) > 128
    assert found(log) == set()
    spans = service.collector.spans()
    assert len(spans) > 128
    assert found(str(spans)) == set()
    assert found_in_tables(owner_url) == KEPT
    assert found((tmp_path / LEDGER).read_text()) == set()
    succeeds("db-restore", backup, NEW, CONNECTION_URL=owner_url, DELETION_LEDGER=str(tmp_path / LEDGER))
    assert found_in_tables(new_url) == KEPT

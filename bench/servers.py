"""Run the servers of a comparison, and check that all give the same responses."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

import urllib3
from psycopg.conninfo import conninfo_to_dict

from bench.data import as_service, service_url
from bench.install import PEERS, venv
from harness.ports import free_port
from harness.postgres import unpurged
from harness.processes import UNLIMITED, Running, started
from harness.wrk import Request
from lib.command_errors import CommandError
from lib.conninfo import conninfo
from lib.pagination import PageRequest
from ops import dev_keys
from ops.command import ROOT, Database, data_dir
from services.home_activities import HomeActivities
from services.user_activities import UserActivities

FEED = "/api/activities/home"
# A core each: the machine has two.
PROCESSES = "2"
SAMPLE_HANDLES = ("person_1", "Person_77", "person_500")
PAGE = PageRequest(20)
# The variables that libpq, asyncpg and postgres.js have in common.
PG = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
# The caller's settings of these names do not reach the servers.
EXCLUDED = ("AWS_", "OTEL_", "PG", "PYTHONPATH", "RATE_LIMIT_")


class Server(NamedTuple):
    """A server's name in the tables and its command, in which `{port}` stands for its port."""

    name: str
    command: Sequence[str]
    folder: Path


CRUDDUR = Server("Cruddur", [str(ROOT / "bin" / "serve")], ROOT)
GUNICORN = f"gunicorn --workers {PROCESSES} --threads 4 --bind 127.0.0.1:{{port}} app:app"
JOURNAL = Server("the journal's way", GUNICORN.split(), PEERS / "journal")
UVICORN = f"uvicorn --workers {PROCESSES} --loop uvloop --http httptools --no-access-log --log-level warning"
FASTAPI = Server("FastAPI + asyncpg", [*UVICORN.split(), "--port", "{port}", "main:app"], PEERS / "fastapi")
FASTIFY = Server("Fastify + postgres.js", ["node", "server.js"], PEERS / "fastify")


@contextmanager
def running(server: Server, database: Database, settings: Mapping[str, str]) -> Iterator[Running]:
    """Run the server on `database` while this lasts, from its first feed on."""
    port = free_port()
    with (
        unpurged(conninfo(database.url)),
        started(
            [word.format(port=port) for word in server.command],
            url=f"http://127.0.0.1:{port}{FEED}",
            environ={**environment(database), "PORT": port, **settings},
            folder=server.folder,
            log=data_dir() / "server.log",
        ) as service,
    ):
        yield service


def environment(database: Database) -> dict[str, str]:
    """Return the settings of all servers."""
    url = service_url(database)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(EXCLUDED)}
    parts = {PG[name]: str(value) for name, value in conninfo_to_dict(url).items() if name in PG}
    ours = {"SERVICE_CONNECTION_URL": url, "FRONTEND_URL": "http://localhost:3000", "HOST": "127.0.0.1"}
    # The peers log no requests either.
    ours |= {"DRAIN_SECONDS": "0", "ACCESS_LOG": "off"} | UNLIMITED
    path = {"PATH": f"{venv() / 'bin'}:{os.environ['PATH']}", "NODE_ENV": "production"}
    return inherited | parts | ours | path | dev_keys.settings() | {"WEB_CONCURRENCY": PROCESSES}


def check_reads(service: Running, database: Database) -> None:
    """Raise `CommandError` unless the feed, its second page and profiles are those of our own statements."""
    with as_service(database) as db, urllib3.PoolManager() as http:
        first = HomeActivities(db).run(page_request=PAGE)
        second = HomeActivities(db).run(page_request=PageRequest(20, first.next))
        response = check_response(http.request("GET", service.url + FEED), FEED, first.json)
        following = urljoin(service.url + FEED, response.headers["Link"].partition(">")[0].lstrip("<"))
        check_response(http.request("GET", following), following, second.json)
        for handle in SAMPLE_HANDLES:
            profile = UserActivities(db).run(handle=handle, page_request=PAGE)
            path = f"/api/activities/@{handle}"
            check_response(http.request("GET", service.url + path), path, profile.json)


def check_post(service: Running, database: Database, request: Request) -> None:
    """Raise `CommandError` unless the response to a post is the activity that is in the database then."""
    headers = {"Authorization": f"Bearer {request.token}", "Content-Type": "application/json"}
    response = urllib3.request("POST", service.url + request.path, body=request.body, headers=headers)
    activity = response.json()
    with as_service(database) as db:
        expected = db.query_object("activities/show", activity_uuid=activity["uuid"], handle=activity["handle"])
    check_response(response, request.path, expected)


def check_response(response: urllib3.BaseHTTPResponse, path: str, expected: bytes) -> urllib3.BaseHTTPResponse:
    """Return the response. Raises `CommandError` unless it is 200 with the expected JSON."""
    if response.status != HTTPStatus.OK or response.json() != json.loads(expected):
        raise CommandError(
            f"{path}: unlike the other servers, this one responds {response.status} and {response.data[:300]!r}"
        )
    return response

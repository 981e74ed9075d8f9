"""Run the servers of a comparison, and check that all give the same responses."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

import urllib3
from psycopg.conninfo import conninfo_to_dict

from bench.data import as_service, service_url
from bench.install import PEERS, venv
from harness.environment import HOME_FEED, PROCESSES, SERVE, serving
from harness.postgres import unpurged
from harness.processes import Running
from harness.wrk import Request
from lib.command_errors import CommandError
from lib.conninfo import conninfo
from lib.pagination import PageRequest
from lib.queries import READER_COLUMNS
from ops.command import Database
from services.home_activities import HomeActivities
from services.user_activities import UserActivities

SAMPLE_HANDLES = ("person_1", "Person_77", "person_500")
PAGE = PageRequest(20)
# The variables that libpq, asyncpg and postgres.js have in common.
PG = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}


class Server(NamedTuple):
    """A server's name in the tables and its command, in which `{port}` stands for its port."""

    name: str
    command: tuple[str | Path, ...]


CRUDDUR = Server("Cruddur", tuple(SERVE))
GUNICORN = f"gunicorn --workers {PROCESSES} --threads 4 --bind 127.0.0.1:{{port}} app:app --chdir"
JOURNAL = Server("the journal's way", (*GUNICORN.split(), PEERS / "journal"))
UVICORN = f"uvicorn --workers {PROCESSES} --loop uvloop --http httptools --no-access-log --log-level warning"
FASTAPI = Server(
    "FastAPI + asyncpg", (*UVICORN.split(), "--port", "{port}", "main:app", "--app-dir", PEERS / "fastapi")
)
FASTIFY = Server("Fastify + postgres.js", ("node", PEERS / "fastify" / "server.js"))
# The dress besides the tracing by OTEL_*: the peers' packages, and a JSON line a request, gunicorn's by its access log.
GUNICORN_LOG = """--access-logfile=- --access-logformat='{"method": "%(m)s", "path": "%(U)s", "status": %(s)s}'"""
PRODUCTION = {"DRESS": "production", "ACCESS_LOG": "on", "GUNICORN_CMD_ARGS": GUNICORN_LOG}
ONE_IN_TEN = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}


def dressed(server: Server) -> Server:
    """Return a server with its camp's usual packages for traces, CORS, log lines and rate limits."""
    modules = {"main:app": "production:app", "app:app": "production:app"}
    return Server(server.name, tuple(modules.get(str(word), word) for word in server.command))


@contextmanager
def running(server: Server, database: Database, settings: Mapping[str, str]) -> Iterator[Running]:
    """Run the server on `database` while this lasts, from its first feed on."""
    url, words = service_url(database), {**environment(database), **settings}
    with unpurged(conninfo(database.url)), serving(url, server.command, name="server", **words) as service:
        yield service


def environment(database: Database) -> dict[str, str]:
    """Return the settings of the peers, and of pgbench, besides those of the service."""
    parts = conninfo_to_dict(service_url(database))
    return {
        **{PG[name]: str(value) for name, value in parts.items() if name in PG},
        "PATH": f"{venv() / 'bin'}:{os.environ['PATH']}",
        # Our packages are not theirs.
        "PYTHONPATH": "",
        "NODE_ENV": "production",
        "ACCESS_LOG": "off",
    }


def check_reads(service: Running, database: Database) -> None:
    """Raise `CommandError` unless the feed, its second page and profiles are those of our own statements."""
    with as_service(database) as db, urllib3.PoolManager() as http:
        first = HomeActivities(db).run(page_request=PAGE)
        second = HomeActivities(db).run(page_request=PageRequest(20, first.next))
        response = check_response(http.request("GET", service.url + HOME_FEED), first.json)
        following = urljoin(service.url + HOME_FEED, response.headers["Link"].partition(">")[0].lstrip("<"))
        check_response(http.request("GET", following), second.json)
        for handle in SAMPLE_HANDLES:
            profile = UserActivities(db).run(handle=handle, page_request=PAGE)
            check_response(http.request("GET", f"{service.url}/api/activities/@{handle}"), profile.json)


def check_post(service: Running, database: Database, request: Request) -> None:
    """Raise `CommandError` unless the response to a post is the activity that is in the database then."""
    headers = {"Authorization": f"Bearer {request.token}", "Content-Type": "application/json"}
    response = urllib3.request("POST", service.url + request.path, body=request.body, headers=headers)
    activity = response.json()
    with as_service(database) as db:
        expected = db.query_object("activities/show", activity_uuid=activity["uuid"], handle=activity["handle"])
    # Only this service has likes and reposts.
    reactions = {name: False for name in READER_COLUMNS if name in activity}
    check_response(response, json.dumps(json.loads(expected) | reactions).encode())


def check_response(response: urllib3.BaseHTTPResponse, expected: bytes) -> urllib3.BaseHTTPResponse:
    """Return the response. Raises `CommandError` unless it is 200 with the expected JSON."""
    if response.status != HTTPStatus.OK or response.json() != json.loads(expected):
        raise CommandError(
            f"{response.url}: unlike the other servers, this one responds {response.status} and {response.data[:300]!r}"
        )
    return response

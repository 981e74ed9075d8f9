"""Who is measured: how each is run, and that all give the same answers."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin

import urllib3
from psycopg.conninfo import conninfo_to_dict

from bench.data import as_service, service_url
from bench.install import PEERS, venv
from harness.ports import free_port
from harness.postgres import unpurged
from harness.processes import UNLIMITED, Running, started
from lib.command_errors import CommandError
from lib.conninfo import conninfo
from lib.pagination import PageRequest
from ops import dev_keys
from ops.command import ROOT, Database, data_dir
from services.home_activities import HomeActivities
from services.user_activities import UserActivities

# A core each: the machine has two.
PROCESSES = "2"
SAMPLE_HANDLES = ("person_1", "Person_77", "person_500")
PAGE = PageRequest(20)
# How libpq, asyncpg and postgres.js are told of a server alike.
PG = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
# Settings of whoever measures are not for those who are measured.
OTHERS = ("AWS_", "OTEL_", "PG", "PYTHONPATH", "RATE_LIMIT_")


class Contestant(NamedTuple):
    """A server, by its name in the tables and the command that runs it, in which `{port}` stands for its port."""

    name: str
    command: tuple[str, ...]
    folder: Path


CRUDDUR = Contestant("Cruddur", (str(ROOT / "bin" / "serve"),), ROOT)
JOURNAL = Contestant(
    "the journal's way",
    ("gunicorn", "--workers", PROCESSES, "--threads", "4", "--bind", "127.0.0.1:{port}", "app:app"),
    PEERS / "journal",
)
FASTAPI = Contestant(
    "FastAPI + asyncpg",
    (
        *("uvicorn", "--workers", PROCESSES, "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--log-level", "warning", "--port", "{port}", "main:app"),
    ),
    PEERS / "fastapi",
)
FASTIFY = Contestant("Fastify + postgres.js", ("node", "server.js"), PEERS / "fastify")


@contextmanager
def running(contestant: Contestant, database: Database, settings: Mapping[str, str]) -> Iterator[Running]:
    """The contestant on `database`, from its first feed on."""
    port = free_port()
    with (
        unpurged(conninfo(database.url)),
        started(
            [word.format(port=port) for word in contestant.command],
            url=f"http://127.0.0.1:{port}/api/activities/home",
            environ={**environment(database), "PORT": port, **settings},
            folder=contestant.folder,
            log=data_dir() / "contestant.log",
        ) as server,
    ):
        yield server


def environment(database: Database) -> dict[str, str]:
    """What all contestants are told, each in the words that it understands."""
    url = service_url(database)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    parts = {PG[name]: str(value) for name, value in conninfo_to_dict(url).items() if name in PG}
    ours = {"SERVICE_CONNECTION_URL": url, "FRONTEND_URL": "http://localhost:3000", "HOST": "127.0.0.1"}
    # The others log no requests either.
    ours |= {"DRAIN_SECONDS": "0", "ACCESS_LOG": "off"} | UNLIMITED
    path = {"PATH": f"{venv() / 'bin'}:{os.environ['PATH']}", "NODE_ENV": "production"}
    return kept | parts | ours | path | dev_keys.settings() | {"WEB_CONCURRENCY": PROCESSES}


def check_same(server: Running, database: Database) -> None:
    """Raise `CommandError` unless the feed, its second page and profiles are what our own statements read."""
    with as_service(database) as db, urllib3.PoolManager() as http:
        first = HomeActivities(db).run(page_request=PAGE)
        second = HomeActivities(db).run(page_request=PageRequest(20, first.next))
        expected = {"/api/activities/home": first.json}
        for handle in SAMPLE_HANDLES:
            expected[f"/api/activities/@{handle}"] = UserActivities(db).run(handle=handle, page_request=PAGE).json
        for path, body in expected.items():
            answer = http.request("GET", server.url + path)
            compare(path, answer, json.loads(body))
            if path.endswith("/home"):
                follow = urljoin(server.url + path, answer.headers["Link"].partition(">")[0].lstrip("<"))
                compare(follow, http.request("GET", follow), json.loads(second.json))


def compare(path: str, answer: urllib3.BaseHTTPResponse, expected: Any) -> None:
    """Raise `CommandError` unless the answer is 200 and says what is expected."""
    if answer.status != HTTPStatus.OK or answer.json() != expected:
        raise CommandError(f"{path} is answered {answer.status} and {answer.data[:300]!r}, and not as by the others")

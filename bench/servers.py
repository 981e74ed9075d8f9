"""Run the servers of a comparison, and check that all give the same responses."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin

import urllib3
from psycopg.conninfo import conninfo_to_dict

from bench.data import service_url
from bench.install import PEERS, venv
from harness.environment import PROCESSES, SERVE, serving
from harness.processes import Running
from harness.wrk import Request
from lib.command_errors import CommandError
from ops.command import Database

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
# Besides the tracing by OTEL_*: the peers' packages, and a JSON line a request, gunicorn's by its access log.
GUNICORN_LOG = """--access-logfile=- --access-logformat='{"method": "%(m)s", "path": "%(U)s", "status": %(s)s}'"""
PRODUCTION = {"DRESS": "production", "ACCESS_LOG": "on", "GUNICORN_CMD_ARGS": GUNICORN_LOG}
BARE, TENTH, EACH = "bare", "10 % traced", "each traced"
DRESSES = {
    BARE: {"ACCESS_LOG": "off"},
    TENTH: {**PRODUCTION, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
    EACH: PRODUCTION,
}


def dressed(server: Server) -> Server:
    """Return a server with its camp's usual packages for traces, CORS, log lines and rate limits."""
    modules = {"main:app": "production:app", "app:app": "production:app"}
    return Server(server.name, tuple(modules.get(str(word), word) for word in server.command))


@contextmanager
def running(
    server: Server, database: Database, dress: str = BARE, url: str = "", name: str = "server", **settings: str
) -> Iterator[Running]:
    """Run the server in a dress while this lasts, from its first 200 on. `url` is the collector's, `name` its log's."""
    command = (server if dress == BARE else dressed(server)).command
    export = {"OTEL_EXPORTER_OTLP_ENDPOINT": url} if dress != BARE else {}
    words = environment(database) | DRESSES[dress] | export | settings
    with serving(service_url(database), command, name=name, **words) as service:
        yield service


def count_lines(log: Path, text: bytes) -> int:
    """Return the number of lines of a log with that text."""
    with log.open("rb") as lines:
        return sum(text in line for line in lines)


def environment(database: Database) -> dict[str, str]:
    """Return the settings of the peers, and of pgbench, besides those of the service."""
    parts = conninfo_to_dict(service_url(database))
    return {
        **{PG[name]: str(value) for name, value in parts.items() if name in PG},
        "PATH": f"{venv() / 'bin'}:{os.environ['PATH']}",
        # Our packages are not theirs.
        "PYTHONPATH": "",
        "NODE_ENV": "production",
    }


def check(service: Running, reference: Running, requests: Sequence[Request]) -> None:
    """Raise `CommandError` unless the responses are those of the reference, this service on the same database."""
    with urllib3.PoolManager() as http:
        for request in requests:
            bodies = pages(http, service.url, request)
            if request.method == "POST":
                # A second POST would create a second activity.
                path = f"/api/activities/@{bodies[0]['handle']}/status/{bodies[0]['uuid']}"
                expected = [pages(http, reference.url, Request(path, request.token))[0]["activity"]]
            else:
                expected = pages(http, reference.url, request)
            if bodies != expected:
                raise CommandError(f"{service.url}{request.path}: unlike this service: {str(bodies)[:300]}")


def pages(http: urllib3.PoolManager, url: str, request: Request) -> list[Any]:
    """Return the response's JSON, and that of the next page if there is one. Raises `CommandError` unless it is 200."""
    response = request.send(http, url)
    if response.status != HTTPStatus.OK:
        raise CommandError(f"{url}{request.path}: {response.status}, {response.data[:300]!r}")
    link = response.headers.get("Link", "").partition(">")[0].lstrip("<")
    following = request._replace(path=urljoin(request.path, link))
    return [response.json(), *([following.send(http, url).json()] if link else [])]

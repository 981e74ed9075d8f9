"""What drills stand on: Postgres with people in it, and the service as in production, all on 127.0.0.1.

As in `with ground() as postgres, serving(postgres.url) as service:`
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg.rows import TupleRow

from bench.contestants import RAISED_LIMITS, free_port
from bench.processes import Running, started
from faults.cluster import NOTHING, Cluster, cluster
from ops import dev_keys
from ops.command import ROOT, Database, data_dir
from ops.create_database import ROLE, create
from ops.dev_token import create_access_token
from ops.fake_data import fake_data
from ops.schema_load import schema_load

PEOPLE, ACTIVITIES = 20, 200
# A core each, as bin/serve has it when it is told nothing.
PROCESSES = "2"
# Settings of whoever runs the drills are not for what is drilled.
OTHERS = (
    *("AWS_", "OTEL_", "PG", "PYTHONPATH", "CONNECTION_URL", "SERVICE_CONNECTION_URL", "DATABASE_", "DRAIN_"),
    "RATE_LIMIT_",
)
SERVE = (ROOT / "bin" / "serve",)
FIRST_PAGE = "/api/activities/home"


class Person(NamedTuple):
    """Somebody in the database, with an access token that the service trusts for a day."""

    handle: str
    token: str


class Ground(NamedTuple):
    """A cluster with the schema of today, people and activities, and who the people are."""

    cluster: Cluster
    people: list[Person]

    @property
    def url(self) -> str:
        """The connection string of the service's role, straight to the cluster."""
        return self.cluster.url(user=ROLE)

    def by_way_of(self, port: str) -> str:
        """The same through a proxy on `port`."""
        return by_way_of(self.url, port)

    def rows(self, statement: str, *parameters: object) -> list[TupleRow]:
        """What a statement answers its owner, straight from the cluster."""
        return rows(self.cluster, statement, *parameters)


@contextmanager
def ground(parent: Path | None = None, *, options: Mapping[str, str] = NOTHING) -> Iterator[Ground]:
    """A new cluster with people in it, below the folder `parent`, with server settings besides; gone at the end."""
    with cluster(parent, options=options) as made:
        yield Ground(made, fill(made))


def fill(made: Cluster) -> list[Person]:
    """Load the schema, make up people and activities. Who they are."""
    database = Database("CONNECTION_URL", made.url())
    create(database)
    schema_load(database)
    fake_data(database, users=PEOPLE, activities=ACTIVITIES)
    # Also where commits are not waited for, these are there.
    rows(made, "CHECKPOINT")
    key = dev_keys.load_or_create()
    found = rows(made, "SELECT users.handle, users.cognito_user_id FROM users ORDER BY users.handle")
    return [Person(handle, create_access_token(key, sub)) for handle, sub in found]


def rows(made: Cluster, statement: str, *parameters: object) -> list[TupleRow]:
    """What a statement answers the cluster's owner."""
    with psycopg.connect(made.url(), autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


def by_way_of(url: str, port: str) -> str:
    """A connection string with another port in it."""
    return psycopg.conninfo.make_conninfo(url, port=port)


@contextmanager
def serving(
    url: str,
    command: Sequence[str | Path] = SERVE,
    /,
    *,
    name: str = "service",
    first: str = FIRST_PAGE,
    **settings: str,
) -> Iterator[Running]:
    """`bin/serve` on the database `url`, from its first 200 to `first` on: its process, and its own URL.

    `settings` come on top of what production is told; `PORT` may be one of them. `name` keeps the logs of
    several apart. `command` is another way to run the service.
    """
    dev_keys.load_or_create()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    port = settings.get("PORT") or free_port()
    ours = {
        "SERVICE_CONNECTION_URL": url,
        "FRONTEND_URL": "http://localhost:3000",
        "HOST": "127.0.0.1",
        "PORT": port,
        "WEB_CONCURRENCY": PROCESSES,
        # Nobody waits for this one to leave a balancer's list, but where that is the drill.
        "DRAIN_SECONDS": "0",
        **RAISED_LIMITS,
    }
    with started(
        command,
        url=f"http://127.0.0.1:{port}{first}",
        environ=kept | dev_keys.settings() | ours | settings,
        folder=ROOT,
        log=data_dir() / f"{name}.log",
    ) as running:
        yield running

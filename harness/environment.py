"""The environment of a drill on 127.0.0.1: Postgres with users, the service as in production, a network between them.

As in `with environment(options=...) as env:`
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from harness.ports import free_port
from harness.postgres import NOTHING, Cluster, cluster, locked, unpurged
from harness.processes import CLEAN, UNLIMITED, Running, started
from harness.proxy import Proxy, proxy
from ops import dev_keys
from ops.command import ROOT, Database, data_dir
from ops.create_database import ROLE, create
from ops.dev_token import create_access_token
from ops.fake_data import Size, fake_data
from ops.schema_load import schema_load

USERS, ACTIVITIES = 20, 200
# A core each, as bin/serve has it by default.
PROCESSES = 2
SERVE: Sequence[str | Path] = (ROOT / "bin" / "serve",)
HOME_FEED = "/api/activities/home"


class Person(NamedTuple):
    """A user of the database, with an access token that the service trusts for a day."""

    handle: str
    token: str


@dataclass
class Postgres:
    """A cluster with the schema of today, activities and their users."""

    cluster: Cluster
    people: list[Person]

    @property
    def database_url(self) -> str:
        """The connection string of the service's role."""
        return self.cluster.url(user=ROLE)

    @property
    def page(self) -> str:
        """The path of a page that is read from the database each time."""
        return self.pages[0]

    @property
    def pages(self) -> list[str]:
        """Such a page of each user."""
        return [f"/api/activities/@{person.handle}?limit=19" for person in self.people]

    def rows(self, statement: str, *parameters: object) -> list[TupleRow]:
        """Return the owner's result of a statement."""
        return self.cluster.rows(statement, *parameters)

    def unpurged(self, *, when: bool = True) -> AbstractContextManager[None]:
        """Keep the purge away while the result lasts. Without `when`, do nothing."""
        return unpurged(self.cluster.url(), when=when)

    def locked(self) -> AbstractContextManager[None]:
        """Lock the table of activities against reads while the result lasts."""
        return locked(self.cluster.url())

    def terminate_sessions(self, where: str = "true") -> int:
        """End the service's sessions of that kind, and wait for it. Return their number."""
        statement = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s AND {where}"
        return len(self.rows(statement, ROLE))

    def sessions(self) -> set[int]:
        """Return the process ids of the service's sessions."""
        return {pid for (pid,) in self.rows("SELECT pid FROM pg_stat_activity WHERE usename = %s", ROLE)}


@dataclass
class Environment(Postgres):
    """Postgres, the network between it and the service, and the service."""

    network: Proxy
    service: Running

    @property
    def url(self) -> str:
        """The service's URL."""
        return self.service.url


@contextmanager
def postgres(parent: Path | None = None, *, options: Mapping[str, str] = NOTHING) -> Iterator[Postgres]:
    """Run a new cluster with users, below the folder `parent`, with server settings besides, while this lasts."""
    with cluster(parent, options=options) as server:
        yield Postgres(server, fill(server))


def fill(server: Cluster) -> list[Person]:
    """Load the schema and make up users and activities. Return the users."""
    database = Database("CONNECTION_URL", server.url())
    create(database)
    schema_load(database)
    fake_data(database, Size(users=USERS, activities=ACTIVITIES))
    # Also where commits do not wait for the disk, these are on it.
    server.rows("CHECKPOINT")
    key = dev_keys.load_or_create()
    rows = server.rows("SELECT users.handle, users.cognito_user_id FROM users ORDER BY users.handle")
    return [Person(handle, create_access_token(key, sub)) for handle, sub in rows]


@contextmanager
def environment(
    *,
    options: Mapping[str, str] = NOTHING,
    words: Mapping[str, str] = NOTHING,
    settings: Mapping[str, str] = NOTHING,
    command: Sequence[str | Path] = SERVE,
    proxied: bool = False,
) -> Iterator[Environment]:
    """Run all of it while this lasts.

    `options` are Postgres' settings, `words` parts of the connection string, `settings` and `command` the service's.
    `proxied` connects the service by way of the network that drills disturb.
    """
    with postgres(options=options) as database, proxy(database.cluster.port) as network:
        port = {"port": network.port} if proxied else {}
        with serving(make_conninfo(database.database_url, **port, **words), command, **settings) as service:
            yield Environment(database.cluster, database.people, network, service)


@contextmanager
def serving(
    database_url: str,
    command: Sequence[str | Path] = SERVE,
    /,
    *,
    name: str = "service",
    first: str = HOME_FEED,
    **settings: str,
) -> Iterator[Running]:
    """Run `bin/serve`, or another command that serves the API, from its first 200 to `first` on.

    `settings` come on top of production's; `PORT` may be among them. `{port}` in the command stands for the port.
    `name` tells the logs of several apart.
    """
    dev_keys.load_or_create()
    port = settings.get("PORT") or free_port()
    usual = {
        "SERVICE_CONNECTION_URL": database_url,
        "FRONTEND_URL": "http://localhost:3000",
        "HOST": "127.0.0.1",
        "PORT": port,
        "WEB_CONCURRENCY": str(PROCESSES),
        # Without a load balancer. The drills with one set it.
        "DRAIN_SECONDS": "0",
        **UNLIMITED,
    }
    with started(
        [str(word).replace("{port}", port) for word in command],
        url=f"http://127.0.0.1:{port}{first}",
        environ=CLEAN | dev_keys.settings() | usual | settings,
        folder=ROOT,
        log=data_dir() / f"{name}.log",
    ) as service:
        yield service

"""Create the databases of the benchmark, and keep them as long as their activities live."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from harness.commands import tell
from lib.checks import SCHEMA
from lib.conninfo import conninfo
from lib.db import Db
from lib.pool import Connection, configure_connection
from lib.text import fold
from ops.command import Database
from ops.create_database import ROLE, create
from ops.drop_database import drop
from ops.fake_data import Activity, Size, fake_data
from ops.schema_load import schema_load, schema_revision

# Words of no made-up message. Every activity gets the first, and this many get the second.
COMMON, RARE, HOLDERS = "cruddur", "zephyr", 20
# Live activities expire after 30 days at most. Older databases are created anew.
FRESH = "SELECT max(activities.created_at) > now() - interval '20 days' FROM activities"
EXPIRE = """
    UPDATE activities
    SET expires_at = now() + CASE WHEN newest.n % 20 = 0 THEN interval '29 days' ELSE interval '-1 second' END
    FROM (
        SELECT activities.uuid, row_number() OVER (ORDER BY activities.created_at DESC, activities.uuid DESC) AS n
        FROM activities
        ORDER BY activities.created_at DESC, activities.uuid DESC
        LIMIT 10000
    ) AS newest
    WHERE activities.uuid = newest.uuid
"""


class Data(NamedTuple):
    """A database's name, and its numbers of rows. Half of the activities have expired."""

    name: str
    users: int
    activities: int
    reactions: int = 0
    follows: int = 0


# Each user follows twenty others, and has liked and reposted the newest activity.
READS = Data("bench_feeds", users=10_000, activities=200_000, reactions=10_000, follows=200_000)
SMALL = Data("bench_20_thousand", users=1_000, activities=20_000)
LARGE = Data("bench_2_million", users=100_000, activities=2_000_000)


def get_or_create(server: Database, data: Data) -> Database:
    """Return the database of `data`, created where no fresh one exists."""
    database = named(server, data.name)
    if not is_fresh(database):
        tell(f"creating {data.name}: {data.activities:,} activities of {data.users:,} people")
        drop(database)
        create(database)
        schema_load(database)
        size = Size(data.users, data.activities, data.reactions, data.reactions, data.follows)
        fake_data(database, size, change=partial(with_terms, count=data.activities))
    return database


def get_or_create_expired(server: Database) -> Database:
    """Return a copy of the large database with 95 % of the newest 10,000 activities expired, and none purged."""
    large = get_or_create(server, LARGE)
    database = named(server, "bench_2_million_expired")
    if not is_fresh(database):
        tell(f"creating bench_2_million_expired from {LARGE.name}")
        clone(large, database)
        with database.connect() as connection:
            connection.execute(EXPIRE)
            connection.execute("VACUUM (ANALYZE) activities")
    return database


def clone(source: Database, target: Database) -> None:
    """Create `target` anew as a copy of `source`."""
    drop(target)
    names = SQL("{} TEMPLATE {}").format(Identifier(target.name), Identifier(source.name))
    with source.connect("postgres") as connection:
        connection.execute(SQL("CREATE DATABASE {} STRATEGY FILE_COPY").format(names))
    # A copy has the rows, but not the database's own settings.
    create(target)


def named(server: Database, name: str) -> Database:
    """Return the database `name` on the server."""
    return Database(server.setting, make_conninfo(server.url, dbname=name))


def is_fresh(database: Database) -> bool:
    """Return whether the database exists with the current schema and recent activities."""
    if not database.exists():
        return False
    with database.connect() as connection:
        return schema_revision(connection) == SCHEMA and connection.execute(FRESH).fetchone() == (True,)


def with_terms(activities: Iterator[Activity], count: int) -> Iterator[Activity]:
    """Add the words of the searches to the messages."""
    for n, activity in enumerate(activities):
        terms = f"{COMMON} {RARE}" if n % (count // HOLDERS) == 1 else COMMON
        message = f"{activity.message} {terms}"
        yield activity._replace(message=message, search_text=fold(message))


def service_url(database: Database) -> str:
    """Return the URL of the service's role, or else the owner's."""
    if database.is_embedded:
        return make_conninfo(database.url, user=ROLE)
    return make_conninfo(os.environ.get("SERVICE_CONNECTION_URL") or database.url, dbname=database.name)


@contextmanager
def as_service(database: Database) -> Iterator[Db]:
    """Connect as the service's pool does while this lasts."""
    url = conninfo(service_url(database))
    with Connection.connect(url, autocommit=True, prepare_threshold=0) as connection:
        configure_connection(connection)
        yield Db(lambda: nullcontext(connection))

"""Create the database and the service's role, where they are missing."""

import os

from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier, Literal

from lib.failure import Failure
from lib.readers import connection_url
from ops.command import ROOT, Database, arguments, chosen, right_value, run

ROLE = "cruddur_service"
# Any number, as long as all of us take the same.
CREATING = 4567


def create(database: Database, *, service_url: str = "") -> None:
    """Create what is missing. To run it again changes nothing. Raises `Failure`.

    The role gets the password that `service_url` has, if it has one.
    """
    password = password_of(service_url) if service_url else None
    with database.connect("postgres") as connection:
        # One creates, the others wait: roles belong to all of the server's databases.
        connection.execute("SELECT pg_advisory_lock(%s)", [CREATING])
        if not database.exists():
            create_database(connection, database.name)
        name = Identifier(database.name)
        connection.execute(SQL("ALTER DATABASE {} SET timezone TO 'UTC'").format(name))
        # Otherwise every role may make tables for its session.
        connection.execute(SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(name))
        connection.execute((ROOT / "db" / "role.sql").read_bytes())
        if password:
            set_password(connection, password)


def create_database(connection: Connection, name: str) -> None:
    """Create the database `name`."""
    # A server set up without a locale would make one that does not know UTF-8.
    statement = SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(Identifier(name))
    connection.execute(statement)


def password_of(service_url: str) -> str | None:
    """The password in the service's URL. Raises `Failure` when the URL is malformed, or another role's."""
    try:
        service = conninfo_to_dict(connection_url(service_url))
    except ValueError:
        raise Failure(f"SERVICE_CONNECTION_URL is malformed; {right_value('SERVICE_CONNECTION_URL')}") from None
    if service.get("user") != ROLE:
        raise Failure(f"the user in SERVICE_CONNECTION_URL is not {ROLE}, which db/schema.sql gives its rights to")
    password = service.get("password")
    return str(password) if password else None


def set_password(connection: Connection, password: str) -> None:
    """Give the service's role its password, hashed here: neither the server's log nor its statistics see it."""
    secret = connection.pgconn.encrypt_password(password.encode(), ROLE.encode(), b"scram-sha-256").decode()
    connection.execute(SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(ROLE), Literal(secret)))


def main() -> None:
    """The command."""
    given = arguments(__doc__).parse_args()
    # SERVICE_CONNECTION_URL goes with CONNECTION_URL; production's role gets its password from its operator.
    service_url = "" if given.prod else os.environ.get("SERVICE_CONNECTION_URL", "")
    with chosen(given) as database:
        create(database, service_url=service_url)


if __name__ == "__main__":
    run(main)

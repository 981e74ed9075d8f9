"""Create the database and the service's role, if they are missing."""

import os

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from lib.checks import check_encoding
from ops.command import ROOT, Database, run, selected_database
from ops.roles import role_argument_parser, role_lock, role_password, set_login

ROLE = "cruddur_service"
# The databases of a new server that the current role may change.
OWNED_DATABASES = """
    SELECT pg_database.datname
    FROM pg_database
    WHERE
        pg_database.datname IN ('postgres', 'template1')
        AND pg_has_role(current_user, pg_database.datdba, 'USAGE')
    ORDER BY pg_database.datname
"""


def create(database: Database, *, service_url: str = "", iam: bool = False) -> str:
    """Create the database and the role, if they are missing. Returns a summary. Raises `CommandError`.

    The role gets the password in `service_url`, if there is one, and with `iam` login by IAM token.
    A second run changes nothing.
    """
    password = role_password(service_url, "SERVICE_CONNECTION_URL", ROLE) if service_url else None
    with role_lock(database) as connection:
        is_new = not database.exists()
        if not is_new:
            with database.connect() as existing:
                check_encoding(database.setting, existing)
        else:
            create_database(connection, database.name)
        name = Identifier(database.name)
        connection.execute(SQL("ALTER DATABASE {} SET timezone TO 'UTC'").format(name))
        connection.execute((ROOT / "db" / "role.sql").read_bytes())
        # By default every role may connect, and create temporary tables.
        connection.execute(SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(name))
        connection.execute(SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, Identifier(ROLE)))
        revoke_public_connect(connection)
        set_login(connection, ROLE, password=password, iam=iam)
    return (
        f"{'created' if is_new else 'existed already'}, with the role {ROLE}{' and its password' if password else ''}"
    )


def create_database(connection: Connection, name: str) -> None:
    """Create the database `name`, in UTF-8. Raises `psycopg.Error`."""
    # The default encoding is another on a server whose cluster has no locale.
    statement = SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(Identifier(name))
    connection.execute(statement)


def revoke_public_connect(connection: Connection) -> None:
    """Revoke CONNECT on `postgres` and `template1` from PUBLIC, if the role of this connection owns them."""
    databases = connection.execute(OWNED_DATABASES).fetchall()
    for (name,) in databases:
        connection.execute(SQL("GRANT CONNECT ON DATABASE {} TO CURRENT_USER").format(Identifier(name)))
        connection.execute(SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(Identifier(name)))


def main() -> None:
    """Run the command."""
    args = role_argument_parser("bin/db-create", __doc__).parse_args()
    # SERVICE_CONNECTION_URL belongs to CONNECTION_URL. The operator sets the password of production's role.
    service_url = "" if args.prod else os.environ.get("SERVICE_CONNECTION_URL", "")
    with selected_database(args) as database:
        database.report(create(database, service_url=service_url, iam=args.iam))


if __name__ == "__main__":
    run(main)

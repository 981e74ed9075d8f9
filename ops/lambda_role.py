"""Create the role of the Lambda that creates users, with its privileges. A second run changes nothing."""

import os

from psycopg.sql import SQL, Identifier

from ops.command import ROOT, Database, run, selected_database
from ops.roles import role_argument_parser, role_lock, role_password, set_login

ROLE = "cruddur_post_confirmation"


def lambda_role(database: Database, *, url: str = "", iam: bool = False) -> str:
    """Create the role, and grant its privileges in a database with the schema. Returns a summary.

    The role gets the password in `url`, if there is one, and with `iam` login by IAM token. Raises `CommandError`.
    """
    password = role_password(url, "LAMBDA_CONNECTION_URL", ROLE) if url else None
    create_role(database, password=password, iam=iam)
    with database.connect() as connection, connection.transaction():
        connection.execute((ROOT / "db" / "post_confirmation_rights.sql").read_bytes())
    return f"the role {ROLE} has its rights{' and its password' if password else ''}"


def create_role(database: Database, *, password: str | None = None, iam: bool = False) -> None:
    """Create the role, if it is missing, and let it connect to the database. Raises `CommandError`."""
    # Connect to the database first, so that a missing database is reported as such.
    with database.connect(), role_lock(database) as connection:
        connection.execute((ROOT / "db" / "post_confirmation_role.sql").read_bytes())
        # A backup holds the privileges on tables, but not CONNECT.
        connection.execute(SQL("GRANT CONNECT ON DATABASE {} TO {}").format(*map(Identifier, (database.name, ROLE))))
        set_login(connection, ROLE, password=password, iam=iam)


def main() -> None:
    """Run the command."""
    args = role_argument_parser("bin/db-lambda-role", __doc__).parse_args()
    # LAMBDA_CONNECTION_URL belongs to CONNECTION_URL. The operator sets the password of production's role.
    url = "" if args.prod else os.environ.get("LAMBDA_CONNECTION_URL", "")
    with selected_database(args) as database:
        database.report(lambda_role(database, url=url, iam=args.iam))


if __name__ == "__main__":
    run(main)

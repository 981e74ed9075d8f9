"""Make the role of the Lambda that makes a new person's row, with its rights. To run it again changes nothing."""

import os

from psycopg.sql import SQL, Identifier

from ops.command import ROOT, Database, run, selected_database
from ops.roles import role_argument_parser, role_lock, role_password, set_login

ROLE = "cruddur_post_confirmation"


def lambda_role(database: Database, *, url: str = "", iam: bool = False) -> str:
    """Make the role, and give it its rights in the database, which has the schema. Returns what was done.

    Raises `CommandError`.

    It gets the password that `url` has, if it has one, and with `iam` logs in by tokens of RDS's.
    """
    password = role_password(url, "LAMBDA_CONNECTION_URL", ROLE) if url else None
    make_role(database, password=password, iam=iam)
    with database.connect() as connection, connection.transaction():
        connection.execute((ROOT / "db" / "post_confirmation_rights.sql").read_bytes())
    return f"the role {ROLE} has its rights{' and its password' if password else ''}"


def make_role(database: Database, *, password: str | None = None, iam: bool = False) -> None:
    """Make the role on the server, where it is missing, and let it connect to the database. Raises `CommandError`."""
    # The database itself first: one that is missing is the fault then.
    with database.connect(), role_lock(database) as connection:
        connection.execute((ROOT / "db" / "post_confirmation_role.sql").read_bytes())
        # The rights in a backup are those of tables alone.
        connection.execute(SQL("GRANT CONNECT ON DATABASE {} TO {}").format(*map(Identifier, (database.name, ROLE))))
        set_login(connection, ROLE, password=password, iam=iam)


def main() -> None:
    """Run the command."""
    args = role_argument_parser("bin/db-lambda-role", __doc__).parse_args()
    # It goes with CONNECTION_URL; production's role gets its password from its operator.
    url = "" if args.prod else os.environ.get("LAMBDA_CONNECTION_URL", "")
    with selected_database(args) as database:
        database.report(lambda_role(database, url=url, iam=args.iam))


if __name__ == "__main__":
    run(main)

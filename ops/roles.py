"""Create the login roles of the service and the Lambda one at a time, and set how they log in."""

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier, Literal

from lib.command_errors import CommandError, malformed
from lib.conninfo import CONNECTION_URL_RULE, check_connection_url
from ops.command import Database, argument_parser

# The id of the advisory lock: one process creates roles, the others wait.
ROLE_LOCK_ID = 4567
# RDS's own role: its members log in by IAM token, and no longer by password.
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.DBAccounts.html
RDS_IAM_ROLE = Identifier("rds_iam")


@contextmanager
def role_lock(database: Database) -> Iterator[Connection]:
    """Yield a connection that has the lock for creating roles, which belong to all databases. Raises `CommandError`."""
    with database.connect("postgres") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [ROLE_LOCK_ID])
        yield connection


def role_password(url: str, setting: str, role: str) -> str | None:
    """Return the password of `role` in the URL of `setting`, `None` if it has none.

    Raises `CommandError` when the URL is malformed or names another role.
    """
    try:
        params = conninfo_to_dict(check_connection_url(url))
    except ValueError as error:
        example = f"postgresql://{role}:password@localhost:5432/cruddur"
        raise CommandError(malformed(setting, str(error), CONNECTION_URL_RULE, example)) from None
    if params.get("user") != role:
        raise CommandError(f"the user in {setting} is not {role}, which has the privileges")
    password = params.get("password")
    return str(password) if password else None


def role_argument_parser(script: str, doc: str | None) -> ArgumentParser:
    """Return a parser with the arguments of a script that creates a role."""
    parser = argument_parser(script, doc)
    parser.add_argument("--iam", action="store_true", help="on RDS: the role logs in by tokens (DATABASE_AUTH=iam)")
    return parser


def set_login(connection: Connection, role: str, *, password: str | None, iam: bool) -> None:
    """Set a role's password, if there is one, and with `iam` grant it login by IAM token. Raises `CommandError`."""
    if password:
        set_password(connection, role, password)
    if iam:
        grant_iam_login(connection, role)


def set_password(connection: Connection, role: str, password: str) -> None:
    """Set a role's password, hashed here to keep it out of the server's log and statistics."""
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(role), Literal(verifier)))


def grant_iam_login(connection: Connection, role: str) -> None:
    """Grant a role login by IAM token (DATABASE_AUTH=iam). Raises `CommandError` on a server outside of RDS."""
    if connection.execute("SELECT FROM pg_roles WHERE rolname = 'rds_iam'").rowcount == 0:
        raise CommandError(
            "--iam: the server has no role rds_iam: only RDS takes IAM tokens; leave --iam out elsewhere"
        )
    connection.execute(SQL("GRANT {} TO {}").format(RDS_IAM_ROLE, Identifier(role)))

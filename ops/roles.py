"""The roles that others log in as: how they are made one at a time, and what they log in with."""

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier, Literal

from lib.command_errors import CommandError, malformed
from lib.conninfo import CONNECTION_URL_RULE, check_connection_url
from ops.command import Database, argument_parser

# Any number, as long as all of us take the same.
CREATING = 4567
# RDS's own role: its members come with IAM tokens, and no longer with passwords.
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.DBAccounts.html
TOKENS = Identifier("rds_iam")


@contextmanager
def creating(database: Database) -> Iterator[Connection]:
    """The server's connection on which one creates while others wait: roles belong to all of its databases."""
    with database.connect("postgres") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [CREATING])
        yield connection


def password_of(url: str, setting: str, role: str) -> str | None:
    """The password in the URL that `role` is to log in by. Raises `CommandError` when that is malformed, or another's."""
    try:
        parts = conninfo_to_dict(check_connection_url(url))
    except ValueError as error:
        example = f"postgresql://{role}:password@localhost:5432/cruddur"
        raise CommandError(malformed(setting, str(error), CONNECTION_URL_RULE, example)) from None
    if parts.get("user") != role:
        raise CommandError(f"the user in {setting} is not {role}, which has the rights")
    password = parts.get("password")
    return str(password) if password else None


def role_argument_parser(script: str, doc: str | None) -> ArgumentParser:
    """Make the parser of a script that makes a role."""
    parser = argument_parser(script, doc)
    parser.add_argument("--iam", action="store_true", help="on RDS: the role logs in by tokens (DATABASE_AUTH=iam)")
    return parser


def let_in(connection: Connection, role: str, *, password: str | None, iam: bool) -> None:
    """Have a role log in by `password`, where there is one, and with `iam` by tokens of RDS's. Raises `CommandError`."""
    if password:
        set_password(connection, role, password)
    if iam:
        allow_tokens(connection, role)


def set_password(connection: Connection, role: str, password: str) -> None:
    """Give a role its password, hashed here: neither the server's log nor its statistics see it."""
    secret = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(role), Literal(secret)))


def allow_tokens(connection: Connection, role: str) -> None:
    """Have a role log in by IAM tokens (DATABASE_AUTH=iam). Raises `CommandError` on a server that is not RDS's."""
    if connection.execute("SELECT FROM pg_roles WHERE rolname = 'rds_iam'").rowcount == 0:
        raise CommandError(
            "--iam: the server has no role rds_iam: only RDS takes IAM tokens; leave --iam out elsewhere"
        )
    connection.execute(SQL("GRANT {} TO {}").format(TOKENS, Identifier(role)))

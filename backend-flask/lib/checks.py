"""What must hold before the service takes a request, each fault with its remedy."""

import errno
import logging
import re
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from lib.command_errors import ConfigError
from lib.conninfo import conninfo
from lib.pool import THREADS

if TYPE_CHECKING:
    from lib.config import Config

logger = logging.getLogger("cruddur")

# The revision in db/migrations that the queries need, or a later one.
SCHEMA = "0008"
OLDEST_SERVER = 15
# How many connections the role may have: the lowest limit that there is. -1 is none.
CONNECTION_LIMIT = """
    SELECT least(
        current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true)::int, 0),
        (SELECT nullif(pg_roles.rolconnlimit, -1) FROM pg_roles WHERE pg_roles.rolname = current_user),
        (SELECT nullif(pg_database.datconnlimit, -1) FROM pg_database WHERE pg_database.datname = current_database())
    )
"""
# In milliseconds; 0 is none.
STATEMENT_TIMEOUT = "SELECT pg_settings.setting::int FROM pg_settings WHERE pg_settings.name = 'statement_timeout'"
INTERFACE_REMEDY = "set HOST to an address of this machine whose interface is up (ip link set lo up)"
LISTEN_REMEDIES = {
    errno.EADDRINUSE: "set PORT to a free one, or stop what listens there",
    errno.EADDRNOTAVAIL: INTERFACE_REMEDY,
    errno.ENETUNREACH: INTERFACE_REMEDY,
    errno.EACCES: "set PORT to 1024 or more: lower ones are for privileged users",
}
KEY_SET_REMEDY = "unset it to ask Cognito itself, or save the pool's jwks.json there"


def check_port(config: "Config") -> None:
    """Raise `ConfigError` when nobody can listen on HOST and PORT.

    granian binds its port for sharing (SO_REUSEPORT), and would share it with a second server.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener, socket.socket(family, socket.SOCK_DGRAM) as probe:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((config.host, config.port))
            if ip_address(config.host).is_loopback:
                # Its interface may be down all the same. This sends nothing.
                probe.connect((config.host, config.port))
        except OSError as error:
            remedy = LISTEN_REMEDIES.get(error.errno or 0, "set PORT or HOST to another")
            raise ConfigError(f"can't listen on {config.host}:{config.port} ({error.strerror}): {remedy}") from error


def check_key_set(config: "Config") -> None:
    """Raise `ConfigError` when the key set is to be read from a file, and is not there.

    One beyond this machine may come later: until it does, whoever signs in is answered 503.
    """
    # Here, so that the scripts, which want the other checks, need not load Flask.
    from lib.cognito import fetch_jwks
    from lib.exceptions import UpstreamUnavailable

    url, pool_id = config.user_pool.jwks_url, config.user_pool.issuer.rpartition("/")[2]
    if not url.startswith("file:"):
        return
    # Such as that of the development keys, of which everybody may have made some.
    named = re.search(r"/([\w-]+_[0-9a-zA-Z]+)\.json$", url)
    if named and named[1] != pool_id:
        raise ConfigError(
            f"AWS_COGNITO_JWKS_URL: {url} is of the pool {named[1]}, and AWS_COGNITO_USER_POOL_ID is another"
        )
    try:
        fetch_jwks(url)
    except UpstreamUnavailable as error:
        raise ConfigError(f"AWS_COGNITO_JWKS_URL: {error}: {KEY_SET_REMEDY}") from error


def check_database(config: "Config") -> None:
    """Raise `ConfigError` when the database can't be reached, or is not one that the queries can work with."""
    try:
        with psycopg.connect(config.conninfo()(), autocommit=True) as connection:
            check_version(config.connection_setting, connection)
            check_encoding(config.connection_setting, connection)
            check_schema(connection)
            check_connection_limit(config, connection)
            check_statement_timeout(config, connection)
            if connection.info.parameter_status("TimeZone") not in {"UTC", "Etc/UTC"}:
                raise ConfigError("the database's time zone is not UTC: run bin/db-create, which sets it")
    except psycopg.Error as error:
        raise ConfigError(connection_error(config.connection_setting, config.database_url, error)) from error


def check_version(setting: str, connection: psycopg.Connection) -> None:
    """Raise `ConfigError` when the server that `setting` names is too old."""
    version = connection.info.server_version // 10_000
    if version < OLDEST_SERVER:
        raise ConfigError(f"the server is Postgres {version}: point {setting} to version {OLDEST_SERVER} or newer")


def check_encoding(setting: str, connection: psycopg.Connection) -> None:
    """Raise `ConfigError` when the database that `setting` names can't hold every character."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in {"UTF8", None}:
        raise ConfigError(
            f"the database {connection.info.dbname} has the encoding {encoding}, and the service needs UTF8: name "
            f"another in {setting}, which bin/db-create makes; bin/db-backup and bin/db-restore make it with the rows "
            "of this one"
        )


def check_schema(connection: psycopg.Connection) -> None:
    """Raise `ConfigError` when the schema was never loaded, or is older than the queries."""
    try:
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except psycopg.errors.UndefinedTable as error:
        raise ConfigError("the database has no schema: run bin/db-schema-load") from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigError(
            "the service's role may not read the schema: run bin/db-schema-load, which grants it"
        ) from error
    if revision is None or revision[0] < SCHEMA:
        raise ConfigError(f"the schema is older than {SCHEMA}, which this version needs: run bin/db-migrate")


def check_connection_limit(config: "Config", connection: psycopg.Connection) -> None:
    """Raise `ConfigError` when the server has not enough connections for all of our processes."""
    # Each has its pool's, one that asks whether the server is back, and the purge's.
    wanted = config.workers * (THREADS + 2)
    room = connection.execute(CONNECTION_LIMIT).fetchone()
    if room and room[0] < wanted:
        raise ConfigError(
            f"WEB_CONCURRENCY={config.workers} wants {wanted} connections, and the server has {room[0]} for us: "
            "lower it, or raise the server's max_connections or the role's and the database's CONNECTION LIMIT"
        )


def check_statement_timeout(config: "Config", connection: psycopg.Connection) -> None:
    """Warn when Postgres does not end a slow statement before the service's deadline.

    A warning: the service works, and a new version may start before bin/db-create has run again. A role
    without any timeout is the owner, which development uses.
    """
    row = connection.execute(STATEMENT_TIMEOUT).fetchone()
    deadline = config.database_timeout * 1000
    if row and row[0] >= deadline:
        logger.warning(
            "cruddur: the role's statement_timeout of %d ms is not below DATABASE_TIMEOUT_SECONDS=%d: a slow "
            "statement costs its connection. Run bin/db-create, which sets 1800 ms, or ALTER ROLE ... SET "
            "statement_timeout to less than %d ms",
            row[0],
            config.database_timeout,
            deadline,
        )


def connection_error(setting: str, url: str, error: psycopg.Error) -> str:
    """What to tell when the server that `setting` names does not let us in."""
    # libpq's own words: host, port, user and database. The password is not among them, once
    # the settings have made sure that no part of it was taken for the host.
    reason = " ".join(str(error).split())
    names = ", ".join(libpq_variables(url))
    also = f"; libpq takes from the environment what the URL leaves open, here {names}" if names else ""
    return f"{setting}: {reason}: is the server up? bin/db-create makes a database that is missing{also}"


def libpq_variables(url: str) -> list[str]:
    """Return the names of libpq's environment variables that add to a URL."""
    given = conninfo_to_dict(conninfo(url))
    # The user is never missing: it is the system's own.
    added = (option for option in Conninfo.get_defaults() if option.envvar and option.keyword != b"user")
    return [
        option.envvar.decode()
        for option in added
        if option.envvar and option.val != option.compiled and option.keyword.decode() not in given
    ]

"""Checks before the service takes requests. Each error names its remedy."""

import errno
import logging
import re
import socket
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import ip_address
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from lib.command_errors import ConfigError
from lib.conninfo import conninfo
from lib.exceptions import PREPARED_ELSEWHERE
from lib.pool import REMEDY, THREADS, read_cluster, read_standby_history

if TYPE_CHECKING:
    from lib.config import Config

logger = logging.getLogger("cruddur")

# The revision in db/migrations that the queries need, or a later one.
SCHEMA = "0019"
OLDEST_SERVER = 15
# The number of connections that the role may have: the lowest limit that is set. -1 means no limit.
CONNECTION_LIMIT = """
    SELECT least(
        current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true)::int, 0),
        (SELECT nullif(pg_roles.rolconnlimit, -1) FROM pg_roles WHERE pg_roles.rolname = current_user),
        (SELECT nullif(pg_database.datconnlimit, -1) FROM pg_database WHERE pg_database.datname = current_database())
    )
"""
# In milliseconds; 0 means no timeout.
STATEMENT_TIMEOUT = "SELECT pg_settings.setting::int FROM pg_settings WHERE pg_settings.name = 'statement_timeout'"
# More than there are poolers behind a load balancer: then two connections share one.
PREPARING_CONNECTIONS = 3
INTERFACE_REMEDY = "set HOST to an address of this machine whose interface is up (ip link set lo up)"
LISTEN_REMEDIES = {
    errno.EADDRINUSE: "set PORT to a free one, or stop what listens there",
    errno.EADDRNOTAVAIL: INTERFACE_REMEDY,
    errno.ENETUNREACH: INTERFACE_REMEDY,
    errno.EACCES: "set PORT to 1024 or more: lower ones are for privileged users",
}
KEY_SET_REMEDY = "unset it to ask Cognito itself, or save the pool's jwks.json there"


def check_port(config: "Config") -> None:
    """Raise `ConfigError` when the service cannot listen on HOST and PORT.

    granian binds its port with SO_REUSEPORT, and would share it with a second server.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener, socket.socket(family, socket.SOCK_DGRAM) as probe:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((config.host, config.port))
            if ip_address(config.host).is_loopback:
                # The bind succeeds although the interface is down. A UDP connect fails then, and sends nothing.
                probe.connect((config.host, config.port))
        except OSError as error:
            remedy = LISTEN_REMEDIES.get(error.errno or 0, "set PORT or HOST to another")
            raise ConfigError(f"can't listen on {config.host}:{config.port} ({error.strerror}): {remedy}") from error


def check_key_set(config: "Config") -> None:
    """Raise `ConfigError` when AWS_COGNITO_JWKS_URL names a file without a usable key set.

    A remote key set may become available later. Until then requests with a token get 503.
    """
    # A local import: the scripts use the other checks, and need not load these modules.
    from lib.cognito import fetch_jwks
    from lib.exceptions import UpstreamUnavailable

    url, pool_id = config.user_pool.jwks_url, config.user_pool.issuer.rpartition("/")[2]
    if not url.startswith("file:"):
        return
    # A file of development keys has the pool's id as its name. Each developer may have several such files.
    file_pool = re.search(r"/([\w-]+_[0-9a-zA-Z]+)\.json$", url)
    if file_pool and file_pool[1] != pool_id:
        raise ConfigError(
            f"AWS_COGNITO_JWKS_URL: {url} is of the pool {file_pool[1]}, and AWS_COGNITO_USER_POOL_ID is another"
        )
    try:
        fetch_jwks(url)
    except UpstreamUnavailable as error:
        raise ConfigError(f"AWS_COGNITO_JWKS_URL: {error}: {KEY_SET_REMEDY}") from error


def check_database(config: "Config") -> None:
    """Raise `ConfigError` when the database can't be reached, or the queries can't work with it."""
    try:
        with psycopg.connect(config.conninfo()(), autocommit=True, prepare_threshold=None) as connection:
            check_version(config.connection_setting, connection)
            check_encoding(config.connection_setting, connection)
            check_schema(connection)
            # Each process has the pool's connections, one for the circuit breaker's probe, and one for the purge.
            check_connection_limit(config, connection, config.workers * (THREADS + 2))
            check_statement_timeout(config, connection)
            if connection.info.parameter_status("TimeZone") not in {"UTC", "Etc/UTC"}:
                raise ConfigError("the database's time zone is not UTC: run bin/db-create, which sets it")
        if config.database_prepare == "on":
            check_prepared_statements(config.connection_setting, config.conninfo())
    except psycopg.Error as error:
        raise ConfigError(connection_error(config.connection_setting, config.database_url, error)) from error


def check_standby(config: "Config") -> None:
    """Raise `ConfigError` when READ_CONNECTION_URL names no standby of the database, or one that is of no use.

    Without a reachable standby the service starts with a warning: the primary answers all reads.
    """
    conninfo, setting = config.read_conninfo(), "READ_CONNECTION_URL"
    if conninfo is None:
        return
    try:
        with psycopg.connect(conninfo(), autocommit=True, prepare_threshold=None) as connection:
            check_version(setting, connection)
            check_encoding(setting, connection)
            check_cluster(config, connection)
            # Each process has the pool's connections, and one for the circuit breaker's probe.
            check_connection_limit(config, connection, config.workers * (THREADS + 1), f"the server of {setting}")
        if config.database_prepare == "on":
            check_prepared_statements(setting, conninfo)
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        logger.warning("cruddur: %s: %s: the primary answers all reads until there is a standby", setting, reason)


def check_cluster(config: "Config", standby: psycopg.Connection) -> None:
    """Raise `ConfigError` when a standby follows another primary than the service's. Raises the standby's errors."""
    database = "SELECT pg_control_system.system_identifier, current_database() FROM pg_control_system()"
    read_standby_history(standby)
    followed = standby.execute(database).fetchone()
    try:
        with psycopg.connect(config.conninfo()(), autocommit=True, prepare_threshold=None) as primary:
            read_cluster(primary)
            is_same = primary.execute(database).fetchone() == followed
    except psycopg.Error as error:
        raise ConfigError(connection_error(config.connection_setting, config.database_url, error)) from error
    if not is_same:
        raise ConfigError(
            f"READ_CONNECTION_URL names no standby of the database of {config.connection_setting}: name one of its own"
        )


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


def check_connection_limit(
    config: "Config", connection: psycopg.Connection, required: int, server: str = "the server"
) -> None:
    """Raise `ConfigError` when the server has not enough connections for all of our processes."""
    limit = connection.execute(CONNECTION_LIMIT).fetchone()
    if limit and limit[0] < required and not is_pooled(config, connection):
        raise ConfigError(
            f"WEB_CONCURRENCY={config.workers} wants {required} connections, and {server} has {limit[0]} for us: "
            "lower it, or raise the server's max_connections or the role's and the database's CONNECTION LIMIT"
        )


def is_pooled(config: "Config", connection: psycopg.Connection) -> bool:
    """Return whether a pooler is in front of the server: then the server has few of our connections."""
    # A pooler gives a client a number of its own for the process id of the server's session.
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return config.database_prepare == "off" or row != (connection.info.backend_pid,)


def check_prepared_statements(setting: str, conninfo: Callable[[], str]) -> None:
    """Raise `ConfigError` when a pooler loses the statements that the service prepares. Raises psycopg's errors.

    `conninfo` returns the connection string that `setting` names.
    """
    # psycopg gives the first statement of every connection the same name. A connection's next transaction may get a
    # session without that statement (26000), and another connection a session that has one of that name (42P05).
    with ExitStack() as stack:
        connections = [
            stack.enter_context(psycopg.connect(conninfo(), autocommit=True, prepare_threshold=0))
            for _ in range(PREPARING_CONNECTIONS)
        ]
        try:
            # Two transactions of a connection one after the other meet the pooler's other sessions where it takes turns
            # among them. A pooler that prefers the last session meets the next connection.
            for connection in connections * 2:
                connection.execute("SELECT 1")
                connection.execute("SELECT 1")
        except PREPARED_ELSEWHERE as error:
            raise ConfigError(
                f"{setting}: a pooler loses prepared statements (SQLSTATE {error.sqlstate}): {REMEDY}"
            ) from error


def check_statement_timeout(config: "Config", connection: psycopg.Connection) -> None:
    """Warn when Postgres does not end a slow statement before the service's deadline.

    This is a warning only, because a new version may start before bin/db-create has run again. A role without
    any timeout is the owner, which development uses.
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
    """Return the message for a failed connection to the server that `setting` names."""
    # libpq's message holds host, port, user and database. It never holds the password:
    # the settings' checks reject a URL in which libpq would take a part of it for the host.
    reason = " ".join(str(error).split())
    names = ", ".join(libpq_variables(url))
    hint = f"; libpq takes from the environment what the URL leaves open, here {names}" if names else ""
    return f"{setting}: {reason}: is the server up? bin/db-create makes a database that is missing{hint}"


def libpq_variables(url: str) -> list[str]:
    """Return the names of libpq's environment variables that add to a URL."""
    parameters = conninfo_to_dict(conninfo(url))
    # `user` has always a value: the system user's name.
    options = (option for option in Conninfo.get_defaults() if option.envvar and option.keyword != b"user")
    return [
        option.envvar.decode()
        for option in options
        if option.envvar and option.val != option.compiled and option.keyword.decode() not in parameters
    ]

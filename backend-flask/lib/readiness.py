"""The readiness check: a load balancer sends requests to an instance only while it is ready."""

import psycopg

from lib.checks import check_schema
from lib.command_errors import ConfigError
from lib.deadline import Deadline
from lib.draining import is_draining
from lib.exceptions import DatabaseUnavailable, NotReady
from lib.pool import DatabasePool

# The limit for acquiring a connection and for the check's statement together.
SECONDS = 1.0


def check_ready(database_pool: DatabasePool) -> None:
    """Raise `NotReady` with every reason against readiness; return when there is none."""
    reasons = ["draining"] if is_draining() else []
    try:
        with database_pool.connection(Deadline(SECONDS)) as connection:
            check_schema(connection)
    except (psycopg.Error, DatabaseUnavailable):
        reasons.append("database_away")
    except ConfigError:
        reasons.append("schema_outdated")
    if reasons:
        raise NotReady(*reasons)

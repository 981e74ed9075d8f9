"""Whether requests should come here, or to others."""

import psycopg

from lib.checks import check_schema
from lib.command_errors import ConfigError
from lib.deadline import Deadline
from lib.draining import is_draining
from lib.exceptions import DatabaseUnavailable, NotReady
from lib.pool import DatabasePool

# For a connection, and its answer.
SECONDS = 1.0


def check_ready(database_pool: DatabasePool) -> None:
    """Raise `NotReady` with every reason why not."""
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

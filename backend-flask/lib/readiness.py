"""Whether requests should come here, or to others."""

import psycopg

from lib import deadline
from lib.draining import is_draining
from lib.errors import Away, NotReady
from lib.failure import Failure
from lib.pool import Lender
from lib.startup import check_schema

# For a connection, and its answer.
SECONDS = 1.0


def check_ready(lender: Lender) -> None:
    """Raise `NotReady` with every reason why not."""
    reasons = ["draining"] if is_draining() else []
    deadline.begin(SECONDS)
    try:
        with lender.connection() as connection:
            check_schema(connection)
    except (psycopg.Error, Away):
        reasons.append("database_away")
    except Failure:
        reasons.append("schema_outdated")
    if reasons:
        raise NotReady(*reasons)

"""Settings and statements for the tests of poolers."""

import re
from typing import Any

from harness.pgbouncer import PROGRAM
from harness.processes import output
from lib.config import Config
from lib.pool import REMEDY
from tests.conftest import FRONTEND
from tests.tokens import pool

VERSION = tuple(map(int, re.findall(r"PgBouncer (\d+)\.(\d+)", output(PROGRAM, "--version"))[0])) if PROGRAM else ()
KEEPS_STATEMENTS = VERSION >= (1, 22)
# A later version acts as 1.18 then.
LOSES_STATEMENTS = {"max_prepared_statements": "0"} if KEEPS_STATEMENTS else {}
SESSIONS = 2
TURNS = {"default_pool_size": f"{SESSIONS}\nserver_round_robin = 1"}
PREPARED = "SELECT count(*) FROM pg_prepared_statements"
# The line of the log, with the SQLSTATE to be filled in.
LOST_STATEMENT = "a pooler loses prepared statements, and requests fail: SQLSTATE {}: " + REMEDY


def config(url: str, jwks_url: str = "file:///none", **settings: Any) -> Config:
    """Return the settings of a service with the database at `url`."""
    return Config(connection_url=url, frontend_urls=(FRONTEND,), **settings, **pool(jwks_url))

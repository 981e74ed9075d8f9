"""Settings and statements for the tests of poolers."""

from typing import Any

from lib.config import Config
from lib.pool import REMEDY
from tests.conftest import FRONTEND
from tests.tokens import pool

PREPARED = "SELECT count(*) FROM pg_prepared_statements"
# The line of the log, with the SQLSTATE to be filled in.
LOST_STATEMENT = "a pooler loses prepared statements, and requests fail: SQLSTATE {}: " + REMEDY


def config(url: str, jwks_url: str = "file:///none", **settings: Any) -> Config:
    """Return the settings of a service with the database at `url`."""
    return Config(connection_url=url, frontend_urls=(FRONTEND,), **settings, **pool(jwks_url))

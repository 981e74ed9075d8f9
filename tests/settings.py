"""Settings for tests, and an environment that holds no others."""

import os
from unittest.mock import patch

from lib.config import Config

# Tests of other features than these limits make as many requests as they need.
UNLIMITED = {name: 999_999 for name in Config.model_fields if name.startswith("rate_limit_") and "storage" not in name}
NAMES = [str(field.validation_alias) for field in Config.model_fields.values()]
URL = "postgresql://cruddur:p%2Fw@db:5432/cruddur"
POOL = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_COGNITO_USER_POOL_ID": "us-east-1_AbCdEfGhI",
    "AWS_COGNITO_USER_POOL_CLIENT_ID": "client",
}
# All that has no default.
REQUIRED = {"CONNECTION_URL": URL, "FRONTEND_URL": "http://localhost:3000", **POOL}


def load(**environ: str) -> Config:
    """Load the settings from an environment of these variables alone. Raises `CommandError`."""
    with patch.dict(os.environ, environ, clear=True):
        return Config.load()

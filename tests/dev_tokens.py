"""Requests to a bin/dev, and the settings of user pools that are not its own."""

import json
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

NOTIFICATIONS = "/api/activities/notifications"
ANDREW = "5eed0000-0000-4000-9000-000000000001"
# Each names another pool than ours.
POOLS = {
    "AWS_COGNITO_USER_POOL_ID": "eu-west-1_AbCdEfGhI",
    "AWS_COGNITO_USER_POOL_CLIENT_ID": "1h57kf5cpq17m0eml12EXAMPLE",
    "AWS_COGNITO_JWKS_URL": "file:///srv/cruddur/jwks.json",
}


def ask(port: str, path: str, signed_in: str | None = None, body: dict[str, str] | None = None) -> tuple[int, Any]:
    """Return status and JSON of a GET, or of a POST of `body`."""
    headers = {"Authorization": f"Bearer {signed_in}"} if signed_in else {}
    with closing(HTTPConnection("127.0.0.1", int(port), timeout=5)) as connection:
        if body is None:
            connection.request("GET", path, headers=headers)
        else:
            connection.request("POST", path, json.dumps(body), {**headers, "Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

"""Cognito's post-confirmation trigger: it creates the row of a confirmed user in `users`.

https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-post-confirmation.html
Cognito waits 5 s and calls three times at most. If all calls fail, the backend creates the row at the user's first
request, by the same rules.
"""

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import psycopg

from database import conninfo
from lib.command_errors import ConfigError
from services.new_user import candidate_rows

T = TypeVar("T")

# Cognito fires the trigger also after a forgotten password, with another name. That creates no user.
TRIGGER = "PostConfirmation_ConfirmSignUp"
# The limit of the database work. The rest of Cognito's 5 s is for a cold start.
SECONDS = 3.5
# The part of Lambda's timeout that is reserved for the log line and the response.
SPARE_SECONDS = 0.2
STATEMENT = Path(__file__).with_suffix(".sql").read_bytes()


class ProfileNotMade(Exception):
    """The row was not created. Cognito shows the text to the client; the reason is in the log."""


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Create the user's row and return the event unchanged, as Cognito requires. Raises `ProfileNotMade`."""
    fields = {"request_id": context.aws_request_id, "trigger": event["triggerSource"]}
    if event["triggerSource"] != TRIGGER:
        log("info", **fields, outcome="ignored")
        return event
    seconds = min(SECONDS, context.get_remaining_time_in_millis() / 1000 - SPARE_SECONDS)
    try:
        outcome = run_within(seconds, lambda: create_row(event["request"]["userAttributes"]))
    except Exception as error:  # noqa: BLE001  The text may hold personal data, so the log has only the class.
        log("error", **fields, outcome="failed", **describe(error))
        raise ProfileNotMade("The profile is not set up yet; it will be at the first visit.") from None
    log("info", **fields, outcome=outcome)
    return event


def run_within(seconds: float, work: Callable[[], T]) -> T:
    """Return the result of `work`. Raises its exceptions, and `TimeoutError` when it takes longer than `seconds`.

    `work` runs in a thread, because the look-up of a host's name can't be interrupted. After a timeout it runs on.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  `future.result` raises it in the caller.
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future.result(seconds)


def create_row(attributes: dict[str, str]) -> str:
    """Create the user's row unless it exists. Return `created`, `present`, `handle_taken` or `handle_invalid`.

    After the last two the user's handle has a suffix. Raises psycopg's errors, and `ConfigError`.
    """
    # Each call opens a connection. Until the next sign-up the server may change, and a frozen Lambda
    # would occupy one of the server's connections in vain.
    # Unprepared: RDS Proxy would keep a connection for a client that has prepared statements.
    with psycopg.connect(conninfo(os.environ), autocommit=True, prepare_threshold=None) as connection:
        taken = False
        for row in candidate_rows(attributes):
            outcome = execute(connection, row | {"cognito_user_id": attributes["sub"]})
            if outcome == "created" and row["handle"] != attributes.get("preferred_username"):
                return "handle_taken" if taken else "handle_invalid"
            if outcome != "handle_taken":
                return outcome
            taken = True
    raise ConfigError("no free handle was found for a new person")


def execute(connection: psycopg.Connection, row: dict[str, str | None]) -> str:
    """Run the statement. Return its outcome."""
    outcome = connection.execute(STATEMENT, row).fetchone()
    return str(outcome and outcome[0])


def describe(error: Exception) -> dict[str, str]:
    """Return the log's fields of an error. They hold only the texts of our errors, and of libpq's connection errors."""
    fields = {"error": type(error).__name__}
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate:
        return fields | {"sqlstate": sqlstate}
    if isinstance(error, ConfigError | psycopg.OperationalError):
        return fields | {"reason": " ".join(str(error).split())}
    return fields


def log(level: str, **fields: str) -> None:
    """Write a line of JSON, which CloudWatch Logs parses."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    sys.stderr.write(json.dumps({"time": time, "level": level, "message": "post confirmation", **fields}) + "\n")

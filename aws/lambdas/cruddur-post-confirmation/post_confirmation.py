"""The trigger that Cognito calls when somebody has confirmed who they are: they get their row in `users`.

https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-post-confirmation.html
Cognito waits 5 s and asks three times at most. Whom it was in vain for, the backend makes the row of at
their first request, by the same rules.
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

# It fires after a forgotten password too, and that makes nobody new.
TRIGGER = "PostConfirmation_ConfirmSignUp"
# For all of it: the rest of Cognito's 5 s is for a cold start.
SECONDS = 3.5
# What is left of Lambda's own timeout for the log line and the answer.
SPARE_SECONDS = 0.2
STATEMENT = Path(__file__).with_suffix(".sql").read_bytes()


class ProfileNotMade(Exception):
    """What Cognito tells the client. The reason is in the log."""


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The event as it came, which lets the person in. Raises `ProfileNotMade`."""
    told = {"request_id": context.aws_request_id, "trigger": event["triggerSource"]}
    if event["triggerSource"] != TRIGGER:
        log("info", **told, outcome="ignored")
        return event
    seconds = min(SECONDS, context.get_remaining_time_in_millis() / 1000 - SPARE_SECONDS)
    try:
        outcome = within(seconds, lambda: make_row(event["request"]["userAttributes"]))
    except Exception as error:  # noqa: BLE001  The text of any exception may quote the person: only its class is logged.
        log("error", **told, outcome="failed", **reason(error))
        raise ProfileNotMade("The profile is not set up yet; it will be at the first visit.") from None
    log("info", **told, outcome=outcome)
    return event


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns. Raises what it raises, and `TimeoutError` when it takes longer.

    It is left to itself then: a thread, because the look-up of a name can't be interrupted.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001  `done.result` raises it in the caller.
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    return done.result(seconds)


def make_row(attributes: dict[str, str]) -> str:
    """See to it that the person has a row. What it took: `created`, `present`, `handle_taken`, `handle_invalid`.

    After the last two their handle has an ending. Raises psycopg's errors, and `ConfigError`.
    """
    # Not kept until the next sign-up: the server may be another by then, and a frozen Lambda
    # would hold one of its connections for nothing.
    with psycopg.connect(conninfo(os.environ), autocommit=True) as connection:
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
    """Run the statement. What has happened."""
    found = connection.execute(STATEMENT, row).fetchone()
    return str(found and found[0])


def reason(error: Exception) -> dict[str, str]:
    """What the operator is told of a failure: the text only of ours, and of libpq's about a connection."""
    told = {"error": type(error).__name__}
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate:
        return told | {"sqlstate": sqlstate}
    if isinstance(error, ConfigError | psycopg.OperationalError):
        return told | {"reason": " ".join(str(error).split())}
    return told


def log(level: str, **told: str) -> None:
    """Write a line of JSON, which CloudWatch Logs takes apart."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    sys.stderr.write(json.dumps({"time": time, "level": level, "message": "post confirmation", **told}) + "\n")

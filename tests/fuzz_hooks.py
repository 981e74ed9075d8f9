"""Hooks of Schemathesis beside the document. tests/test_fuzz.py gives it this module's name."""

import atexit
import json
import re
from collections import Counter
from hashlib import sha256
from typing import Any

import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import RejectedPositiveData

KEY = "Idempotency-Key"
answers: Counter[int] = Counter()

# The codes that depend on the user of the request.
SELF_CODES = (["user_reciever_handle_self"], ["follow_self"], ["mute_self"], ["block_self"], ["handle_mismatch"])


@schemathesis.hook
def before_call(_context: HookContext, case: Case[Any], _kwargs: dict[str, Any]) -> None:
    """Give each request a key of its own: it makes up few, and one that came with another request is refused."""
    key = case.headers.get(KEY)
    if not is_about_headers(case) and isinstance(key, str) and re.fullmatch("[!-~]([ -~]{0,253}[!-~])?", key):
        request = sha256(f"{case.formatted_path} {case.body!r}".encode()).hexdigest()
        case.headers[KEY] = key[: 255 - len(request)] + request


def is_about_headers(case: Case[Any]) -> bool:
    """Return whether a request's fault is a header, so that a change of headers counts as its correction."""
    meta = case.meta
    return (
        meta is not None
        and meta.generation.mode.is_negative
        and meta.phase.data.parameter_location is ParameterLocation.HEADER
    )


@schemathesis.hook
def after_call(_context: HookContext, _case: Case[Any], response: Response) -> None:
    """Count the answer."""
    answers[response.status_code] += 1


@schemathesis.hook
def filter_failure(_context: HookContext, failure: Failure, _case: Case[Any], response: Response) -> bool:
    """Return whether a failure counts. No schema can express that its subject is another user."""
    is_about_self = response.json() in SELF_CODES
    return not (isinstance(failure, RejectedPositiveData) and is_about_self)


@atexit.register
def tell() -> None:
    """Say in the last line how many answers there were of each status."""
    print(json.dumps(answers, sort_keys=True))

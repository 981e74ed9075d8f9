"""Every way to fail, and the one table that turns an exception into an answer."""

import logging
import traceback
from http import HTTPStatus

import psycopg
import psycopg.errors
from flask import json, request
from werkzeug import exceptions as werkzeug

from lib.wsgi import Answer

logger = logging.getLogger("cruddur")

PROBLEM_JSON = "application/problem+json"
# The pool has tried the database again by then.
RETRY_AFTER_SECONDS = 2


class NotFound(Exception):
    """There is no such thing, or its time is up."""


class Unauthorized(Exception):
    """Nobody is signed in, or not by a token that we accept."""


class Unavailable(Exception):
    """Another service that is needed to answer is away. The text, for the operator, holds no secret."""


class Away(Exception):
    """The database is, as the operator has been told."""


class Refusal(Exception):
    """The client's fault, for each of the reasons that the codes name."""

    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.codes = codes


class BadRequest(Refusal):
    """The request can't be read."""


class Invalid(Refusal):
    """The request is understood and breaks a rule."""


class NotReady(Refusal):
    """Others should be asked instead."""


# The first class in an exception's line of ancestors that stands here decides.
ANSWERS: dict[type[BaseException], tuple[int, str]] = {
    BadRequest: (400, ""),
    Invalid: (422, ""),
    Unauthorized: (401, "generic_401"),
    NotFound: (404, "not_found"),
    # What the statement found had gone when it came to refer to it.
    psycopg.errors.ForeignKeyViolation: (404, "not_found"),
    werkzeug.NotFound: (404, "not_found"),
    werkzeug.MethodNotAllowed: (405, "method_not_allowed"),
    werkzeug.RequestEntityTooLarge: (413, "payload_too_large"),
    werkzeug.UnsupportedMediaType: (415, "unsupported_media_type"),
    # What else can't be read, such as a Host that is none.
    werkzeug.BadRequest: (400, "json_invalid"),
    # The database refuses, is lost, is too slow or full; the pool's errors are of this class too.
    psycopg.OperationalError: (503, "service_unavailable"),
    psycopg.InterfaceError: (503, "service_unavailable"),
    # We were away from it for too long: a process that was paused.
    psycopg.errors.IdleInTransactionSessionTimeout: (503, "service_unavailable"),
    # A failover left us with a server that only reads.
    psycopg.errors.ReadOnlySqlTransaction: (503, "service_unavailable"),
    Unavailable: (503, "service_unavailable"),
    Away: (503, "service_unavailable"),
    NotReady: (503, ""),
    Exception: (500, "generic_500"),
}


def answer(error: Exception) -> tuple[int, tuple[str, ...]]:
    """The status and the codes of a failure. Nothing of the exception's own text is among them."""
    status, code = next(ANSWERS[ancestor] for ancestor in type(error).__mro__ if ancestor in ANSWERS)
    return status, error.codes if isinstance(error, Refusal) else (code,)


def is_fault(error: Exception) -> bool:
    """Whether it is ours, and not the client's."""
    return answer(error)[0] >= HTTPStatus.INTERNAL_SERVER_ERROR


def respond(error: Exception) -> Answer:
    """A failure as the contract wants it: an array of codes, or an RFC 9457 document."""
    status, codes = answer(error)
    if is_fault(error) and not isinstance(error, Away | NotReady):
        log_fault(error)
    body: object = codes
    mimetype = "application/json"
    if wants_problem():
        body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "codes": codes}
        mimetype = PROBLEM_JSON
    response = Answer(json.dumps(body), status, headers(error, status), mimetype=mimetype)
    response.headers.add("Vary", "Accept")
    return response


def headers(error: Exception, status: int) -> dict[str, str]:
    """What a failure says beside its codes: how to sign in, which methods there are, when to come back."""
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, werkzeug.MethodNotAllowed):
        return {"Allow": ", ".join(sorted(error.valid_methods or ()))}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return {}


def wants_problem() -> bool:
    """Whether the client names the media type of RFC 9457 itself; `*/*` does not."""
    accepted = [media_type.partition(";")[0].lower() for media_type, quality in request.accept_mimetypes if quality > 0]
    return PROBLEM_JSON in accepted


def log_fault(error: Exception) -> None:
    """Tell the operator where it failed. The exception's text is left out where it may quote a row."""
    said = str(error) if isinstance(error, Unavailable) else getattr(error, "sqlstate", None) or ""
    stack = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s %s\n%s", type(error).__name__, said, stack)

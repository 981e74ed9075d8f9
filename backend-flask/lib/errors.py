"""Error handlers: one table maps exceptions to responses."""

import logging
import traceback
from http import HTTPStatus

import psycopg
import psycopg.errors
from flask import Flask, Response, json, request
from werkzeug import exceptions as werkzeug

from lib.exceptions import (
    PREPARED_ELSEWHERE,
    BadRequest,
    CodedError,
    DatabaseUnavailable,
    NotFound,
    NotReady,
    Overloaded,
    Unauthorized,
    UpstreamUnavailable,
    ValidationError,
)

logger = logging.getLogger("cruddur")

PROBLEM_JSON = "application/problem+json"
# By then the pool has tried to reach the database again.
RETRY_AFTER_SECONDS = 2

# Errors that need no line in the log for each request: a single line has reported the cause.
REPORTED = (DatabaseUnavailable, NotReady, Overloaded, *PREPARED_ELSEWHERE)
# The first class of an exception's method resolution order that this table contains decides.
STATUS_BY_EXCEPTION: dict[type[BaseException], tuple[int, str]] = {
    BadRequest: (400, ""),
    ValidationError: (422, ""),
    Unauthorized: (401, "generic_401"),
    NotFound: (404, "not_found"),
    psycopg.errors.ForeignKeyViolation: (404, "not_found"),
    werkzeug.NotFound: (404, "not_found"),
    werkzeug.MethodNotAllowed: (405, "method_not_allowed"),
    werkzeug.RequestEntityTooLarge: (413, "payload_too_large"),
    werkzeug.UnsupportedMediaType: (415, "unsupported_media_type"),
    werkzeug.TooManyRequests: (429, "too_many_requests"),
    # Any other malformed request, such as one with a malformed Host.
    werkzeug.BadRequest: (400, "json_invalid"),
    # The database refuses, is lost, too slow or full. The pool's errors belong to this class too.
    psycopg.OperationalError: (503, "service_unavailable"),
    psycopg.InterfaceError: (503, "service_unavailable"),
    # The operating system paused this process for too long.
    psycopg.errors.IdleInTransactionSessionTimeout: (503, "service_unavailable"),
    # A pooler loses prepared statements: SQLSTATE 42P05 and 26000. The pool logs the remedy.
    psycopg.errors.DuplicatePreparedStatement: (503, "service_unavailable"),
    psycopg.errors.InvalidSqlStatementName: (503, "service_unavailable"),
    # After a failover the server is a standby.
    psycopg.errors.ReadOnlySqlTransaction: (503, "service_unavailable"),
    UpstreamUnavailable: (503, "service_unavailable"),
    DatabaseUnavailable: (503, "service_unavailable"),
    NotReady: (503, ""),
    Overloaded: (503, "service_unavailable"),
    Exception: (500, "generic_500"),
}


def init_app(app: Flask) -> None:
    """Turn every exception into an error response in the contract's form."""
    app.register_error_handler(Exception, handle_exception)


def handle_exception(error: Exception) -> Response:
    """Return the error response: an array of codes, or an RFC 9457 document."""
    status, code = next(STATUS_BY_EXCEPTION[each] for each in type(error).__mro__ if each in STATUS_BY_EXCEPTION)
    codes = (isinstance(error, CodedError) and error.codes) or (code,)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, REPORTED):
        log_server_error(error)
    body: object = codes
    content_type = "application/json"
    if accepts_problem_json():
        body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "codes": codes}
        content_type = PROBLEM_JSON
    response = Response(json.dumps(body), status, headers(error, status), content_type=content_type)
    response.headers.add("Vary", "Accept")
    return response


def headers(error: Exception, status: int) -> dict[str, str]:
    """Return the headers of an error response: how to authenticate, what is allowed, when to retry."""
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, werkzeug.MethodNotAllowed):
        return {"Allow": ", ".join(sorted(error.valid_methods or ()))}
    if isinstance(error, werkzeug.UnsupportedMediaType) and "Content-Encoding" in request.headers:
        # RFC 9110, 15.5.16: the codings that the service accepts.
        return {"Accept-Encoding": "identity"}
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        return {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return {}


def accepts_problem_json() -> bool:
    """Return whether `Accept` names the media type of RFC 9457. A wildcard such as `*/*` does not count."""
    types = [media_type.partition(";")[0].lower() for media_type, quality in request.accept_mimetypes if quality > 0]
    return PROBLEM_JSON in types


def log_server_error(error: Exception) -> None:
    """Log an exception's class and stack. Its text is left out where it may quote a row."""
    detail = str(error) if isinstance(error, UpstreamUnavailable) else getattr(error, "sqlstate", None) or ""
    stack = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s %s\n%s", type(error).__name__, detail, stack)

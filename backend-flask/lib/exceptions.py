"""The service's exceptions. They know no HTTP: lib/errors.py maps these classes to responses."""

import psycopg.errors


class CodedError(Exception):
    """An error with a code for each reason."""

    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.codes = codes


class ClientError(CodedError):
    """An error that the client caused."""


class BadRequest(ClientError):
    """The request is malformed."""


class ValidationError(ClientError):
    """The request is well-formed and breaks a rule."""


class Unauthorized(ClientError):
    """The request has no token, or its token is invalid."""


class NotFound(ClientError):
    """The resource does not exist, or has expired."""


class NotReady(CodedError):
    """The instance is not ready: requests should go to another one."""


class Overloaded(Exception):
    """The service is overloaded and rejects the request without processing it."""


class UpstreamUnavailable(Exception):
    """A service that the response depends on is away. The text, for the operator, holds no secret."""


class DatabaseUnavailable(Exception):
    """The circuit breaker is open: the database is away, and the log has a line about that already."""


class StandbyBehind(DatabaseUnavailable):
    """The standby has not replayed all that the request must see, or was promoted. Then the primary is asked."""


# A pooler has given this transaction another session than the one where its statement was prepared.
PREPARED_ELSEWHERE = (psycopg.errors.DuplicatePreparedStatement, psycopg.errors.InvalidSqlStatementName)
# The database is lost, or refuses the statement for now.
DATABASE_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, DatabaseUnavailable, *PREPARED_ELSEWHERE)
# ForeignKeyViolation: a row was deleted after the service had read it and before a statement referred to it.
CLIENT_ERRORS = (ClientError, psycopg.errors.ForeignKeyViolation)
# A late standby is no fault: the primary answers the request.
EXPECTED_ERRORS = (*CLIENT_ERRORS, StandbyBehind)


def is_server_error(error: BaseException) -> bool:
    """Return whether an error is the service's fault: neither the client's, nor one that is expected."""
    return not isinstance(error, EXPECTED_ERRORS)


def is_connection_error(error: psycopg.OperationalError) -> bool:
    """Return whether the connection was lost or could not be opened. Otherwise Postgres has refused the statement."""
    # An error without a SQLSTATE comes from libpq, psycopg or the pool. 08: connection exceptions. 57P: shutdown.
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))

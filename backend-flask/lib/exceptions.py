"""Every way to fail. Nothing here knows HTTP: lib/errors.py maps these classes to responses."""

import psycopg.errors


class CodedError(Exception):
    """A failure whose `codes` name each reason."""

    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.codes = codes


class ClientError(CodedError):
    """The client's fault."""


class BadRequest(ClientError):
    """The request cannot be read."""


class ValidationError(ClientError):
    """The request is understood and breaks a rule."""


class Unauthorized(ClientError):
    """The request has no token, or none that this service accepts."""


class NotFound(ClientError):
    """The thing does not exist, or has expired."""


class NotReady(CodedError):
    """Requests should go to another instance."""


class Overloaded(Exception):
    """The service has more to do than it can, and does not start with this."""


class UpstreamUnavailable(Exception):
    """Another service that the response needs is away. The text, for the operator, holds no secret."""


class DatabaseUnavailable(Exception):
    """The database is away, and the log has said so."""


# A row that the statement refers to was deleted after it was found.
CLIENT_ERRORS = (ClientError, psycopg.errors.ForeignKeyViolation)


def is_server_error(error: BaseException) -> bool:
    """Return whether a failure of a use case is the service's fault, and not the client's."""
    return not isinstance(error, CLIENT_ERRORS)


def is_connection_error(error: psycopg.OperationalError) -> bool:
    """Return whether the connection was lost, or none was to be had: Postgres has not refused the statement."""
    # Without a SQLSTATE it is libpq, psycopg or the pool that speaks. 08: connection exceptions. 57P: shut down.
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))

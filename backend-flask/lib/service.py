"""Flask without what this service has no use for, which would cost each request its time, and with a second try.

What each part of it gave is told in docs/performance.md.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, cast

from flask import Flask, Request, Response, request
from flask.sessions import NullSession, SessionInterface
from flask.typing import ResponseReturnValue
from psycopg import OperationalError
from werkzeug.exceptions import BadRequest
from werkzeug.routing import MapAdapter

from lib.asked import Asked, asked
from lib.body import leave_nothing_unread
from lib.http import forbid_caching, read_arguments
from lib.observing import found_route
from lib.pool import is_lost
from lib.sign_in import check_sign_in
from lib.wsgi import Answer, is_host


class NoSessions(SessionInterface):
    """Sessions of which there are none."""

    nobodys = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:  # noqa: ARG002  as Flask calls it
        """The same for everybody."""
        return self.nobodys


class Service(Flask):
    """A Flask application without asynchronous views and sessions, which runs no hooks and names no address."""

    session_interface = NoSessions()
    request_class = Asked
    response_class = Answer

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which is a synchronous one."""
        return func

    def preprocess_request(self) -> None:
        """Find out what is asked, and by whom. In this order: who may not ask is not read."""
        request = asked()
        note_route(request)
        check_sign_in(request)
        read_arguments(request)

    def process_response(self, response: Response) -> Response:
        """See to what every answer needs, whether a route gave it or a failure."""
        request, answer = asked(), cast(Answer, response)
        forbid_caching(request, answer)
        leave_nothing_unread(request, answer)
        return answer

    def do_teardown_request(self, exc: BaseException | None = None) -> None:
        """Do nothing: nobody has asked for it."""

    def do_teardown_appcontext(self, exc: BaseException | None = None) -> None:
        """Do nothing: nobody has asked for it."""

    def dispatch_request(self) -> ResponseReturnValue:
        """What the route answers. Where the database cut it off, it is asked once more if that does no harm."""
        try:
            return super().dispatch_request()
        except OperationalError as error:
            if not is_lost(error) or not may_be_repeated(request):
                raise
        return super().dispatch_request()

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """What finds the request's route. Raises werkzeug's `BadRequest` for a `Host` that is none."""
        if request is None:
            return None
        if not is_host(request.environ):
            raise BadRequest
        return MapAdapter(self.url_map, "localhost", "/", "", "http", request.path, request.method)


def may_be_repeated(request: Request) -> bool:
    """Whether it does the same when it is asked twice: a read (RFC 9110, section 9.2.1), or a POST with its key."""
    return request.method in {"GET", "HEAD"} or (request.method == "POST" and "Idempotency-Key" in request.headers)


def note_route(request: Asked) -> None:
    """Have the request seen under its route."""
    if request.url_rule is not None:
        found_route(shown(request.url_rule.rule))


@cache
def shown(rule: str) -> str:
    """A route as people write it: `/api/activities/@<handle>`."""
    return re.sub(r"<\w+:", "<", rule)

"""What Flask answers with, and what it is asked by, in WSGI's terms (PEP 3333)."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from flask import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

NOT_MODIFIED = 304
# RFC 9110, section 7.2: a host as RFC 3986 writes it, or nothing, and perhaps a port.
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?")


class Answer(Response):
    """A response whose body is at hand and whose headers are complete, so that nothing is left to be seen to."""

    # Of what has no body, nothing is said about one.
    default_mimetype = None

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """The body, as a list: what is none, granian sends piece by piece."""
        start_response(self.status, self.headers.to_wsgi_list())
        if environ["REQUEST_METHOD"] == "HEAD" or self.status_code == NOT_MODIFIED:
            return []
        # As `set_data` left it.
        return cast(list[bytes], self.response)


def is_host(environ: "WSGIEnvironment") -> bool:
    """Whether the header `Host` names a host, where there is one."""
    return HOST.fullmatch(environ.get("HTTP_HOST", "")) is not None

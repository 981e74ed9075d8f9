"""The home feed's first page for visitors, from the cache, in front of all that Flask does for a request.

Whatever is not asked for in the plainest way, and what is not at hand, goes on to Flask,
whose answer is the same.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from werkzeug.http import generate_etag, quote_etag

from lib.http import ASK_EACH_TIME, JSON, link
from lib.observing import found_route
from lib.paging import Listing
from lib.wsgi import is_host
from services.home_activities import VisitorsHome

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATH = "/api/activities/home"
# How the frontend says that nobody is signed in.
VISITOR = (None, "Bearer null")


class Prepared(NamedTuple):
    """An answer as it goes out."""

    listing: Listing
    tag: str
    headers: list[tuple[str, str]]


class FirstPage:
    """WSGI middleware that answers it."""

    def __init__(self, app: "WSGIApplication", home: VisitorsHome) -> None:
        self._app = app
        self._home = home
        self._prepared: Prepared | None = None

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """The page, or what Flask makes of the request."""
        listing = self._home.at_hand() if is_plain(environ) else None
        if listing is None:
            return self._app(environ, start_response)
        found_route(PATH)
        _, tag, headers = self._prepare(listing)
        asked = environ.get("HTTP_IF_NONE_MATCH")
        if asked not in {None, tag}:
            return self._app(environ, start_response)
        if asked == tag:
            start_response("304 NOT MODIFIED", headers)
            return []
        length = str(len(listing.json))
        start_response("200 OK", [*headers, ("Content-Type", JSON), ("Content-Length", length)])
        return [listing.json]

    def _prepare(self, listing: Listing) -> Prepared:
        """What is the same for all who get this listing."""
        prepared = self._prepared
        if prepared is None or prepared.listing is not listing:
            tag = quote_etag(generate_etag(listing.json))
            headers = {"ETag": tag, **link(PATH, {}, listing)}
            headers |= {"Cache-Control": ASK_EACH_TIME, "Vary": "Authorization"}
            prepared = self._prepared = Prepared(listing, tag, [*headers.items()])
        return prepared


def is_plain(environ: "WSGIEnvironment") -> bool:
    """Whether a visitor asks for the page, and for no more."""
    return (
        environ["PATH_INFO"] == PATH
        and environ["REQUEST_METHOD"] == "GET"
        and not environ["QUERY_STRING"]
        and environ.get("HTTP_AUTHORIZATION") in VISITOR
        and is_host(environ)
    )

"""The application, put together. No rule lives here."""

from collections.abc import Callable

from lib import deadline
from lib.body import MAX_BYTES, leave_nothing_unread
from lib.cognito import Cognito
from lib.config import Config
from lib.cors import allow_origins
from lib.db import Db
from lib.errors import respond
from lib.http import HandleConverter, forbid_caching, read_arguments
from lib.observers import start_observing
from lib.observing import Observe, Observed
from lib.pool import Lender
from lib.service import Service, note_route
from lib.sign_in import check_sign_in
from routes import activities, docs, health, message_groups, messages, profile, users
from routes.visitors_home import FirstPage
from services.home_activities import VisitorsHome


def create_app(config: Config, log: Callable[[Observed, float], None] | None = None) -> Service:
    """A Flask application with a connection pool of its own, so for one process. `log` is told of each request."""
    app = Service(__name__, static_folder=None)
    # Not to read on for ever; one more than is taken, so that lib/body.py sees that it is too many.
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES + 1
    # An unknown path is one, and no redirect that a preflight would not follow.
    app.url_map.merge_slashes = False
    app.url_map.converters["handle"] = HandleConverter
    origins = frozenset(config.frontend_urls)
    allow_origins(app, origins)
    app.register_error_handler(Exception, respond)
    app.before_request(lambda: deadline.begin(config.database_timeout))
    app.teardown_request(lambda _: deadline.finish())
    app.before_request(note_route)
    # In this order: who may not ask is not read.
    app.before_request(check_sign_in)
    app.before_request(read_arguments)
    app.after_request(forbid_caching)
    app.after_request(leave_nothing_unread)
    lender = Lender(config.conninfo())
    app.extensions["lender"] = lender
    app.extensions["pool"] = lender.pool
    db = Db(lender.connection)
    app.extensions["db"] = db
    home = VisitorsHome(db)
    app.extensions["visitors_home"] = home
    app.extensions["cognito"] = Cognito(config.user_pool)
    for routes in (activities, users, profile, message_groups, messages, docs, health):
        app.register_blueprint(routes.bp)
    # As Flask's documentation of `wsgi_app` puts middleware in front; mypy takes that for a mistake.
    first_page = FirstPage(app.wsgi_app, home, origins)
    observers = app.extensions["observers"] = start_observing(config.telemetry, lender.pool, log)
    app.wsgi_app = Observe(first_page, observers)  # type: ignore[method-assign]
    return app

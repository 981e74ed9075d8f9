"""The application, put together. No rule lives here."""

from collections.abc import Callable

from lib.body import MAX_BYTES
from lib.cognito import Cognito
from lib.config import Config
from lib.cors import Cors
from lib.db import Db
from lib.deadline import Bounded
from lib.errors import respond
from lib.http import HandleConverter
from lib.observers import start_observing
from lib.observing import Observe, Observed
from lib.pool import Lender
from lib.service import Service
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
    app.register_error_handler(Exception, respond)
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
    observers = app.extensions["observers"] = start_observing(config.telemetry, lender.pool, log)
    bounded = Bounded(FirstPage(app.wsgi_app, home), config.database_timeout)
    readable = Cors(bounded, frozenset(config.frontend_urls))
    # As Flask's documentation of `wsgi_app` puts middleware in front; mypy takes that for a mistake.
    app.wsgi_app = Observe(readable, observers)  # type: ignore[method-assign]
    return app

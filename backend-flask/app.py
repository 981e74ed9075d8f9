"""The application, put together. No rule lives here."""

from flask import Flask

from lib.config import Config
from lib.cors import allow_origins
from lib.db import Db, open_pool
from lib.errors import respond
from lib.http import HandleConverter, read_arguments
from routes import activities, health, users


def create_app(config: Config) -> Flask:
    """A Flask application with a connection pool of its own, so for one process."""
    app = Flask(__name__, static_folder=None)
    # An unknown path is one, and no redirect that a preflight would not follow.
    app.url_map.merge_slashes = False
    app.url_map.converters["handle"] = HandleConverter
    allow_origins(app, config.frontend_urls)
    app.register_error_handler(Exception, respond)
    app.before_request(read_arguments)
    pool = open_pool(config.connection_url)
    app.extensions["pool"] = pool
    app.extensions["db"] = Db(pool.connection)
    for routes in (activities, users, health):
        app.register_blueprint(routes.bp)
    return app

"""The application factory. Business rules are in services/."""

from flask import Flask

from lib import (
    auth,
    body,
    client_address,
    cors,
    db,
    errors,
    http,
    load_shedding,
    rate_limits,
    request_log,
    telemetry,
)
from lib.config import Config
from routes import (
    account,
    activities,
    docs,
    health,
    message_groups,
    messages,
    notifications,
    pages,
    profile,
    reports,
    trends,
    users,
)


def create_app(config: Config) -> Flask:
    """Create the application for one worker process: its connection pool does not survive a fork."""
    app = Flask(__name__, static_folder=None)
    client_address.init_app(app, config.trusted_proxies)
    db.init_app(app, config)
    # `before_request` hooks run in this order, `after_request` hooks in the reverse order.
    telemetry.init_app(app, config)
    request_log.init_app(app)
    cors.init_app(app, config.frontend_urls)
    errors.init_app(app)
    load_shedding.init_app(app, config)
    rate_limits.limit_rejected_tokens(app, config)
    auth.init_app(app, config.user_pool)
    rate_limits.limit_requests(app, unlimited=[docs.bp, health.bp, pages.bp])
    body.init_app(app)
    http.init_app(app)
    account.init_app(app, config)
    activities.init_app(app)
    trends.init_app(app)
    pages.init_app(app, config)
    for routes in (users, profile, notifications, message_groups, messages, reports, docs, health):
        app.register_blueprint(routes.bp)
    return app

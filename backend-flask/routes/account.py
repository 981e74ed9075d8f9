"""The current user's account."""

from datetime import timedelta
from typing import cast

from flask import Blueprint, Flask, Response, current_app, g, request

from lib.auth import get_cognito, login_required
from lib.body import json_object
from lib.config import Config
from lib.db import get_db
from lib.http import json_response
from routes.current_user import current_user
from services.delete_account import DeleteAccount

bp = Blueprint("account", __name__, url_prefix="/api/account")


def init_app(app: Flask, config: Config) -> None:
    """Register the routes, with the time for which backups are kept."""
    app.extensions["backup_retention"] = timedelta(days=config.backup_retention)
    app.register_blueprint(bp)


@bp.delete("")
@login_required
def delete() -> Response:
    """Delete the current user."""
    handle = json_object(request).get_str("handle")
    retention = cast(timedelta, current_app.extensions["backup_retention"])
    delete_account = DeleteAccount(get_db(), get_cognito(), retention)
    return json_response(delete_account.run(user=current_user(), token=g.token, handle=handle))

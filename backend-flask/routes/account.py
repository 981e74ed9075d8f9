"""The current user's account."""

from datetime import timedelta
from threading import BoundedSemaphore
from typing import cast

from flask import Blueprint, Flask, Response, current_app, g, request

from lib.auth import get_cognito, login_required
from lib.body import json_object
from lib.config import Config
from lib.db import get_db
from lib.http import json_response
from lib.rate_limits import export_limited
from routes.current_user import current_user
from services.account import Account, AccountExport
from services.delete_account import DeleteAccount

# Exports of a process that run at the same time: each may fill some 100 MB.
EXPORTS = 1

bp = Blueprint("account", __name__, url_prefix="/api/account")


def init_app(app: Flask, config: Config) -> None:
    """Register the routes, with the time for which backups are kept, and bound the exports that run at once."""
    app.extensions["exports"] = BoundedSemaphore(EXPORTS)
    app.extensions["backup_retention"] = timedelta(days=config.backup_retention)
    app.register_blueprint(bp)


def backup_retention() -> timedelta:
    """Return the time for which backups are kept."""
    return cast(timedelta, current_app.extensions["backup_retention"])


@bp.get("")
@login_required
def show() -> Response:
    """Return the current user's account."""
    return json_response(Account(get_db(), get_cognito()).run(user=current_user(), token=g.token))


@bp.get("/export")
@login_required
@export_limited
def export() -> Response:
    """Return all data of the current user as a file."""
    user = current_user()
    account_export = AccountExport(get_db(), get_cognito(), backup_retention(), current_app.extensions["exports"])
    response = json_response(account_export.run(user=user, token=g.token))
    response.headers["Content-Disposition"] = f'attachment; filename="cruddur-{user.handle}.json"'
    return response


@bp.delete("")
@login_required
def delete() -> Response:
    """Delete the current user."""
    handle = json_object(request).get_str("handle")
    delete_account = DeleteAccount(get_db(), get_cognito(), backup_retention())
    return json_response(delete_account.run(user=current_user(), token=g.token, handle=handle))

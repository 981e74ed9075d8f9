"""One's own profile."""

from flask import Blueprint, Response

from lib.body import field, has_field, nullable_field
from lib.http import attempt, db, send
from lib.sign_in import required
from routes.viewer import viewer
from services.update_profile import UpdateProfile

bp = Blueprint("profile", __name__, url_prefix="/api/profile")


@bp.route("/update", methods=["PUT", "POST"])
@required
def update() -> Response:
    """Change one's name and bio."""
    return send(
        UpdateProfile(db()).run(
            user=viewer(),
            display_name=field("display_name"),
            bio=nullable_field("bio"),
            has_bio=has_field("bio"),
            attempt=attempt(),
        )
    )

"""The journal's way: Flask and a psycopg pool, JSON decoded into Python and dumped again, gunicorn's threads."""

from flask import Flask, Response, jsonify, request
from psycopg_pool import ConnectionPool

ACTIVITY = """
    SELECT
        activities.uuid,
        users.display_name,
        users.handle,
        activities.message,
        activities.replies_count,
        activities.reposts_count,
        activities.likes_count,
        activities.reply_to_activity_uuid,
        activities.expires_at,
        activities.created_at
    FROM live_activities AS activities
    JOIN users ON users.uuid = activities.user_uuid
"""
HOME = f"""
    {ACTIVITY}
    WHERE
        activities.reply_to_activity_uuid IS NULL
        AND (activities.created_at, activities.uuid) < (%(created_at)s::timestamptz, %(uuid)s::uuid)
    ORDER BY activities.created_at DESC, activities.uuid DESC
    LIMIT 20
"""
USER = f"""
    {ACTIVITY}
    WHERE activities.user_uuid = %(user_uuid)s AND activities.reply_to_activity_uuid IS NULL
    ORDER BY activities.created_at DESC, activities.uuid DESC
    LIMIT 20
"""
PROFILE = """
    SELECT
        users.uuid,
        users.cognito_user_id AS cognito_user_uuid,
        users.handle,
        users.display_name,
        users.bio,
        (
            SELECT count(*) FROM (
                SELECT FROM live_activities
                WHERE live_activities.user_uuid = users.uuid AND live_activities.reply_to_activity_uuid IS NULL
                LIMIT 10000
            ) AS counted
        ) AS cruds_count,
        COALESCE(follow_counts.followers_count, 0) AS followers_count,
        COALESCE(follow_counts.following_count, 0) AS following_count
    FROM users
    LEFT JOIN follow_counts ON follow_counts.user_uuid = users.uuid
    WHERE lower(users.handle COLLATE "C") = lower(%(handle)s COLLATE "C")
"""
FIRST = "9999-12-31T00:00:00+00:00,ffffffff-ffff-ffff-ffff-ffffffffffff"

app = Flask(__name__)
# The connection is described by PGHOST, PGUSER and the like.
pool = ConnectionPool(open=True)


def query_wrap_object(template: str) -> str:
    """Return a row as a JSON object."""
    return f"SELECT row_to_json(object_row) FROM ({template}) AS object_row"


def query_wrap_array(template: str) -> str:
    """Rows as a JSON array."""
    return f"SELECT COALESCE(array_to_json(array_agg(row_to_json(array_row))), '[]') FROM ({template}) AS array_row"


@app.get("/api/activities/home")
def home() -> Response:
    """Everyone's live activities."""
    created_at, uuid = request.args.get("cursor", FIRST).split(",")
    with pool.connection() as connection:
        row = connection.execute(query_wrap_array(HOME), {"created_at": created_at, "uuid": uuid}).fetchone()
    activities = row[0]
    response = jsonify(activities)
    if activities:
        last = f"{activities[-1]['created_at']},{activities[-1]['uuid']}".replace("+", "%2B")
        response.headers["Link"] = f'</api/activities/home?cursor={last}>; rel="next"'
    return response


@app.get("/api/activities/@<handle>")
def user(handle: str) -> tuple[Response, int] | Response:
    """Return a user and their live activities."""
    with pool.connection() as connection:
        profile = connection.execute(query_wrap_object(PROFILE), {"handle": handle}).fetchone()
        if profile is None:
            return jsonify(["not_found"]), 404
        activities = connection.execute(query_wrap_array(USER), {"user_uuid": profile[0]["uuid"]}).fetchone()
    return jsonify(profile=profile[0], activities=activities[0])

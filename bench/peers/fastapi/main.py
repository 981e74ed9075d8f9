"""FastAPI and asyncpg: statements prepared on pooled connections, JSON built by Postgres and handed on."""

import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlsplit
from uuid import UUID

import asyncpg
from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, Field, field_validator

COLUMNS = """
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
"""
# The last row of a full page is where the next one begins.
PAGE = """
    COALESCE(json_agg(feed), '[]') AS json,
    (array_agg(feed.created_at))[20] AS created_at,
    (array_agg(feed.uuid))[20] AS uuid
"""
HOME = f"""
WITH feed AS (
    SELECT {COLUMNS}
    FROM live_activities AS activities
    JOIN users ON users.uuid = activities.user_uuid
    WHERE activities.reply_to_activity_uuid IS NULL AND (activities.created_at, activities.uuid) < ($1, $2)
    ORDER BY activities.created_at DESC, activities.uuid DESC
    LIMIT 20
)
SELECT {PAGE} FROM feed
"""
USER = f"""
WITH profile AS (
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
    WHERE lower(users.handle COLLATE "C") = lower($3 COLLATE "C")
),
feed AS (
    SELECT {COLUMNS}
    FROM live_activities AS activities
    JOIN users ON users.uuid = activities.user_uuid
    WHERE
        activities.user_uuid = (SELECT profile.uuid FROM profile)
        AND activities.reply_to_activity_uuid IS NULL
        AND (activities.created_at, activities.uuid) < ($1, $2)
    ORDER BY activities.created_at DESC, activities.uuid DESC
    LIMIT 20
),
page AS (SELECT {PAGE} FROM feed)
SELECT
    json_build_object('profile', profile, 'activities', page.json) AS json,
    page.created_at,
    page.uuid
FROM profile CROSS JOIN page
"""
VIEWER = "SELECT users.uuid FROM users WHERE users.cognito_user_id = $1"
CREATE = f"""
WITH activities AS (
    INSERT INTO activities (user_uuid, message, mentions, expires_at)
    VALUES (
        $1,
        $2,
        ARRAY(
            SELECT users.uuid FROM users
            WHERE lower(users.handle COLLATE "C") = ANY ($3::text[]) AND users.uuid <> $1
        ),
        now() + $4::interval
    )
    RETURNING *
),
activity AS (
    SELECT {COLUMNS} FROM activities JOIN users ON users.uuid = activities.user_uuid
)
SELECT row_to_json(activity) FROM activity
"""
FIRST = (datetime(9999, 12, 31, tzinfo=UTC), UUID(int=2**128 - 1))
TTL = {
    "30-days": timedelta(days=30),
    "7-days": timedelta(days=7),
    "3-days": timedelta(days=3),
    "1-day": timedelta(days=1),
    "12-hours": timedelta(hours=12),
    "3-hours": timedelta(hours=3),
    "1-hour": timedelta(hours=1),
}
MENTION = re.compile(r"(?<!\w)@([A-Za-z0-9_]{1,30})(?!\w)")
REGION = os.environ["AWS_DEFAULT_REGION"]
KEYS = KeySet.import_key_set(json.loads(Path(unquote(urlsplit(os.environ["AWS_COGNITO_JWKS_URL"]).path)).read_text()))
CLAIMS = jwt.JWTClaimsRegistry(
    exp={"essential": True},
    iss={
        "essential": True,
        "value": f"https://cognito-idp.{REGION}.amazonaws.com/{os.environ['AWS_COGNITO_USER_POOL_ID']}",
    },
    client_id={"essential": True, "value": os.environ["AWS_COGNITO_USER_POOL_CLIENT_ID"]},
    token_use={"essential": True, "value": "access"},
)
JSON = "application/json"


class NewActivity(BaseModel):
    """Body of a new activity."""

    message: str = Field(min_length=1, max_length=280)
    ttl: str

    @field_validator("ttl")
    @classmethod
    def known(cls, ttl: str) -> str:
        """Return `ttl` if it is a known lifetime."""
        if ttl not in TTL:
            raise ValueError("ttl_blank")
        return ttl


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open a pool for each process, by PGHOST, PGUSER and the like."""
    async with asyncpg.create_pool(min_size=8, max_size=8) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


async def place(cursor: str | None = None) -> tuple[datetime, UUID]:
    """Where the page begins."""
    if cursor is None:
        return FIRST
    created_at, uuid = cursor.split(",")
    return datetime.fromisoformat(created_at), UUID(uuid)


async def viewer(bearer: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> UUID:
    """Return the current user."""
    try:
        claims = jwt.decode(bearer.credentials, KEYS, algorithms=["RS256"]).claims
        CLAIMS.validate(claims)
    except (JoseError, ValueError) as error:
        raise HTTPException(401) from error
    uuid: UUID | None = await app.state.pool.fetchval(VIEWER, claims["sub"])
    if uuid is None:
        raise HTTPException(401)
    return uuid


Place = Annotated[tuple[datetime, UUID], Depends(place)]
Viewer = Annotated[UUID, Depends(viewer)]


def send(path: str, row: Any) -> Response:
    """Return a page, and the link to the next."""
    response = Response(row["json"], media_type=JSON)
    if row["uuid"]:
        cursor = quote(f"{row['created_at'].isoformat()},{row['uuid']}")
        response.headers["Link"] = f'<{path}?cursor={cursor}>; rel="next"'
    return response


@app.get("/api/activities/home")
async def home(place: Place) -> Response:
    """Everyone's live activities."""
    return send("/api/activities/home", await app.state.pool.fetchrow(HOME, *place))


@app.get("/api/activities/@{handle}")
async def user(handle: str, place: Place) -> Response:
    """Return a user and their live activities."""
    row = await app.state.pool.fetchrow(USER, *place, handle)
    if row is None:
        raise HTTPException(404)
    return send(f"/api/activities/@{handle}", row)


@app.post("/api/activities")
async def create(author: Viewer, activity: NewActivity) -> Response:
    """Publish an activity."""
    mentioned = sorted({handle.lower() for handle in MENTION.findall(activity.message)})
    made = await app.state.pool.fetchval(CREATE, author, activity.message, mentioned, TTL[activity.ttl])
    return Response(made, media_type=JSON)

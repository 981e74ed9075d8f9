"""FastAPI and asyncpg: statements prepared on pooled connections, JSON built by Postgres and handed on."""

import json
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
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
from statements import (
    CREATE,
    FOLLOWING,
    HOME,
    LIKE,
    LIKED,
    NOTIFICATIONS,
    READ,
    RELATIONSHIPS,
    SUGGESTED,
    THREAD,
    TRENDS,
    UNREAD,
    USER,
    USER_WITH_REPOSTS,
    VIEWER,
)

FIRST = (datetime(9999, 12, 31, tzinfo=UTC), UUID(int=2**128 - 1))
OLDEST = (datetime(1, 1, 1, tzinfo=UTC), UUID(int=0))
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
# The plans are the same for all parameters, and planning anew takes longer than some of the reads.
GENERIC_PLANS = {"plan_cache_mode": "force_generic_plan"}
# The trends are the same for all users, and change slowly.
TRENDS_SECONDS = 60
Sub = tuple[str, ...]


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


class Marker(BaseModel):
    """Body of a request to mark notifications as read."""

    until: datetime


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open a pool for each process, by PGHOST, PGUSER and the like."""
    async with asyncpg.create_pool(min_size=8, max_size=8, server_settings=GENERIC_PLANS) as pool:
        app.state.pool = pool
        app.state.trends = -TRENDS_SECONDS, ""
        yield


app = FastAPI(lifespan=lifespan)


async def place(cursor: str | None = None) -> tuple[datetime, UUID]:
    """Return where the page begins."""
    return position(cursor) if cursor else FIRST


async def reply_place(cursor: str | None = None) -> tuple[datetime, UUID]:
    """Return where the page begins, the oldest row first."""
    return position(cursor) if cursor else OLDEST


def position(cursor: str) -> tuple[datetime, UUID]:
    """Return the position of a cursor."""
    created_at, uuid = cursor.split(",")
    return datetime.fromisoformat(created_at), UUID(uuid)


def verified_sub(token: str) -> str:
    """Return the claim `sub` of a token."""
    try:
        claims = jwt.decode(token, KEYS, algorithms=["RS256"]).claims
        CLAIMS.validate(claims)
    except (JoseError, ValueError) as error:
        raise HTTPException(401) from error
    return str(claims["sub"])


async def reader(bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]) -> Sub:
    """Return the claim `sub` as the last parameter of a statement, and no parameter of an anonymous request."""
    with suppress(HTTPException):
        return (verified_sub(bearer.credentials),) if bearer else ()
    return ()


async def viewer(bearer: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> UUID:
    """Return the current user."""
    uuid: UUID | None = await app.state.pool.fetchval(VIEWER, verified_sub(bearer.credentials))
    if uuid is None:
        raise HTTPException(401)
    return uuid


Place = Annotated[tuple[datetime, UUID], Depends(place)]
ReplyPlace = Annotated[tuple[datetime, UUID], Depends(reply_place)]
Reader = Annotated[Sub, Depends(reader)]
Viewer = Annotated[UUID, Depends(viewer)]


def send(path: str, row: Any) -> Response:
    """Return a page, and the link to the next."""
    if row is None:
        raise HTTPException(404)
    response = Response(row["json"], media_type=JSON)
    if row["uuid"]:
        cursor = quote(f"{row['created_at'].isoformat()},{row['uuid']}")
        response.headers["Link"] = f'<{path}cursor={cursor}>; rel="next"'
    return response


def send_object(json: str | None) -> Response:
    """Return an object."""
    if json is None:
        raise HTTPException(404)
    return Response(json, media_type=JSON)


@app.get("/api/activities/home")
async def home(place: Place, reader: Reader) -> Response:
    """Return everyone's live activities."""
    return send("?", await app.state.pool.fetchrow(HOME[bool(reader)], *place, *reader))


@app.get("/api/activities/following")
async def following(place: Place, viewer: Viewer) -> Response:
    """Return the activities and reposts of the current user and of those whom the user follows."""
    return send("?", await app.state.pool.fetchrow(FOLLOWING, *place, viewer))


@app.get("/api/activities/@{handle}")
async def user(handle: str, place: Place, reader: Reader, *, reposts: bool = False) -> Response:
    """Return a user and their live activities, with `reposts=true` also what they reposted."""
    statement, path = (USER_WITH_REPOSTS, "?reposts=true&") if reposts else (USER, "?")
    return send(path, await app.state.pool.fetchrow(statement[bool(reader)], *place, handle, *reader))


@app.get("/api/activities/@{handle}/status/{uuid}")
async def thread(handle: str, uuid: UUID, place: ReplyPlace, reader: Reader) -> Response:
    """Return an activity and its live replies."""
    return send("?", await app.state.pool.fetchrow(THREAD[bool(reader)], *place, uuid, handle, *reader))


@app.post("/api/activities")
async def create(author: Viewer, activity: NewActivity) -> Response:
    """Publish an activity."""
    mentioned = sorted({handle.lower() for handle in MENTION.findall(activity.message)})
    ttl = TTL[activity.ttl]
    return send_object(await app.state.pool.fetchval(CREATE, author, activity.message, mentioned, ttl))


@app.put("/api/activities/{uuid}/like")
async def like(uuid: UUID, viewer: Viewer) -> Response:
    """Like an activity."""
    async with app.state.pool.acquire() as connection:
        await connection.execute(LIKE, viewer, uuid)
        return send_object(await connection.fetchval(LIKED, viewer, uuid))


@app.get("/api/notifications")
async def notifications(place: Place, viewer: Viewer) -> Response:
    """Return replies, mentions, likes, reposts and follows by others."""
    return send("?", await app.state.pool.fetchrow(NOTIFICATIONS, *place, viewer))


@app.get("/api/notifications/unread")
async def unread(viewer: Viewer) -> Response:
    """Return the number of unread notifications."""
    return send_object(await app.state.pool.fetchval(UNREAD, viewer))


@app.put("/api/notifications/read")
async def read(viewer: Viewer, marker: Marker) -> Response:
    """Mark notifications as read."""
    return send_object(await app.state.pool.fetchval(READ, viewer, marker.until))


@app.get("/api/users/relationships")
async def relationships(viewer: Viewer, handles: str) -> Response:
    """Return what the current user is to other users."""
    return send_object(await app.state.pool.fetchval(RELATIONSHIPS, viewer, handles.split(",")))


@app.get("/api/users/suggested")
async def suggested(viewer: Viewer) -> Response:
    """Return users whom the current user may want to follow."""
    return send_object(await app.state.pool.fetchval(SUGGESTED, viewer))


@app.get("/api/trends")
async def trends() -> Response:
    """Return the hashtags that most users used within the last day."""
    now, (read_at, page) = time.monotonic(), app.state.trends
    if now - read_at > TRENDS_SECONDS:
        page = await app.state.pool.fetchval(TRENDS)
        app.state.trends = now, page
    return send_object(page)

"""The data layer: JSON that Postgres builds, as bytes, and transactions."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import psycopg
import pytest
from flask import Flask, Response

from lib import queries
from lib.auth import public
from lib.db import Db, pool, query_wrap_array, query_wrap_object
from lib.deadline import Deadline
from lib.exceptions import NotFound
from lib.pagination import PageRequest
from services.home_activities import HOME
from tests.factories import Make


@pytest.fixture
def db(app: Flask) -> Db:
    """Return a data layer on the application's own pool."""
    database_pool = app.extensions["database_pool"]
    return Db(lambda: database_pool.connection(Deadline(60)))


def answer(owner: psycopg.Connection, statement: str) -> object:
    """Return the first column of the first row, or None without a row."""
    row = owner.execute(statement.encode()).fetchone()
    return row[0] if row else None


def test_query_wrap_object_returns_the_row(owner: psycopg.Connection) -> None:
    wrapped = query_wrap_object("SELECT 1 AS one, NULL AS nothing, 'ü\"' AS text -- a comment")

    assert answer(owner, wrapped) == {"one": 1, "nothing": None, "text": 'ü"'}


def test_query_wrap_object_without_a_row_is_null(owner: psycopg.Connection) -> None:
    assert answer(owner, query_wrap_object("SELECT 1 AS one WHERE false")) is None


def test_query_wrap_array_returns_all_rows_in_order(owner: psycopg.Connection) -> None:
    wrapped = query_wrap_array("SELECT n FROM generate_series(1, 1000) AS n ORDER BY n DESC")

    assert answer(owner, wrapped) == [{"n": n} for n in range(1000, 0, -1)]
    assert answer(owner, query_wrap_array("SELECT 1 AS one WHERE false")) == []


def test_query_wrap_array_returns_the_length(owner: psycopg.Connection) -> None:
    row = owner.execute(query_wrap_array("SELECT n FROM generate_series(1, 3) AS n").encode()).fetchone()

    assert row == ([{"n": 1}, {"n": 2}, {"n": 3}], 3)


@pytest.mark.parametrize("wrap", [query_wrap_object, query_wrap_array])
def test_write_is_wrapped_like_a_read(owner: psycopg.Connection, make: Make, wrap: Callable[[str], str]) -> None:
    make.user("bystander")
    statement = wrap(
        "INSERT INTO users (handle, display_name, cognito_user_id) VALUES ('new', 'New', 'sub') RETURNING handle"
    )

    assert answer(owner, statement) in ({"handle": "new"}, [{"handle": "new"}])
    assert owner.execute("SELECT handle FROM users ORDER BY handle").fetchall() == [("bystander",), ("new",)]


def test_query_object_returns_postgres_bytes_unchanged(db: Db, make: Make) -> None:
    user = make.user("LinYue", display_name="Lin ☁ Yue")

    body = db.query_object("users/short", handle="linyue")

    assert body == f'{{"uuid":"{user.uuid}","handle":"LinYue","display_name":"Lin ☁ Yue"}}'.encode()


def test_missing_object_raises_not_found(db: Db) -> None:
    with pytest.raises(NotFound):
        db.query_object("users/short", handle="nobody")


def test_query_array_returns_json_and_length(db: Db, make: Make) -> None:
    make.user("LinYue")

    listing = db.query_array("users/short", handle="linyue")

    assert (listing.length, json.loads(listing.json)[0]["handle"]) == (1, "LinYue")


def test_statement_is_prepared_at_first_use(app: Flask) -> None:
    with app.extensions["database_pool"].pool.connection() as connection:
        Db(lambda: nullcontext(connection)).query_page(HOME, PageRequest(20))
        prepared = connection.execute(b"SELECT statement FROM pg_prepared_statements").fetchall()

    feeds = [statement for (statement,) in prepared if "live_activities" in statement]
    assert len(feeds) == 1


def test_read_leaves_no_open_transaction(app: Flask, db: Db) -> None:
    db.query_page(HOME, PageRequest(20))

    with app.extensions["database_pool"].pool.connection() as connection:
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert connection.autocommit
        assert connection.info.get_parameters()["fallback_application_name"] == "cruddur"


def test_pool_and_query_wrappers_work_within_a_request(app: Flask, make: Make) -> None:
    make.user("LinYue")
    statement = "SELECT users.handle FROM users WHERE users.handle = %(handle)s"

    @app.get("/journal/<handle>")
    @public
    def journal(handle: str) -> Response:
        wrap = query_wrap_object if handle == "LinYue" else query_wrap_array
        with pool.connection() as connection, connection.cursor() as cursor:
            cursor.execute(wrap(statement).encode(), {"handle": handle})
            json, *_ = cursor.fetchone()
            return Response(json, content_type="application/json")

    client = app.test_client()
    assert client.get("/journal/LinYue").data == b'{"handle":"LinYue"}'
    assert client.get("/journal/unknown").data == b"[]"


def test_pool_proxy_follows_the_current_application(app: Flask) -> None:
    with app.app_context():
        assert pool.name == app.extensions["database_pool"].pool.name
    with pytest.raises(RuntimeError):
        _ = pool.name


ADD = """
INSERT INTO users (handle, display_name, cognito_user_id)
VALUES (%(handle)s, 'Test User', %(handle)s)
RETURNING users.handle
-- a wrapped statement may end in a comment, even with 100 %% in it"""


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a query that inserts a user, and return its name."""
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "add.sql").write_text(ADD)
    monkeypatch.setattr(queries, "FOLDER", tmp_path)
    return "users/add"


def handles(owner: psycopg.Connection) -> set[str]:
    """Return the handles of all users."""
    return {handle for (handle,) in owner.execute("SELECT handle FROM users")}


def test_write_returns_the_statements_json(db: Db, owner: psycopg.Connection, add: str) -> None:
    assert db.query_object(add, handle="new") == b'{"handle":"new"}'
    assert handles(owner) == {"new"}


def test_transaction_is_atomic(db: Db, owner: psycopg.Connection, make: Make, add: str) -> None:
    make.user("bystander")

    with db.transaction() as transaction:
        transaction.query_object(add, handle="first")
        transaction.query_object(add, handle="second")
        assert handles(owner) == {"bystander"}
    with pytest.raises(psycopg.errors.UniqueViolation), db.transaction() as transaction:
        transaction.query_object(add, handle="third")
        transaction.query_object(add, handle="BYSTANDER")

    assert handles(owner) == {"bystander", "first", "second"}

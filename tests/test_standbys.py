"""Standbys: which server answers a read, and what a client that sends back `Cruddur-Seen` sees."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg.conninfo import make_conninfo
from werkzeug.test import TestResponse

from app import create_app
from harness.pgbouncer import MISSING, PROGRAM, pgbouncer
from harness.postgres import Cluster, cluster
from harness.standby import standby_of, wait_for_replay
from harness.waiting import wait_until
from lib import consistency
from lib.checks import check_standby
from lib.command_errors import ConfigError
from lib.config import Config
from lib.consistency import Seen
from lib.db import get_db, pools
from lib.exceptions import DatabaseUnavailable, NotFound, StandbyBehind, is_server_error
from lib.pagination import FIRST_PAGE
from lib.pool import THREADS
from lib.queries import FOLDER, is_read, load_sql
from ops.command import Database
from ops.create_database import ROLE, create
from ops.schema_load import schema_load
from services.user_activities import UserActivities
from tests import settings, tokens
from tests.cognito import FakeCognito
from tests.conftest import FRONTEND, SHARED_MEMORY, SignIn
from tests.factories import Make, User
from tests.pooler import LOSES_STATEMENTS, TURNS
from tests.service import fails

pytestmark = pytest.mark.slow

SEEN = "Cruddur-Seen"
# Longer than any test: the floor is that of the process's first read.
LONG = 600.0
# Commits still go to the standby at once.
OPTIONS = {"fsync": "off"}
# Of a deleted user's row, which a standby may have after the primary has taken the deletion back.
REFUSED = "CR401"


class Pair(NamedTuple):
    """A primary and its standby."""

    primary: Cluster
    standby: Cluster

    @property
    def urls(self) -> tuple[str, str]:
        """The connection strings of the service's role."""
        return self.primary.url(user=ROLE), self.standby.url(user=ROLE)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have the standby replay nothing while this lasts."""
        wait_for_replay(*self)
        self.standby.rows("SELECT pg_wal_replay_pause()")
        try:
            yield
        finally:
            self.standby.rows("SELECT pg_wal_replay_resume()")
            wait_for_replay(*self)


@contextmanager
def clusters_folder() -> Iterator[Path]:
    """Yield a folder for clusters while this lasts."""
    with TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None, prefix="cruddur-tests-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Run a primary with the schema, and a standby that follows it."""
    with clusters_folder() as folder, cluster(folder, options=OPTIONS) as primary:
        database = Database("CONNECTION_URL", primary.url())
        create(database)
        schema_load(database)
        with standby_of(primary, primary.port, folder, options=OPTIONS) as standby:
            yield Pair(primary, standby)


@pytest.fixture
def make(pair: Pair) -> Iterator[Make]:
    """Return the factory of rows, on the primary. The rows go at the end."""
    with psycopg.connect(pair.primary.url(), autocommit=True) as owner:
        yield Make(owner)
        owner.execute("TRUNCATE users CASCADE")


@pytest.fixture
def app(pair: Pair, jwks_url: str, growing_pool: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:  # noqa: ARG001
    """Yield the application with a standby, whose floor is that of its first read of the primary."""
    monkeypatch.setattr(consistency, "MAX_AGE_SECONDS", LONG)
    monkeypatch.setattr(consistency, "SAMPLE_SECONDS", LONG)
    with application(*pair.urls, jwks_url) as app:
        yield app


@contextmanager
def application(primary: str, standby: str, jwks_url: str, **others: Any) -> Iterator[Flask]:
    """Create the application of the primary and the standby at these addresses while this lasts."""
    arguments: dict[str, Any] = settings.UNLIMITED | tokens.pool(jwks_url) | others
    app = create_app(
        Config(
            connection_url=primary,
            read_connection_url=standby,
            frontend_urls=(FRONTEND,),
            **arguments,
        )
    )
    try:
        yield app
    finally:
        for pool in app.extensions["replication"][:2]:
            pool.close()


@pytest.fixture
def first_read(client: FlaskClient) -> TestResponse:
    """Read once from the primary: its snapshot is the floor from then on."""
    response = client.get("/api/activities/search?term=first")
    assert server(response) == "primary"
    return response


def server(response: TestResponse) -> str:
    """Return the server that answered."""
    timings = response.headers["Server-Timing"]
    asked_primary = "db;dur=0.00" not in timings
    return "primary" if asked_primary else "standby" if "db;desc=standby;dur=" in timings else "none"


def seen(response: TestResponse) -> dict[str, str]:
    """Return the header that the client sends back."""
    return {SEEN: response.headers[SEEN]}


def profile(user: User) -> str:
    """Return the path of a profile that no process keeps."""
    return f"/api/activities/@{user.handle}?limit=19"


def post(client: FlaskClient, message: str = "a crud") -> TestResponse:
    response = client.post("/api/activities", json={"message": message, "ttl": "7-days"})
    assert response.status_code == 200
    return response


def messages(response: TestResponse) -> list[str]:
    assert response.status_code == 200
    return [row["message"] for row in response.json["activities"]]


@pytest.mark.usefixtures("first_read")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_standby_answers_anonymous_reads(client: FlaskClient, make: Make, pair: Pair, method: str) -> None:
    author = make.user()
    wait_for_replay(*pair)

    response = client.open(profile(author), method=method)

    assert response.status_code == 200
    assert server(response) == "standby"


def test_client_sees_its_own_write(sign_in: SignIn, make: Make, pair: Pair, first_read: TestResponse) -> None:
    author = make.user()
    theirs = sign_in(author)
    before = theirs.get(profile(author), headers=seen(first_read))
    with pair.paused():
        written = post(theirs)
        late = theirs.get(profile(author), headers=seen(written))

        assert (server(late), messages(late)) == ("primary", ["a crud"])
        # A client without that write may read the standby.
        assert server(theirs.get(profile(author), headers=seen(before))) == "standby"

    soon = theirs.get(profile(author), headers=seen(written))
    assert (server(soon), messages(soon)) == ("standby", ["a crud"])


@pytest.mark.usefixtures("first_read")
def test_client_never_goes_back_in_time(client: FlaskClient, sign_in: SignIn, make: Make, pair: Pair) -> None:
    author = make.user()
    wait_for_replay(*pair)
    with pair.paused():
        make.activity(author, "new")
        # The user's own read without the header comes from the primary. Another client continues from there.
        new = sign_in(make.user()).get(profile(author))
        assert (server(new), messages(new)) == ("primary", ["new"])
        again = client.get(profile(author), headers=seen(new))
        assert (server(again), messages(again)) == ("primary", ["new"])

        # Without the header the same client may still get an older state.
        older = client.get(profile(author))
        assert (server(older), messages(older)) == ("standby", [])


def test_client_sees_transactions_that_end_after_later_ones(
    client: FlaskClient, sign_in: SignIn, make: Make, pair: Pair, first_read: TestResponse
) -> None:
    author = make.user()
    theirs = sign_in(make.user())
    with psycopg.connect(pair.primary.url()) as running:
        Make(running).activity(author, "slow", age="1 second")
        make.activity(author, "quick")
        wait_for_replay(*pair)
        early = client.get(profile(author))
        assert (server(early), messages(early)) == ("standby", ["quick"])
        with pair.paused():
            running.commit()
            late = theirs.get(profile(author))
            # The standby has replayed the later transaction alone.
            assert messages(late) == ["quick", "slow"]
            assert messages(client.get(profile(author), headers=seen(late))) == ["quick", "slow"]
            assert messages(client.get(profile(author))) == ["quick"]
    # Each response names the later transaction as seen.
    first, *others = (int(response.headers[SEEN].split("-")[1]) for response in (first_read, early, late))
    assert first < min(others)
    assert len(set(others)) == 1


@pytest.mark.usefixtures("first_read")
def test_client_sees_transactions_that_are_later_than_a_running_one(
    client: FlaskClient, sign_in: SignIn, make: Make, pair: Pair
) -> None:
    author = make.user()
    theirs = sign_in(make.user())
    with pair.paused(), psycopg.connect(pair.primary.url()) as running:
        Make(running).activity(author, "slow")
        make.activity(author, "quick")

        shown = theirs.get(profile(author))
        assert messages(shown) == ["quick"]
        assert messages(client.get(profile(author), headers=seen(shown))) == ["quick"]
        assert messages(client.get(profile(author))) == []


def test_statements_that_write_or_lock_are_no_reads(make: Make) -> None:
    functions = make.owner.execute("""
        SELECT pg_proc.proname FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND provolatile = 'v' AND prorettype <> 'trigger'::regtype
            AND NOT EXISTS (SELECT FROM pg_depend WHERE pg_depend.objid = pg_proc.oid AND pg_depend.deptype = 'e')
    """).fetchall()
    words = ["INSERT", "UPDATE", "DELETE", "MERGE", "SHARE", "nextval", "setval", *(name for (name,) in functions)]
    writing = re.compile(rf"\b({'|'.join(words)})\b")
    names = [f"{path.parent.name}/{path.stem}" for path in sorted(FOLDER.glob("*/*.sql"))]

    assert "end_activity" in words
    assert len(names) > 50
    for name in names:
        assert is_read(name) != bool(writing.search(re.sub("--.*", "", load_sql(name)))), name


@pytest.mark.usefixtures("first_read")
def test_statements_of_a_request_never_go_back_in_time(
    app: Flask, make: Make, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    author = make.user()
    wait_for_replay(*pair)
    with pair.paused(), app.test_request_context():
        make.activity(author, "new")
        pages = []
        # The first read is a sample of the primary, and the second one may ask a standby.
        for seconds in (0.0, LONG):
            monkeypatch.setattr(consistency, "SAMPLE_SECONDS", seconds)
            page = UserActivities(get_db()).run(handle=author.handle, page_request=FIRST_PAGE)
            pages.append((page.length, get_db().timings.standby > 0))

    assert pages == [(1, False), (1, True)]


def test_authenticated_read_without_the_header_is_the_primarys(
    sign_in: SignIn, make: Make, pair: Pair, first_read: TestResponse
) -> None:
    author = make.user()
    theirs = sign_in(author)
    wait_for_replay(*pair)

    assert server(theirs.get(profile(author))) == "primary"
    assert server(theirs.get(profile(author), headers=seen(first_read))) == "standby"


@pytest.mark.usefixtures("first_read")
@pytest.mark.parametrize("authorization", [None, "Bearer null", "Bearer x"])
def test_public_read_with_a_token_is_the_primarys(
    client: FlaskClient, sign_in: SignIn, make: Make, pair: Pair, authorization: str | None
) -> None:
    activity = make.activity(make.user())
    path = f"/api/activities/{activity.uuid}/likes"
    wait_for_replay(*pair)
    with pair.paused():
        theirs = sign_in(make.user())
        assert theirs.put(f"/api/activities/{activity.uuid}/like").status_code == 200
        assert len(theirs.get(path).json) == 1
        # The view verifies no token, so any may be the one that has written.
        is_anonymous = authorization != "Bearer x"
        response = client.get(path, headers={"Authorization": authorization} if authorization else {})
        assert server(response) == ("standby" if is_anonymous else "primary")


@pytest.mark.parametrize("header", ["", "x", "0123abcd-", "0123abcd-1", "0123abcd-" + "9" * 20, "12", "-1"])
def test_header_of_another_history_is_the_primarys(
    client: FlaskClient, make: Make, first_read: TestResponse, header: str
) -> None:
    author = make.user()
    history = first_read.headers[SEEN].split("-")[0]

    response = client.get(profile(author), headers={SEEN: header})

    assert server(response) == "primary"
    # The response carries a header that counts.
    assert response.headers[SEEN].startswith(f"{history}-")


@pytest.mark.usefixtures("first_read")
def test_header_from_the_future_is_the_primarys(client: FlaskClient, make: Make, first_read: TestResponse) -> None:
    author = make.user()
    history, transaction = first_read.headers[SEEN].split("-")

    response = client.get(profile(author), headers={SEEN: f"{history}-{'9' * 19}"})

    assert server(response) == "primary"
    # A client can't make the header grow.
    assert int(response.headers[SEEN].split("-")[1]) < int(transaction) + 100


@pytest.mark.usefixtures("first_read")
def test_not_found_is_the_primarys_word(client: FlaskClient, make: Make, pair: Pair) -> None:
    author = make.user()
    wait_for_replay(*pair)
    with pair.paused():
        activity = make.activity(author, "new")
        response = client.get(f"/api/activities/@{author.handle}/status/{activity.uuid}")

        assert (response.status_code, server(response)) == (200, "primary")


def test_client_that_saw_an_activity_go_does_not_see_it_again(
    client: FlaskClient, sign_in: SignIn, make: Make, pair: Pair, first_read: TestResponse
) -> None:
    author = make.user()
    activity = make.activity(author, "deleted")
    wait_for_replay(*pair)
    with pair.paused():
        path = f"/api/activities/{activity.uuid}"
        assert sign_in(author).delete(path).status_code == 200
        # Each of these has told its client that the activity is gone.
        gone = [
            sign_in(author).delete(path, headers=seen(first_read)),
            sign_in(make.user()).put(f"{path}/like", headers=seen(first_read)),
            sign_in(author).get(f"/api/activities/@{author.handle}/status/{activity.uuid}"),
        ]
        for response in gone:
            assert response.status_code == 404
            assert messages(client.get(profile(author), headers=seen(response))) == []
        # The standby still has it.
        assert messages(client.get(profile(author))) == ["deleted"]


def test_write_that_finds_nothing_is_seen(app: Flask, first_read: TestResponse) -> None:
    with app.test_request_context(method="DELETE"):
        db = get_db()
        nothing: dict[str, Any] = {"activity_uuid": uuid4(), "user_uuid": uuid4()}
        with pytest.raises(NotFound):
            db.query_object("activities/delete", **nothing)

    assert db.seen is not None
    assert db.seen.includes(Seen.parse(first_read.headers[SEEN]))


@pytest.mark.parametrize("path", ["/api/users/me", "/api/activities/following", "/api/notifications/unread"])
def test_read_that_makes_the_users_row_is_the_primarys(
    pair: Pair, make: Make, cognito: FakeCognito, jwks_url: str, path: str
) -> None:
    sub = str(uuid4())
    cognito.people[sub] = {"preferred_username": "newcomer", "name": "Newcomer", "email": "new@example.com"}
    with application(*pair.urls, jwks_url, cognito_endpoint=cognito.url) as app, pair.paused():
        client = app.test_client()
        first = client.get("/api/activities/search?term=first")
        response = client.get(path, headers=tokens.bearer(sub) | seen(first))
        again = client.get(path, headers=tokens.bearer(sub) | seen(first))

    # The standby has no such row yet. That makes no second one.
    assert [response.status_code, again.status_code] == [200, 200]
    assert response.json == again.json
    assert make.owner.execute("SELECT FROM users WHERE cognito_user_id = %s", [sub]).rowcount == 1


@pytest.mark.parametrize("max_age", [0.2, LONG])
def test_standby_answers_while_it_is_no_more_than_a_second_behind(
    client: FlaskClient, make: Make, pair: Pair, monkeypatch: pytest.MonkeyPatch, max_age: float
) -> None:
    author = make.user()
    monkeypatch.setattr(consistency, "SAMPLE_SECONDS", 0.05)
    monkeypatch.setattr(consistency, "MAX_AGE_SECONDS", max_age)
    wait_for_replay(*pair)
    client.get(profile(author))
    with pair.paused():
        make.activity(author, "new")
        # Each read of the primary is a sample. After `max_age` only samples with the activity remain.
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            client.get(profile(author))
        servers = {(server(response), *messages(response)) for response in read_times(client, profile(author), 5)}

    assert ("standby" in {name for name, *_ in servers}) is (max_age == LONG)
    assert ("primary", "new") in servers or max_age == LONG


def read_times(client: FlaskClient, path: str, times: int) -> list[TestResponse]:
    return [client.get(path) for _ in range(times)]


@pytest.mark.usefixtures("first_read")
def test_cached_home_feed_is_the_primarys(client: FlaskClient) -> None:
    # A standby's page may be a second old, and stays in the cache for another.
    assert server(client.get("/api/activities/home")) == "primary"


@pytest.mark.usefixtures("cache_clock")
def test_page_of_the_primary_is_kept_and_that_of_a_standby_is_not(client: FlaskClient, make: Make, pair: Pair) -> None:
    kofi, mira = make.user("kofi"), make.user("mira")
    wait_for_replay(*pair)

    servers = [server(client.get(f"/api/activities/@{user.handle}")) for user in (kofi, kofi, mira, mira)]

    # The first read is a sample of the primary.
    assert servers == ["primary", "none", "standby", "standby"]


@pytest.mark.usefixtures("cache_clock")
def test_kept_page_is_refused_by_a_client_that_has_seen_a_later_commit(
    client: FlaskClient, sign_in: SignIn, make: Make, pair: Pair
) -> None:
    author = make.user()
    path = f"/api/activities/@{author.handle}"
    with psycopg.connect(pair.primary.url()) as running:
        Make(running).activity(author, "slow", age="1 second")
        make.activity(author, "quick")
        assert messages(client.get(path)) == ["quick"]
        running.commit()
    late = sign_in(author).get(path)
    assert messages(late) == ["quick", "slow"]

    # Both transactions are below the number that the kept page shows, but the page lacks one of them.
    assert messages(client.get(path, headers=seen(late))) == ["quick", "slow"]


@pytest.mark.usefixtures("cache_clock")
def test_rejected_token_gets_no_kept_page(client: FlaskClient, make: Make) -> None:
    author = make.user()
    path = f"/api/activities/@{author.handle}"
    assert messages(client.get(path)) == []
    make.activity(author, "new")

    assert messages(client.get(path, headers={"Authorization": "Bearer x"})) == ["new"]
    # For a second an anonymous client still gets it.
    assert messages(client.get(path, headers={"Authorization": "Bearer null"})) == []


def test_cached_home_feed_holds_what_its_client_has_seen(client: FlaskClient, sign_in: SignIn, make: Make) -> None:
    author = make.user()
    cached = client.get("/api/activities/home")
    assert cached.json == []
    written = post(sign_in(author))

    # Within a second an anonymous client may get the older page. A client that has seen the write may not.
    older = client.get("/api/activities/home", headers=seen(cached))
    assert (older.json, server(older), older.headers[SEEN]) == ([], "none", cached.headers[SEEN])
    (activity,) = client.get("/api/activities/home", headers=seen(written)).json
    assert activity["message"] == "a crud"
    # From then on the newer page is everyone's.
    newer = client.get("/api/activities/home")
    assert (newer.json, server(newer)) == ([activity], "none")
    # A header that names no state gets the state before its request.
    for header in ("x", "0123abcd-1"):
        number = len(client.get("/api/activities/home").json)
        make.activity(author)
        assert len(client.get("/api/activities/home", headers={SEEN: header}).json) == number + 1


@pytest.mark.usefixtures("first_read")
@pytest.mark.parametrize("sqlstate", ["40001", "57014", "42P01", "XX000", REFUSED])
def test_failure_of_a_standby_is_no_clients(
    sign_in: SignIn, make: Make, pair: Pair, first_read: TestResponse, sqlstate: str
) -> None:
    author = make.user()
    ((definition,),) = make.owner.execute("SELECT pg_get_functiondef('admit'::regproc)").fetchall()
    failing = f"""
        CREATE OR REPLACE FUNCTION admit(sub text) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN
            IF pg_is_in_recovery() THEN RAISE EXCEPTION 'a failure' USING ERRCODE = '{sqlstate}'; END IF;
            RETURN true;
        END $$
    """
    make.owner.execute(failing.encode())
    try:
        wait_for_replay(*pair)
        response = sign_in(author).get(profile(author), headers=seen(first_read))
    finally:
        make.owner.execute(definition.encode())

    assert (response.status_code, server(response)) == (200, "primary")
    assert "db;desc=standby" in response.headers["Server-Timing"]


def test_promoted_standby_answers_nothing(
    make: Make, pair: Pair, jwks_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consistency, "MAX_AGE_SECONDS", LONG)
    monkeypatch.setattr(consistency, "SAMPLE_SECONDS", LONG)
    # As sessions of a server that was a standby when they began.
    monkeypatch.setattr("lib.config.standby_url", lambda url: url)
    author = make.user()
    with application(pair.urls[0], pair.urls[0], jwks_url) as app:
        client, connections = app.test_client(), app.extensions["replication"].standby.pool
        responses = read_times(client, profile(author), 4)
        wait_until(lambda: connections.get_stats()["connections_num"] > THREADS, "new connections to standbys")

    assert {response.status_code for response in responses} == {200}
    assert {server(response) for response in responses} == {"primary"}


def test_standby_of_the_old_primary_answers_nothing_after_a_failover(
    pair: Pair, make: Make, jwks_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consistency, "MAX_AGE_SECONDS", LONG)
    monkeypatch.setattr(consistency, "SAMPLE_SECONDS", LONG)
    author = make.user()
    with (
        clusters_folder() as folder,
        standby_of(pair.primary, pair.primary.port, folder, options=OPTIONS) as promoted,
        standby_of(promoted, promoted.port, folder, options=OPTIONS) as follower,
    ):
        wait_for_replay(pair.primary, promoted)
        promoted.rows("SELECT pg_promote()")
        # The old primary's last transactions, which the other standby has and the new primary has not.
        for _ in range(50):
            make.activity(author, "lost")
        wait_for_replay(*pair)
        assert own_posts(Pair(promoted, pair.standby), jwks_url, author) == {("primary", "a crud")}

        # A standby that follows the new primary answers after its next restartpoint.
        with application(*Pair(promoted, follower).urls, jwks_url) as app:
            client = app.test_client()
            read_times(client, profile(author), 3)
            for each in (promoted, follower):
                each.rows("CHECKPOINT")
            wait_until(lambda: server(client.get(profile(author))) == "standby", "the standby of the new primary")


def own_posts(servers: Pair, jwks_url: str, author: User) -> set[tuple[str, ...]]:
    """Post some times, and return the servers that answered the author's reads with the newest activity."""
    with application(*servers.urls, jwks_url) as app:
        theirs = app.test_client()
        theirs.environ_base["HTTP_AUTHORIZATION"] = tokens.bearer(author.cognito_user_id)["Authorization"]
        reads = [theirs.get(profile(author), headers=seen(post(theirs))) for _ in range(4)]
    return {(server(response), messages(response)[0]) for response in reads}


@pytest.mark.usefixtures("first_read")
def test_busier_standby_is_not_asked(app: Flask, client: FlaskClient, make: Make, pair: Pair) -> None:
    author = make.user()
    wait_for_replay(*pair)
    with app.extensions["replication"].standby.pool.connection():
        assert server(client.get(profile(author))) == "primary"
    assert server(client.get(profile(author))) == "standby"


@pytest.mark.usefixtures("first_read")
def test_silent_standby_leaves_the_primary_time(client: FlaskClient, make: Make, pair: Pair) -> None:
    author = make.user()
    wait_for_replay(*pair)
    assert server(client.get(profile(author))) == "standby"
    pair.standby.freeze()
    try:
        responses = read_times(client, profile(author), 3)
    finally:
        pair.standby.thaw()

    assert [(response.status_code, server(response)) for response in responses] == [(200, "primary")] * 3
    wait_until(lambda: server(client.get(profile(author))) == "standby", "the standby's return")


def test_service_outlives_its_standby(
    client: FlaskClient, make: Make, pair: Pair, first_read: TestResponse, caplog: pytest.LogCaptureFixture
) -> None:
    author = make.user()
    wait_for_replay(*pair)
    assert server(client.get(profile(author))) == "standby"
    pair.standby.stop()
    try:
        responses = [*read_times(client, profile(author), 20), client.get("/readyz")]
        assert {response.status_code for response in responses} == {200}
    finally:
        pair.standby.start()
        wait_for_replay(*pair)
    assert "the standby may be away" in caplog.text

    wait_until(
        lambda: server(client.get(profile(author), headers=seen(first_read))) == "standby", "the standby's return"
    )


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "the same"}])
def test_committed_write_is_no_failure_when_the_primary_is_lost_after_it(
    sign_in: SignIn, make: Make, first_read: TestResponse, monkeypatch: pytest.MonkeyPatch, key: dict[str, str]
) -> None:
    author = make.user()
    theirs, body = sign_in(author), {"message": "a crud", "ttl": "7-days"}
    theirs.get("/api/users/me")
    with monkeypatch.context() as context:
        context.setattr("lib.replicated_database.SNAPSHOT", b"pg_terminate_backend(pg_backend_pid())")
        written = theirs.post("/api/activities", json=body, headers=key | seen(first_read))
    assert written.status_code == 200

    # The client sees the write all the same, and gets a header that counts.
    read = theirs.get(profile(author), headers=seen(written))
    assert (server(read), messages(read)) == ("primary", ["a crud"])
    assert read.headers[SEEN].split("-")[0] == first_read.headers[SEEN].split("-")[0]


def test_transaction_reads_the_primary(sign_in: SignIn, make: Make, pair: Pair, first_read: TestResponse) -> None:
    author = make.user()
    key = {"Idempotency-Key": "the same"}
    with pair.paused():
        body = {"message": "once", "ttl": "7-days"}
        first = sign_in(author).post("/api/activities", json=body, headers=key | seen(first_read))
        replayed = sign_in(author).post("/api/activities", json=body, headers=key | seen(first_read))

    assert replayed.json == first.json
    assert {server(first), server(replayed)} == {"primary"}
    assert not any("db;desc=standby" in response.headers["Server-Timing"] for response in (first, replayed))
    # The replay, too, makes its client see the write.
    assert int(seen(replayed)[SEEN].split("-")[1]) >= int(seen(first)[SEEN].split("-")[1])


def test_without_standbys_there_is_no_header(pair: Pair, jwks_url: str, make: Make) -> None:
    make.user()
    limits: dict[str, Any] = settings.UNLIMITED
    url = pair.primary.url(user=ROLE)
    app = create_app(Config(connection_url=url, frontend_urls=(FRONTEND,), **limits, **tokens.pool(jwks_url)))
    try:
        response = app.test_client().get("/api/activities/home", headers={SEEN: "0123abcd-5"})
    finally:
        app.extensions["database_pool"].close()

    assert response.status_code == 200
    assert SEEN not in response.headers


def configuration(primary: str, standby: str, **others: Any) -> Config:
    return Config(
        connection_url=primary, read_connection_url=standby, frontend_urls=(FRONTEND,), **tokens.pool(), **others
    )


def test_standby_of_the_database_passes_the_checks(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    check_standby(configuration(pair.primary.url(user=ROLE), pair.standby.url(user=ROLE), workers=19))

    assert caplog.records == []


def test_service_starts_without_its_standby(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    primary = pair.primary.url(user=ROLE)
    for url, reason in ((make_conninfo(primary, port=1), "Connection refused"), (primary, "not in hot standby mode")):
        caplog.clear()
        check_standby(configuration(primary, url))

        (line,) = [record.getMessage() for record in caplog.records]
        assert line.startswith("cruddur: READ_CONNECTION_URL: ")
        assert reason in line
        assert line.endswith(": the primary answers all reads until there is a standby")


def test_standby_of_another_database_is_refused(pair: Pair, service_url: str) -> None:
    line = "cruddur: READ_CONNECTION_URL names no standby of the database of CONNECTION_URL: name one of its own"

    assert fails(CONNECTION_URL=service_url, READ_CONNECTION_URL=pair.standby.url(user=ROLE)) == [line]


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
def test_pooler_of_a_standby_is_checked_as_that_of_the_primary(
    pair: Pair,
    caplog: pytest.LogCaptureFixture,
    jwks_url: str,
    make: Make,
    growing_pool: None,  # noqa: ARG001
) -> None:
    primary, author = pair.primary.url(user=ROLE), make.user()
    with pgbouncer(pair.standby.url(user=ROLE), **TURNS, **LOSES_STATEMENTS) as pooler:
        with pytest.raises(ConfigError) as failure:
            check_standby(configuration(primary, pooler.url))
        assert str(failure.value).startswith("READ_CONNECTION_URL: a pooler loses prepared statements (SQLSTATE ")

        check_standby(configuration(primary, pooler.url, database_prepare="off"))
        assert caplog.records == []
        with application(primary, pooler.url, jwks_url, database_prepare="off") as app:
            client = app.test_client()
            wait_until(lambda: server(client.get(profile(author))) == "standby", "a response of the standby")


def test_connections_of_a_standby_are_counted(pair: Pair) -> None:
    with pytest.raises(ConfigError) as failure:
        check_standby(configuration(pair.primary.url(user=ROLE), pair.standby.url(user=ROLE), workers=20))

    assert str(failure.value).startswith(
        "WEB_CONCURRENCY=20 wants 100 connections, and the server of READ_CONNECTION_URL has 97 for us: "
    )


@pytest.mark.usefixtures("first_read", "make")
def test_trends_are_the_primarys(client: FlaskClient) -> None:
    # They are kept for a minute. A standby's would be older.
    response = client.get("/api/trends")

    assert (response.status_code, server(response)) == (200, "primary")


def test_metrics_name_both_pools(app: Flask) -> None:
    assert [pool.name for pool in pools(app)] == ["cruddur", "cruddur-standby"]


def test_late_standby_is_no_error_of_a_trace() -> None:
    assert not is_server_error(StandbyBehind())
    assert is_server_error(DatabaseUnavailable())

"""The scripts for the database: each works, and works twice."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import psycopg
import pytest
from flask.testing import FlaskClient
from psycopg.conninfo import make_conninfo

from lib.checks import SCHEMA
from tests.conftest import NEW, SERVICE_PASSWORD
from tests.running import fails, rows, script, succeeds


def test_each_step_works_and_works_twice(new_url: str) -> None:
    for step, deed in (
        ("create", "created, with the role cruddur_service"),
        ("create", "existed already, with the role cruddur_service"),
        ("schema-load", f"schema {SCHEMA} loaded"),
        ("schema-load", f"schema {SCHEMA} was loaded already"),
        ("migrate", f"schema {SCHEMA} is the newest"),
        ("seed", "seeded 13 activities, 5 new users, 4 new messages"),
        ("seed", "seeded 13 activities, 0 new users, 0 new messages"),
        ("migrate", f"schema {SCHEMA} is the newest"),
        ("purge", "1 activities and 0 idempotency keys deleted"),
        ("purge", "0 activities and 0 idempotency keys deleted"),
    ):
        assert succeeds(f"db-{step}", CONNECTION_URL=new_url) == f"database {NEW}: {deed}\n"
    assert rows(new_url, "SELECT count(*) FROM users") == [(5,)]

    for deed in ("dropped", "did not exist"):
        assert succeeds("db-drop", CONNECTION_URL=new_url) == f"database {NEW}: {deed}\n"
    with pytest.raises(psycopg.OperationalError):
        rows(new_url, "SELECT 1")


def test_setup_makes_the_database_anew(new_url: str) -> None:
    succeeds("db-setup", CONNECTION_URL=new_url)
    rows(new_url, "DELETE FROM users WHERE handle = 'bayko' RETURNING uuid")

    assert succeeds("db-setup", CONNECTION_URL=new_url) == (
        f"database {NEW}: dropped; created, with the role cruddur_service; schema {SCHEMA} loaded; "
        "seeded 13 activities, 5 new users, 4 new messages\n"
    )
    assert rows(new_url, "SELECT count(*) FROM users") == [(5,)]


def test_setup_stops_at_the_first_failure(new_url: str) -> None:
    succeeds("db-setup", CONNECTION_URL=new_url)
    with psycopg.connect(new_url, autocommit=True) as somebody:
        somebody.execute("UPDATE users SET handle = 'still_here' WHERE handle = 'bayko'")

        line = fails("db-setup", CONNECTION_URL=new_url)

    assert f"{NEW} is in use" in line
    assert "bin/db-sessions" in line
    assert rows(new_url, "SELECT count(*) FROM users WHERE handle = 'still_here'") == [(1,)]


def test_the_seed_holds_the_journals_row_once_and_renews_its_times(new_url: str) -> None:
    succeeds("db-setup", CONNECTION_URL=new_url)
    seeded = """
        SELECT
            users.handle,
            expires_at - activities.created_at = interval '10 days',
            now() - activities.created_at < interval '1 minute'
        FROM activities JOIN users ON users.uuid = user_uuid WHERE message = 'This was imported as seed data!'
    """
    rows(new_url, "UPDATE activities SET created_at = now() - interval '5 days' RETURNING uuid")

    succeeds("db-seed", CONNECTION_URL=new_url)

    assert rows(new_url, seeded) == [("andrewbrown", True, True)]
    states = """
        SELECT
            count(*) FILTER (WHERE expires_at <= now()),
            count(*) FILTER (WHERE expires_at IS NULL),
            count(*) FILTER (WHERE expires_at BETWEEN now() AND now() + interval '10 minutes'),
            count(*) FILTER (WHERE replies_count > 0),
            sum(replies_count) = count(reply_to_activity_uuid)
        FROM activities
    """
    assert rows(new_url, states) == [(1, 2, 1, 3, True)]


def test_made_up_data_come_as_many_as_asked_half_of_them_expired(new_url: str) -> None:
    succeeds("db-setup", CONNECTION_URL=new_url)
    seeded = rows(new_url, "SELECT uuid FROM activities")

    done = succeeds("db-seed", "--activities", "2000", "--users", "100", CONNECTION_URL=new_url)

    assert done.endswith("; added 2000 generated activities, 100 generated users\n")
    made = "FROM activities JOIN users ON users.uuid = user_uuid WHERE handle LIKE 'person_%'"
    ((count, expired, replies),) = rows(
        new_url, f"SELECT count(*), count(*) FILTER (WHERE expires_at <= now()), count(reply_to_activity_uuid) {made}"
    )
    assert (count, rows(new_url, "SELECT count(*) FROM users WHERE handle LIKE 'person_%'")) == (2000, [(100,)])
    assert isinstance(expired, int)
    assert 900 < expired < 1100
    assert isinstance(replies, int)
    assert 100 < replies < 600
    assert rows(new_url, "SELECT bool_and(expires_at > created_at AND created_at < now()) FROM activities") == [(True,)]
    assert rows(new_url, "SELECT count(*) FROM activities WHERE mentions <> '{}' AND message LIKE '%@person_%'")[0] > (
        50,
    )
    assert len(rows(new_url, "SELECT uuid FROM activities")) == 2000 + len(seeded)
    assert "generated data already" in fails("db-seed", "--activities", "1", "--users", "1", CONNECTION_URL=new_url)


def test_sessions_are_shown_with_ours_among_them(
    client: FlaskClient, owner: psycopg.Connection, owner_url: str
) -> None:
    client.get("/api/activities/home")

    shown = succeeds("db-sessions", CONNECTION_URL=owner_url).splitlines()

    table = [[cell.strip() for cell in line.split("|")] for line in shown]
    assert table[0] == ["process", "user", "database", "address", "application", "state"]
    assert ["cruddur_service", owner.info.dbname, "cruddur", "idle"] in [[*row[1:3], *row[4:]] for row in table]


def test_connect_is_psql_on_the_database(owner: psycopg.Connection, owner_url: str) -> None:
    shown = succeeds("db-connect", "-XAtc", "SELECT current_database(), 1 + 1", CONNECTION_URL=owner_url)

    assert shown == f"{owner.info.dbname}|2\n"
    assert script("db-connect", "-XAtc", "SELECT nothing", CONNECTION_URL=owner_url).returncode == 1


def test_connect_shows_the_password_to_psql_alone(owner: psycopg.Connection, owner_url: str) -> None:
    password = owner.info.password or "p/w ?#@%'"
    url = make_conninfo(owner_url, password=password)

    shown = succeeds("db-connect", "-Xc", r"\! echo $PGPASSWORD; tr '\0' ' ' < /proc/$PPID/cmdline", CONNECTION_URL=url)

    told, command_line = shown.splitlines()
    assert told == password
    assert f"dbname={owner.info.dbname}" in command_line
    assert password not in command_line


def test_plans_tell_what_each_read_costs(new_url: str) -> None:
    succeeds("db-create", CONNECTION_URL=new_url)
    succeeds("db-schema-load", CONNECTION_URL=new_url)
    assert "run bin/db-seed" in fails("db-plans", CONNECTION_URL=new_url)
    succeeds("db-seed", CONNECTION_URL=new_url)

    shown = succeeds("db-plans", CONNECTION_URL=new_url).splitlines()

    assert shown[0].split() == ["query", "rows", "buffers", "ms", "indexes"]
    assert [line.split("  ")[0] for line in shown[1:5]] == [
        *("home", "home, a page in the middle", "home, the page before it", "profile")
    ]


def test_urls_with_several_hosts_options_and_encoded_passwords_work(owner: psycopg.Connection) -> None:
    info = owner.info
    # A server that trusts us takes any password, so it may as well be a difficult one.
    password = quote(info.password or "a/b?#@% !", safe="")
    url = (
        f"postgresql://{info.user}:{password}@127.0.0.1:1,{quote(info.host, safe='')}:{info.port}/{info.dbname}"
        "?options=-c%20search_path%3Dpublic&target_session_attrs=read-write"
    )

    assert (
        succeeds("db-schema-load", CONNECTION_URL=url)
        == f"database {info.dbname}: schema {SCHEMA} was loaded already\n"
    )
    assert succeeds("db-connect", "-XAtc", "SHOW search_path", CONNECTION_URL=url) == "public\n"


def test_the_service_gets_the_password_of_its_url(new_url: str, server_url: str) -> None:
    service = make_conninfo(new_url, user="cruddur_service", password=SERVICE_PASSWORD)
    secret = "SELECT rolpassword FROM pg_authid WHERE rolname = 'cruddur_service'"
    before = rows(server_url, secret)

    said = succeeds("db-create", CONNECTION_URL=new_url, SERVICE_CONNECTION_URL=service)

    assert said == f"database {NEW}: created, with the role cruddur_service and its password\n"
    # The same password, with a salt of its own.
    ((after,),) = rows(server_url, secret)
    assert str(after).startswith("SCRAM-SHA-256$")
    assert [(after,)] != before


def test_several_migrate_at_once(new_url: str) -> None:
    succeeds("db-create", CONNECTION_URL=new_url)

    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _: succeeds("db-migrate", CONNECTION_URL=new_url), range(3)))

    newest = f"database {NEW}: schema {SCHEMA} is the newest\n"
    revisions = ", ".join(f"{number:04}" for number in range(1, int(SCHEMA) + 1))
    assert sorted(done) == [f"database {NEW}: applied {revisions}\n", newest, newest]
    assert rows(new_url, "SELECT version_num FROM alembic_version") == [(SCHEMA,)]

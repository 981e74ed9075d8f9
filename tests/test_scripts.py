"""The database commands: results, idempotency and options."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import psycopg
import pytest
from flask.testing import FlaskClient
from psycopg.conninfo import make_conninfo

from harness.postgres import rows
from lib.checks import SCHEMA
from ops.command import ROOT
from tests import processes
from tests.conftest import NEW, SERVICE_PASSWORD
from tests.in_process import PSQL, fails, script, succeeds


@pytest.mark.slow
def test_each_command_succeeds_twice(new_url: str) -> None:
    for step, deed in (
        ("create", "created, with the role cruddur_service"),
        ("create", "existed already, with the role cruddur_service"),
        ("schema-load", f"schema {SCHEMA} loaded"),
        ("schema-load", f"schema {SCHEMA} was loaded already"),
        ("migrate", f"schema {SCHEMA} is the newest"),
        ("seed", "seeded 15 activities, 5 new users, 4 new messages"),
        ("seed", "seeded 15 activities, 0 new users, 0 new messages"),
        ("migrate", f"schema {SCHEMA} is the newest"),
        ("purge", "1 activities, 0 messages and 0 idempotency keys deleted"),
        ("purge", "0 activities, 0 messages and 0 idempotency keys deleted"),
    ):
        assert processes.succeeds(f"db-{step}", CONNECTION_URL=new_url) == f"database {NEW}: {deed}\n"
    assert rows(new_url, "SELECT count(*) FROM users") == [(5,)]

    for deed in ("dropped", "did not exist"):
        assert processes.succeeds("db-drop", CONNECTION_URL=new_url) == f"database {NEW}: {deed}\n"
    with pytest.raises(psycopg.OperationalError):
        rows(new_url, "SELECT 1")


OPS = sorted(path.name for path in (ROOT / "bin").iterdir() if "-m ops." in path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OPS if name not in PSQL])
def test_script_behaves_like_its_command_called_in_process(name: str) -> None:
    process, call = processes.script(name, "--help"), script(name, "--help")

    assert (process.returncode, process.stdout, process.stderr) == (call.returncode, call.stdout, call.stderr)
    assert process.stdout.startswith(f"usage: bin/{name} ") or "AWS_DEFAULT_REGION" in process.stderr


def test_setup_creates_the_database_anew(new_url: str) -> None:
    succeeds("db-setup", CONNECTION_URL=new_url)
    rows(new_url, "DELETE FROM users WHERE handle = 'bayko' RETURNING uuid")

    assert succeeds("db-setup", CONNECTION_URL=new_url) == (
        f"database {NEW}: dropped; created, with the role cruddur_service; schema {SCHEMA} loaded; "
        "seeded 15 activities, 5 new users, 4 new messages\n"
    )
    assert rows(new_url, "SELECT count(*) FROM users") == [(5,)]


@pytest.mark.slow
def test_setup_stops_at_the_first_failure(new_url: str) -> None:
    succeeds("db-setup", CONNECTION_URL=new_url)
    with psycopg.connect(new_url, autocommit=True) as session:
        session.execute("UPDATE users SET handle = 'still_here' WHERE handle = 'bayko'")

        line = fails("db-setup", CONNECTION_URL=new_url)

    assert f"{NEW} is in use" in line
    assert "bin/db-sessions" in line
    assert rows(new_url, "SELECT count(*) FROM users WHERE handle = 'still_here'") == [(1,)]


@pytest.mark.parametrize("handle", ["andrewbrown", "bayko", "giulia_ferri", "kofi", "LinYue"])
def test_seed_is_loaded_again_without_deleted_users(owner: psycopg.Connection, owner_url: str, handle: str) -> None:
    succeeds("db-seed", CONNECTION_URL=owner_url)
    owner.execute(
        "SELECT request_deletion(cognito_user_id, '1 day', gen_random_uuid()) FROM users WHERE handle = %s", [handle]
    )
    owner.execute("SELECT confirm_deletion(sub_hash, 'deleted') FROM deletions")
    seeded = "SELECT handle FROM users WHERE handle NOT LIKE 'deleted%' ORDER BY handle"
    remaining = rows(owner_url, seeded)
    assert len(remaining) == 4

    # The names go at once, and the rows later.
    succeeds("db-seed", CONNECTION_URL=owner_url)
    owner.execute("UPDATE deletions SET confirmed_at = confirmed_at - interval '70 seconds'")
    succeeds("db-purge", CONNECTION_URL=owner_url)
    succeeds("db-seed", CONNECTION_URL=owner_url)
    # The conversation of a deleted user keeps the row. The purge forgets the deletion after its end.
    owner.execute("DELETE FROM deletions WHERE finished_at IS NOT NULL")
    owner.execute("INSERT INTO users (handle, display_name, cognito_user_id) VALUES (%s, 'New', 'new')", [handle])
    succeeds("db-seed", CONNECTION_URL=owner_url)

    assert rows(owner_url, seeded) == sorted([*remaining, (handle,)])


def test_seed_contains_each_row_once_and_renews_its_times(new_url: str) -> None:
    succeeds("db-setup", CONNECTION_URL=new_url)
    seed_row = """
        SELECT
            users.handle,
            expires_at - activities.created_at = interval '10 days',
            now() - activities.created_at < interval '1 minute'
        FROM activities JOIN users ON users.uuid = user_uuid WHERE message = 'This was imported as seed data!'
    """
    rows(new_url, "UPDATE activities SET created_at = now() - interval '5 days' RETURNING uuid")

    succeeds("db-seed", CONNECTION_URL=new_url)

    assert rows(new_url, seed_row) == [("andrewbrown", True, True)]
    states = """
        SELECT
            count(*) FILTER (WHERE expires_at <= now()),
            count(*) FILTER (WHERE expires_at IS NULL),
            count(*) FILTER (WHERE expires_at BETWEEN now() AND now() + interval '10 minutes'),
            count(*) FILTER (WHERE replies_count > 0),
            sum(replies_count) = count(reply_to_activity_uuid),
            sum(likes_count) = (SELECT count(*) FROM likes),
            sum(reposts_count) = (SELECT count(*) FROM reposts),
            (SELECT sum(followers_count) FROM follow_counts) = (SELECT count(*) FROM follows)
        FROM activities
    """
    assert rows(new_url, states) == [(1, 2, 1, 3, True, True, True, True)]
    written = "SELECT (SELECT count(*) FROM likes), (SELECT count(*) FROM reposts), count(*) FROM follows"
    assert rows(new_url, written) == [(8, 5, 8)]
    tags = """
        SELECT tag, count(*), bool_and((taggings.created_at, taggings.expires_at) = (live.created_at, live.expires_at))
        FROM taggings JOIN live_activities AS live ON live.uuid = activity_uuid GROUP BY tag ORDER BY tag
    """
    assert rows(new_url, tags) == [("coffee", 1, True), ("databases", 2, True)]


def test_fake_data_has_the_requested_size_and_half_is_expired(new_url: str) -> None:
    succeeds("db-setup", CONNECTION_URL=new_url)
    seeded = rows(new_url, "SELECT uuid FROM activities")

    size = ("--activities", "2000", "--users", "100", "--likes", "250", "--reposts", "150", "--follows", "300")
    output = succeeds("db-seed", *size, CONNECTION_URL=new_url)

    added = "2000 generated activities, 100 generated users; added 250 generated likes; added 150 generated reposts"
    assert output.endswith(f"; added {added}; added 300 generated follows\n")
    reactions = """
        SELECT likes_count, reposts_count FROM live_activities JOIN users ON users.uuid = user_uuid
        WHERE handle LIKE 'person_%' ORDER BY live_activities.created_at DESC LIMIT 4
    """
    assert rows(new_url, reactions) == [(100, 100), (100, 50), (50, 0), (0, 0)]
    counts = """
        SELECT followers_count, following_count FROM follow_counts JOIN users ON users.uuid = user_uuid
        WHERE handle LIKE 'person_%' ORDER BY users.uuid
    """
    # All users and the first one follow each other. Each other one follows the one before it, and three a further one.
    assert rows(new_url, counts)[0] == (99, 99)
    assert sorted(rows(new_url, counts)[1:]) == [(2, 2)] * 94 + [(2, 3)] * 2 + [(3, 2)] * 2 + [(3, 3)]
    assert rows(new_url, "SELECT count(*) FROM message_groups") == [(2 + 98 + 98 + 1,)]
    last = "SELECT max(created_at) FROM messages WHERE message_group_uuid = message_groups.uuid"
    generated = "FROM message_groups JOIN users ON users.uuid = lesser_user_uuid WHERE handle LIKE 'person_%'"
    assert rows(new_url, f"SELECT bool_and(last_message_at = ({last})) {generated}") == [(True,)]
    newest = (
        "(SELECT uuid FROM messages WHERE message_group_uuid = message_groups.uuid ORDER BY created_at DESC LIMIT 1)"
    )
    stored = f"SELECT count(*), bool_and(message_uuid = {newest}) FROM last_messages"
    generated = "JOIN message_groups ON message_groups.uuid = message_group_uuid JOIN users ON users.uuid = {}"
    for member in ("lesser", "greater"):
        member_join = generated.format(f"last_messages.{member}_user_uuid")
        generated_rows = rows(new_url, f"{stored} {member_join} WHERE handle LIKE 'person_%'")
        assert generated_rows == [(98 + 98 + 1, True)]
    assert rows(new_url, "SELECT tgname FROM pg_trigger WHERE tgenabled = 'D'") == []
    from_fake_data = "FROM activities JOIN users ON users.uuid = user_uuid WHERE handle LIKE 'person_%'"
    ((count, expired, replies),) = rows(
        new_url,
        f"SELECT count(*), count(*) FILTER (WHERE expires_at <= now()), count(reply_to_activity_uuid) {from_fake_data}",
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


def test_sessions_list_the_services_connections(client: FlaskClient, owner: psycopg.Connection, owner_url: str) -> None:
    client.get("/api/activities/home")

    output = succeeds("db-sessions", CONNECTION_URL=owner_url).splitlines()

    table = [[cell.strip() for cell in line.split("|")] for line in output]
    assert table[0] == ["process", "user", "database", "address", "application", "state"]
    assert ["cruddur_service", owner.info.dbname, "cruddur", "idle"] in [[*row[1:3], *row[4:]] for row in table]


def test_connect_runs_psql_on_the_database(owner: psycopg.Connection, owner_url: str) -> None:
    output = succeeds("db-connect", "-XAtc", "SELECT current_database(), 1 + 1", CONNECTION_URL=owner_url)

    assert output == f"{owner.info.dbname}|2\n"
    assert script("db-connect", "-XAtc", "SELECT nothing", CONNECTION_URL=owner_url).returncode == 1


def test_connect_passes_the_password_to_psql_only(owner: psycopg.Connection, owner_url: str) -> None:
    password = owner.info.password or "p/w ?#@%'"
    url = make_conninfo(owner_url, password=password)

    output = succeeds(
        "db-connect", "-Xc", r"\! echo $PGPASSWORD; tr '\0' ' ' < /proc/$PPID/cmdline", CONNECTION_URL=url
    )

    pgpassword, command_line = output.splitlines()
    assert pgpassword == password
    assert f"dbname={owner.info.dbname}" in command_line
    assert password not in command_line


def test_plans_show_the_cost_of_each_read(new_url: str) -> None:
    succeeds("db-create", CONNECTION_URL=new_url)
    succeeds("db-schema-load", CONNECTION_URL=new_url)
    assert "run bin/db-seed" in fails("db-plans", CONNECTION_URL=new_url)
    succeeds("db-seed", CONNECTION_URL=new_url)

    output = succeeds("db-plans", CONNECTION_URL=new_url).splitlines()

    assert output[0].split() == ["query", "rows", "buffers", "ms", "indexes"]
    assert [line.split("  ")[0] for line in output[1:6]] == [
        *("home", "home, a page in the middle", "home, the page before it", "home, with a token", "profile")
    ]


@pytest.mark.slow
def test_volume_measures_writes_and_undoes_them(new_url: str) -> None:
    succeeds("db-create", CONNECTION_URL=new_url)
    succeeds("db-schema-load", CONNECTION_URL=new_url)
    succeeds("db-seed", "--users", "50", "--activities", "2000", CONNECTION_URL=new_url)
    contents = "SELECT count(*), sum(likes_count), count(*) FILTER (WHERE expires_at <= now()) FROM activities"
    before = rows(new_url, contents)

    output = succeeds("db-plans", "--volume", CONNECTION_URL=new_url)

    assert rows(new_url, contents) == before
    figures = {line[:34].strip(): line[34:].split() for line in output.splitlines()}
    for title in ("a post", "a post with a mention, a hashtag", "a like"):
        assert int(figures[title][1]) > 0
    assert float(figures["posts a second"][0]) > 0
    assert float(figures["purged rows a second"][0]) > 0
    assert int(figures["activities"][0]) == before[0][0]
    assert float(figures["activities_search_idx"][0]) > 0
    # The writes are rolled back, but a production database confirms them.
    refused = script("db-plans", "prod", "--volume", answer="another\n", PROD_CONNECTION_URL=new_url)
    assert "This writes and rolls back in" in refused.stderr
    assert "a post" not in refused.stdout


def test_url_may_have_several_hosts_options_and_an_encoded_password(owner: psycopg.Connection) -> None:
    info = owner.info
    # A server with trust authentication accepts any password, so the test uses a difficult one.
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


def test_create_sets_the_service_roles_password(new_url: str, server_url: str) -> None:
    service = make_conninfo(new_url, user="cruddur_service", password=SERVICE_PASSWORD)
    secret = "SELECT rolpassword FROM pg_authid WHERE rolname = 'cruddur_service'"
    before = rows(server_url, secret)

    output = succeeds("db-create", CONNECTION_URL=new_url, SERVICE_CONNECTION_URL=service)

    assert output == f"database {NEW}: created, with the role cruddur_service and its password\n"
    # The same password gets a new salt.
    ((after,),) = rows(server_url, secret)
    assert str(after).startswith("SCRAM-SHA-256$")
    assert [(after,)] != before


@pytest.mark.slow
def test_concurrent_migrations_apply_each_revision_once(new_url: str) -> None:
    succeeds("db-create", CONNECTION_URL=new_url)

    with ThreadPoolExecutor() as pool:
        outputs = list(pool.map(lambda _: processes.succeeds("db-migrate", CONNECTION_URL=new_url), range(3)))

    newest = f"database {NEW}: schema {SCHEMA} is the newest\n"
    revisions = ", ".join(f"{number:04}" for number in range(1, int(SCHEMA) + 1))
    assert sorted(outputs) == [f"database {NEW}: applied {revisions}\n", newest, newest]
    assert rows(new_url, "SELECT version_num FROM alembic_version") == [(SCHEMA,)]

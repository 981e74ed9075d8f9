"""Migrations build and drop indexes while reads and writes go on, and again after an interruption."""

import ast
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import ANY

import psycopg
import pytest
from pglast import ast as sql
from pglast import parse_sql
from pglast.enums import ConstrType, ObjectType
from pglast.parser import ParseError
from psycopg.sql import SQL, Identifier

from harness.waiting import SECONDS, wait_until
from lib.checks import SCHEMA
from ops.command import Database
from ops.create_database import create
from ops.indexes import build_index
from ops.migrate import MIGRATIONS, migrate
from tests.factories import Make
from tests.processes import running

VERSIONS = MIGRATIONS / "versions"
NAME = "activities_planted_idx"
DEFINITION = f"CREATE INDEX {NAME} ON public.activities USING btree (message)"
BUILD, DROP = f'build_index("{DEFINITION}")', f'drop_index("{NAME}")'
REVISION = '''"""A planted revision."""

from ops.indexes import build_index, drop_index

revision = "9999"
down_revision = "{schema}"


def upgrade() -> None:
    """Build or drop an index."""
    {call}
'''
INDEX = "SELECT indexrelid, indisvalid, pg_get_indexdef(indexrelid) FROM pg_index WHERE indexrelid = to_regclass(%s)"
# A session of this database that builds or drops an index, and waits for another one.
WAITING = """
    SELECT pid FROM pg_stat_activity
    WHERE query LIKE '%INDEX CONCURRENTLY%' AND wait_event_type = 'Lock' AND datname = current_database()
"""
POST = "INSERT INTO activities (user_uuid, message) SELECT uuid, 'hello' FROM users WHERE handle = 'kofi'"
Plant = Callable[[str], Database]


@pytest.fixture
def plant(owner_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Return a function that adds a revision of one call to the migrations, and returns the database.

    The limit on the wait for a lock is shorter than each wait below.
    """
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder)
    monkeypatch.setattr("ops.migrate.MIGRATIONS", folder)
    monkeypatch.setattr("ops.migrate.LOCK_TIMEOUT", "100ms")
    monkeypatch.setattr("ops.migrate.LOOK_SECONDS", 0.5)

    def plant(call: str) -> Database:
        (folder / "versions" / "9999_planted.py").write_text(REVISION.format(schema=SCHEMA, call=call))
        return Database("CONNECTION_URL", owner_url)

    return plant


def index(connection: psycopg.Connection, name: str = NAME) -> tuple[int, bool, str] | None:
    """Return the oid of an index, whether it is valid, and its definition."""
    return connection.execute(INDEX, [name]).fetchone()


def is_waiting(connection: psycopg.Connection) -> bool:
    """Return whether a build waits for another session."""
    return connection.execute(WAITING).rowcount > 0


def test_interrupted_build_is_built_again(owner: psycopg.Connection, make: Make, plant: Plant) -> None:
    make.user("kofi")
    database = plant(BUILD)
    with psycopg.connect(database.url) as old:
        old.execute(POST)
        owner.execute("SET lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            owner.execute(DEFINITION.replace("INDEX", "INDEX CONCURRENTLY").encode())
    assert index(owner) == (ANY, False, DEFINITION)

    migrate(database)

    assert index(owner) == (ANY, True, DEFINITION)


@pytest.mark.parametrize(
    ("existing", "is_kept"), [("(message)", True), ("(uuid)", False), ("(message) WHERE message <> ''", False)]
)
def test_valid_index_of_the_same_definition_is_not_built_again(
    owner: psycopg.Connection, plant: Plant, existing: str, *, is_kept: bool
) -> None:
    owner.execute(f"CREATE INDEX {NAME} ON activities {existing}".encode())
    before = index(owner)

    migrate(plant(BUILD))

    assert index(owner) == (ANY, True, DEFINITION)
    assert (index(owner) == before) == is_kept


@pytest.mark.parametrize("call", [BUILD, DROP])
def test_writes_go_on_while_a_build_waits_for_an_old_transaction(
    owner: psycopg.Connection, make: Make, plant: Plant, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    make.user("kofi")
    if call == DROP:
        owner.execute(DEFINITION.encode())
    # A limit that is shorter than the wait.
    limit = SQL("ALTER DATABASE {} SET statement_timeout = '200ms'")
    owner.execute(limit.format(Identifier(owner.info.dbname)))
    database = plant(call)
    named = ""

    def is_named() -> bool:
        nonlocal named
        owner.execute(POST)
        named += capsys.readouterr().err
        return bool(named)

    with psycopg.connect(database.url, application_name="a report") as old, ThreadPoolExecutor(1) as pool:
        old.execute(POST)
        migration = pool.submit(migrate, database)
        wait_until(lambda: is_waiting(owner))
        # A write that waited for the build would end.
        owner.execute("SET lock_timeout = '1ms'")
        wait_until(is_named)
        assert not migration.done()
        session = old.info.backend_pid
        old.commit()
        assert migration.result(SECONDS) == "applied 9999"

    assert named == (
        f"cruddur: the migration waits for the transaction of the session {session} (postgres, a report): "
        "end it, or let it end\n"
    )
    assert index(owner) == (None if call == DROP else (ANY, True, DEFINITION))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_command_can_run_again(empty_url: str, number: signal.Signals) -> None:
    database = Database("CONNECTION_URL", empty_url)
    create(database)
    migrate(database, "0016")
    with (
        psycopg.connect(empty_url, autocommit=True) as connection,
        psycopg.connect(empty_url) as old,
        running("db-migrate", CONNECTION_URL=empty_url) as command,
    ):
        old.execute("INSERT INTO users (handle, display_name, cognito_user_id) VALUES ('kofi', 'Kofi', '3')")
        old.execute(POST)
        wait_until(lambda: is_waiting(connection))

        command.send_signal(number)
        _, errors = command.communicate(timeout=SECONDS)

        assert command.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL), errors
        # The server notices that its client has left, and ends the build.
        wait_until(lambda: not is_waiting(connection))
        assert index(connection, "activities_author_idx") == (ANY, False, ANY)
        old.commit()

        assert SCHEMA in migrate(database)

        assert index(connection, "activities_author_idx") == (ANY, True, ANY)
        assert connection.execute("SELECT message FROM activities").fetchall() == [("hello",)]


def test_second_command_waits_for_the_first(
    owner: psycopg.Connection, plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    database = plant(BUILD)
    with psycopg.connect(database.url) as old, ThreadPoolExecutor(2) as pool:
        old.execute("LOCK TABLE activities IN ROW EXCLUSIVE MODE")
        first = pool.submit(migrate, database)
        wait_until(lambda: is_waiting(owner))
        second = pool.submit(migrate, database)
        wait_until(lambda: "another process" in capsys.readouterr().err)
        assert not second.done()
        old.commit()

        assert first.result(SECONDS) == "applied 9999"
        assert second.result(SECONDS) == f"schema {SCHEMA} is the newest"


@pytest.mark.parametrize(
    "definition",
    [
        "CREATE INDEX CONCURRENTLY a_idx ON public.activities USING btree (message)",
        "CREATE INDEX IF NOT EXISTS a_idx ON public.activities USING btree (message)",
        "CREATE INDEX a_idx ON activities (message)",
    ],
)
def test_definition_is_that_of_the_catalog(definition: str) -> None:
    with pytest.raises(ValueError, match="not the definition of an index"):
        build_index(definition)


def test_definitions_are_those_of_the_schema(owner: psycopg.Connection) -> None:
    existing: dict[str, str] = dict(owner.execute("SELECT indexname, indexdef FROM pg_indexes").fetchall())

    definitions = [
        text
        for path in VERSIONS.glob("*.py")
        for text in strings(ast.parse(path.read_text()))
        if text.startswith(("CREATE INDEX ", "CREATE UNIQUE INDEX ")) and "CONCURRENTLY" not in text
    ]

    # A difference would build the index again at each attempt. Another name is that of an index that no longer exists.
    assert len(definitions) >= 5
    for definition in definitions:
        name = definition.split()[definition.split().index("ON") - 1]
        assert existing.get(name, definition) == definition


# The revisions from this one on build indexes by `build_index`.
FIRST = "0018"
BLOCKING_CALLS = {"create_index", "create_unique_constraint", "create_primary_key", "create_exclude_constraint"}
BLOCKING_CONSTRAINTS = {ConstrType.CONSTR_PRIMARY, ConstrType.CONSTR_UNIQUE, ConstrType.CONSTR_EXCLUSION}


def strings(tree: ast.Module) -> Iterator[str]:
    """Yield the strings of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def statements(text: str) -> list[sql.Node]:
    """Return the statements of a text, none if it is not SQL."""
    try:
        return [raw.stmt for raw in parse_sql(text)]
    except ParseError:
        return []


def blocks_writes(statement: sql.Node, own_tables: set[str]) -> bool:
    """Return whether a statement builds or drops an index, and blocks writes of a table that other revisions made."""
    match statement:
        case sql.IndexStmt():
            return statement.relation.relname not in own_tables
        case sql.DropStmt():
            return statement.removeType == ObjectType.OBJECT_INDEX
        case sql.ReindexStmt():
            return True
        case sql.AlterTableStmt():
            return statement.relation.relname not in own_tables and any(
                isinstance(command.def_, sql.Constraint)
                and command.def_.contype in BLOCKING_CONSTRAINTS
                and command.def_.indexname is None
                for command in statement.cmds
            )
    return False


def problems(files: dict[str, str]) -> list[str]:
    """Return the problems of a revision: the texts of its files by their suffix."""
    tree = ast.parse(files[".py"])
    calls = {
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    found = [f"{call} blocks writes" for call in sorted(calls & BLOCKING_CALLS)]
    if any(isinstance(node, ast.ImportFrom) and node.module == "ops.indexes" for node in ast.walk(tree)):
        # A failure of a build would leave behind what came before, or prevent what comes after.
        return [*found, "other statements beside a build"] if "execute" in calls or ".sql" in files else found
    parsed = statements(files.get(".sql", "")) + [each for text in strings(tree) for each in statements(text)]
    own_tables = {statement.relation.relname for statement in parsed if isinstance(statement, sql.CreateStmt)}
    return found + [f"{type(each).__name__} blocks writes" for each in parsed if blocks_writes(each, own_tables)]


def test_new_revisions_block_no_writes_for_an_index(subtests: pytest.Subtests) -> None:
    newest = [path for path in sorted(VERSIONS.glob("*.py")) if path.name >= FIRST]
    for path in newest:
        with subtests.test(path.stem):
            files = {each.suffix: each.read_text() for each in VERSIONS.glob(f"{path.stem}.*")}
            assert problems(files) == []


EXECUTE = 'op.get_bind().connection.cursor().execute("{}")'
IMPORT = "from ops.indexes import build_index\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({".sql": "CREATE INDEX a_idx ON activities (message)"}, ["IndexStmt blocks writes"]),
        ({".sql": "CREATE TABLE a (n int); CREATE UNIQUE INDEX a_idx ON a (n)"}, []),
        ({".sql": "ALTER TABLE likes ADD CONSTRAINT a_key UNIQUE (user_uuid)"}, ["AlterTableStmt blocks writes"]),
        ({".sql": "ALTER TABLE likes ADD CONSTRAINT a_key UNIQUE USING INDEX a_idx"}, []),
        ({".sql": "ALTER TABLE likes ADD CONSTRAINT a_check CHECK (true) NOT VALID"}, []),
        ({".sql": "DROP INDEX a_idx"}, ["DropStmt blocks writes"]),
        ({".sql": "DROP TABLE a"}, []),
        ({".py": EXECUTE.format("CREATE INDEX a_idx ON likes (user_uuid)")}, ["IndexStmt blocks writes"]),
        # Also CONCURRENTLY: IF NOT EXISTS would skip the invalid index of an interrupted build.
        ({".py": EXECUTE.format("CREATE INDEX CONCURRENTLY a_idx ON likes (n)")}, ["IndexStmt blocks writes"]),
        ({".py": 'op.create_index("a_idx", "likes", ["n"])'}, ["create_index blocks writes"]),
        ({".py": f"{IMPORT}{BUILD}"}, []),
        ({".py": f"{IMPORT}{BUILD}", ".sql": "SELECT 1"}, ["other statements beside a build"]),
        ({".py": f"{IMPORT}{BUILD}\n{EXECUTE.format('SELECT 1')}"}, ["other statements beside a build"]),
    ],
)
def test_rule_finds_blocking_builds(files: dict[str, str], expected: list[str]) -> None:
    assert problems({".py": '"""A revision."""', **files}) == expected

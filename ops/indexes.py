"""Build and drop indexes in migrations while reads and writes go on.

A build is several transactions, so that an interruption leaves an invalid index, which no statement can use and each
write maintains. A function can run again after any failure. Neither can run inside a transaction.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alembic import op
from psycopg import Connection, Cursor
from psycopg.sql import SQL, Identifier

DEFINITION = re.compile(r"CREATE (UNIQUE )?INDEX (\w+) (ON public\.\w+ USING .+)", re.DOTALL)
IS_BUILT = """
    SELECT FROM pg_index
    WHERE
        pg_index.indexrelid = to_regclass(%s)
        AND pg_index.indisvalid
        AND pg_get_indexdef(pg_index.indexrelid) = %s
"""


def build_index(definition: str) -> None:
    """Build an index, unless a valid one of this definition exists. Another one of the same name is dropped.

    `definition` is the statement that `pg_get_indexdef` returns for the index. Raises `ValueError` for another form.
    """
    match = DEFINITION.fullmatch(definition)
    if match is None:
        raise ValueError(f"not the definition of an index as pg_get_indexdef returns it: {definition}")
    unique, name, rest = match[1] or "", match[2], match[3]
    with unlimited_lock_wait() as cursor:
        if not cursor.execute(IS_BUILT, [f"public.{name}", definition]).rowcount:
            drop_concurrently(cursor, name)
            cursor.execute(f"CREATE {unique}INDEX CONCURRENTLY {name} {rest}".encode())


def drop_index(name: str) -> None:
    """Drop an index, if it exists."""
    with unlimited_lock_wait() as cursor:
        drop_concurrently(cursor, name)


def drop_concurrently(cursor: Cursor[Any], name: str) -> None:
    """Drop the index `name`, if it exists, outside of a transaction."""
    cursor.execute(SQL("DROP INDEX CONCURRENTLY IF EXISTS public.{}").format(Identifier(name)))


@contextmanager
def unlimited_lock_wait() -> Iterator[Cursor[Any]]:
    """Yield a cursor outside of a transaction, whose statements wait for locks without a limit.

    A build waits for each transaction that is older than itself. No other statement waits for the build meanwhile, and
    `bin/db-migrate` names the session. With the limit an old transaction would end each attempt.
    """
    with op.get_context().autocommit_block():
        connection = op.get_bind().connection.driver_connection
        assert isinstance(connection, Connection)
        cursor = connection.cursor()
        row = cursor.execute("SELECT current_setting('lock_timeout')").fetchone()
        cursor.execute("SET lock_timeout = 0")
        yield cursor
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", row)

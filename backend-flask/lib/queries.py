"""Queries by name, each in a file of its own, wrapped so that Postgres builds the response's JSON.

A query is `db/sql/<resource>/<verb>.sql`: one statement with named parameters.
A wrapped query returns one value of JSON. Queries of activities share `db/sql/activities/columns.sql`. A query may
include another one by its name in braces, `{notifications/newest}`, and a condition on the user in a column:
`{users/is_visible(scanned.user_uuid)}`. The parameter `reader` is the claim `sub` of an authenticated reader, by which
a statement finds the reader's row itself: `{users/current}` is the uuid.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from lib.pagination import FIRST_PAGE, Order

# Seconds until a page expires: until the first of its rows does, or unknown.
EARLIEST_EXPIRY = "EXTRACT(epoch FROM min(expires_at) FILTER (WHERE n <= %(limit)s) - now())::float8"
NO_EXPIRY = "NULL::float8"
# The keyset of the last scanned row, where the scan ended before the page was full. A full page ends its scan early.
STOPPED_AT = """\
CASE WHEN page.fetched <= %(limit)s THEN (
        SELECT timestamptz_send(scanned.created_at) || uuid_send(scanned.uuid) FROM scanned OFFSET %(scan_limit)s - 1
    ) END AS stopped_at"""
# A write: a statement that changes rows, or calls one of our functions that change rows.
WRITE = re.compile(r"\b(INSERT|UPDATE|DELETE|end_activity|purge|(request|refuse|confirm)_deletion)\b")
# The end of a wrapped statement with a reader: it refuses deleted users. Postgres evaluates the condition first, once.
ADMIT_READER = "\nWHERE admit(%(reader)s)"
# A snapshot, and the timeline of the server that takes it: eight hexadecimal digits in the name of the file that a
# primary writes its log to, NULL on a standby. A failover behind a pooler changes the timeline within a connection.
SNAPSHOT = b"""\
pg_current_snapshot() AS snapshot,
    CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline"""
# The limit of the queries that count.
MAX_COUNT = 100
# The most notifications that a count visits.
MAX_SCAN = 200
# The name of a query that another one includes, and the column of a condition's user.
INCLUSION = re.compile(r"{(\w+/\w+)(?:\((\w+\.\w+)\))?}")
FOLDER = Path(__file__).parents[2] / "db" / "sql"
# The list of an activity's columns, and the names that each placeholder fills into the list. A read joins the
# author. A write returns its own row only, so the author's names come from its CTE `author`.
COLUMNS = "activities/columns"
READER_COLUMN = "activities/reader_column"
# The further columns for an authenticated reader, each with the table of its rows.
READER_COLUMNS = {"liked": "likes", "reposted": "reposts"}
PLACEHOLDERS = {
    "{columns}": {"activity": "live_activities", "display_name": "users.display_name", "handle": "users.handle"},
    "{written_columns}": {
        "activity": "activities",
        "display_name": "(SELECT author.display_name FROM author) AS display_name",
        "handle": "(SELECT author.handle FROM author) AS handle",
    },
}
# The same columns of a row that a statement has just created: a new activity has no likes and no reposts.
WRITTEN_READER_COLUMNS = ",\n".join(f"    false AS {column}" for column in READER_COLUMNS)


class ParentQuery(NamedTuple):
    """The query of a page's parent, such as the profile above a user's activities. Without the parent there is no page.

    With keys the JSON is `{key: <query's row>, rows_key: <page>}`, without keys the page alone.
    """

    query: str
    key: str | None = None
    rows_key: str | None = None
    # Whether its row has an `expires_at`.
    expires: bool = False
    # Whether the response shows only the row's column `item`.
    has_item: bool = False

    @property
    def expires_in(self) -> str:
        """Return the SQL expression of the seconds until the response expires, over `object_row` and `page`."""
        if not self.expires:
            return "page.expires_in"
        return "LEAST(page.expires_in, EXTRACT(epoch FROM object_row.expires_at - now())::float8) AS expires_in"

    @property
    def json(self) -> str:
        """Return the SQL expression of the response's JSON, over `object_row` and `page`."""
        if self.key is None:
            return "page.json"
        shown = "object_row.item" if self.has_item else "object_row"
        return f"json_build_object('{self.key}', {shown}, '{self.rows_key}', page.json) AS json"


# The parent of a current user's pages: a user without a row has no page. The page's statement also returns its uuid.
CURRENT_USER = ParentQuery("users/current")


class BoundedScan(NamedTuple):
    """A query whose rows the feed's query filters, as the CTE `scanned`, and the most rows that one page scans.

    A page that the scan does not fill is short. The next page continues after the last scanned row.
    """

    query: str
    limit: int


# Instances compare by identity: each page looks its query up in the cache of `page_statement`, and comparing all
# fields would take longer.
@dataclass(frozen=True, eq=False)
class PagedQuery:
    """A query whose rows clients read page by page."""

    query: str
    order: Order = Order.NEWEST_FIRST
    parent: ParentQuery | None = None
    # Whether its rows have an `expires_at`, from which a page computes its own expiry.
    expires: bool = False
    # The scan whose rows the query filters, where there is one.
    scan: BoundedScan | None = None
    # Whether the page shows only the column `item` of each row. The other columns, `created_at` and `uuid`, order the
    # rows.
    has_items: bool = False


def query_wrap_object(template: str, further_column: str = "") -> str:
    """Return a statement whose column `json` holds the row of `template` as an object. Without a row it has no row.

    `template` may write (`INSERT ... RETURNING`), because the wrapper is a CTE and no sub-select.
    """
    return f"""\
WITH object_row AS (
{template}
)
SELECT row_to_json(object_row) AS json{further_column} FROM object_row"""


def query_wrap_array(template: str) -> str:
    """Return a statement with two columns: `json`, the rows of `template` in order as an array, and `length`."""
    return f"""\
WITH array_row AS (
{template}
)
SELECT COALESCE(json_agg(array_row), '[]') AS json, count(*) AS length FROM array_row"""


def query_wrap_page(template: str, *, expires: bool = False, has_items: bool = False) -> str:
    """Return a statement for a page of the feed `template`: `json`, an array, and the data for its cursors.

    `template` reads its feed from a keyset on, by `{comparison}` and `{direction}`, and fetches one row more than
    the page shows. `fetched` counts that row too. `keysets` has the first row's keyset and, on a full page, the
    last row's. `expires_in` is the number of seconds until the first row of the page expires, where rows do.
    """
    return f"""\
WITH {page_ctes(template, expires=expires, has_items=has_items)}
SELECT page.json, page.fetched, page.keysets, page.expires_in FROM page"""


def query_wrap_bounded_page(scan_template: str, template: str, *, has_items: bool = False) -> str:
    """Return a statement for a page of `template` over the rows of `scan_template`, with `query_wrap_page`'s columns.

    A further column, `stopped_at`, is the keyset of the last scanned row where the scan ended before the page was full.
    """
    return f"""\
WITH {scan_cte(scan_template)}{page_ctes(template, has_items=has_items)}
SELECT
    page.json,
    page.fetched,
    page.keysets,
    page.expires_in,
    {STOPPED_AT}
FROM page"""


def query_wrap_page_with_parent(
    feed: PagedQuery, parent: ParentQuery, parent_template: str, template: str, scan_template: str | None = None
) -> str:
    """Return a statement for a page of `feed`, which `template` reads, under its parent.

    The columns are those of `query_wrap_page`, with `scan_template` those of `query_wrap_bounded_page`. Without the
    parent's row it has no row. Below the current user the last column is `user_uuid`.
    """
    scan, stopped_at = (scan_cte(scan_template), f",\n    {STOPPED_AT}") if scan_template else ("", "")
    user_uuid = ",\n    object_row.uuid AS user_uuid" if parent is CURRENT_USER else ""
    return f"""\
WITH object_row AS (
{parent_template}
),
{scan}{page_ctes(template, expires=feed.expires, has_items=feed.has_items)}
SELECT
    {parent.json},
    page.fetched,
    page.keysets,
    {parent.expires_in}{stopped_at}{user_uuid}
FROM object_row CROSS JOIN page"""


def scan_cte(scan_template: str) -> str:
    """Return the CTE `scanned` of a bounded scan."""
    return f"scanned AS MATERIALIZED (\n{scan_template}\n),\n"


def page_ctes(template: str, *, expires: bool = False, has_items: bool = False) -> str:
    """Return CTEs that end in `page`: the rows of `template` that the page shows, and their keysets."""
    shown = "array_row.item AS array_row" if has_items else "array_row"
    expires_at, expires_in = (", array_row.expires_at", EARLIEST_EXPIRY) if expires else ("", NO_EXPIRY)
    return f"""\
array_row AS (
{template}
),
numbered AS (
    SELECT {shown}, array_row.created_at, array_row.uuid{expires_at}, row_number() OVER () AS n FROM array_row
),
page AS (
    SELECT
        COALESCE(json_agg(array_row {{json_order}}) FILTER (WHERE n <= %(limit)s), '[]') AS json,
        count(*) AS fetched,
        array_agg(timestamptz_send(created_at) || uuid_send(uuid) {{keyset_order}})
            FILTER (WHERE n IN (1, %(limit)s)) AS keysets,
        {expires_in} AS expires_in
    FROM numbered
)"""


@cache
def load_sql(name: str, *, has_reader: bool = False) -> str:
    """Return the SQL of the query `name`, `<resource>/<verb>`, with an activity's columns and other queries filled in.

    With `has_reader` the columns include those for an authenticated reader, and the query has the parameter `reader`.
    """
    text = INCLUSION.sub(lambda included: included_sql(*included.groups(), has_reader=has_reader), read_sql(name))
    for placeholder, names in PLACEHOLDERS.items():
        if placeholder in text:
            is_written = placeholder == "{written_columns}"
            text = text.replace(placeholder, columns(names, is_written=is_written, has_reader=has_reader))
    return text


def included_sql(name: str, user: str | None, *, has_reader: bool) -> str:
    """Return the query `name`, or the condition `name` on `user`. Without a reader a condition on one is true."""
    if user is None:
        return without_comments(load_sql(name, has_reader=has_reader))
    condition = uncommented_sql(name)
    return condition.format(user=user) if has_reader or "%(reader)s" not in condition else "true"


def columns(names: Mapping[str, str], *, is_written: bool, has_reader: bool) -> str:
    """Return the list of an activity's columns, with the names that a statement has for table and author.

    Only an authenticated user writes, so a write always returns the columns for an authenticated reader.
    """
    listed = uncommented_sql(COLUMNS).format(**names)
    if is_written:
        return f"{listed},\n{WRITTEN_READER_COLUMNS}"
    if has_reader:
        probe = uncommented_sql(READER_COLUMN)
        return ",\n".join([listed, *(probe.format(column=name, table=table) for name, table in READER_COLUMNS.items())])
    return listed


def uncommented_sql(name: str) -> str:
    """Return the text of the file `name` without its comments, with the expressions that it includes."""
    return INCLUSION.sub(lambda included: uncommented_sql(included[1]), without_comments(read_sql(name)))


def without_comments(text: str) -> str:
    """Return SQL without the comments at the beginning of its lines."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip()


def read_sql(name: str) -> str:
    """Return the text of the file `name` below `db/sql`."""
    return (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


@cache
def is_read(name: str) -> bool:
    """Return whether the query `name` changes nothing, so that repeating it is safe."""
    return not WRITE.search(re.sub("--.*", "", load_sql(name)))


@cache
def snapshot_statement(statement: bytes) -> bytes:
    """Return a reading statement with two more columns: the snapshot that it reads, and the primary's timeline."""
    return b"SELECT statement.*, " + SNAPSHOT + b" FROM (\n" + statement + b"\n) AS statement"


@cache
def object_statement(name: str, *, has_reader: bool = False) -> bytes:
    """Return the statement of the query `name` that returns an object, and with a reader also the reader's `user_uuid`.

    If the query counts a feed's rows, it reads the feed forwards from the time in its CTE `marker`, visits `MAX_SCAN`
    rows at most, and counts to `MAX_COUNT`.
    """
    template = load_sql(name, has_reader=has_reader)
    if "{comparison}" in template:
        order = Order.OLDEST_FIRST
        template = template.format(comparison=order.comparison, direction=order.direction)
        # A parameter would be planned anew each time, as in page_statement. It would also show the planner the time:
        # after that of its statistics it expects no row, and would read the newest activities of all users.
        template = template.replace("%(limit)s", str(MAX_COUNT)).replace("%(scan_limit)s", str(MAX_SCAN))
        template = template.replace("%(created_at)s", "(SELECT marker.read_at FROM marker)")
    user_uuid = f", {uncommented_sql(CURRENT_USER.query)} AS user_uuid" if has_reader else ""
    return admitting(query_wrap_object(template, user_uuid), has_reader=has_reader).encode()


@cache
def array_statement(name: str, *, has_reader: bool = False) -> bytes:
    """Return the statement of the query `name` that returns an array."""
    return admitting(query_wrap_array(load_sql(name, has_reader=has_reader)), has_reader=has_reader).encode()


def admitting(statement: str, *, has_reader: bool) -> str:
    """Return a wrapped statement that refuses a deleted reader, where it has a reader.

    The statement finds the reader once, in its CTE `reader`.
    """
    if not has_reader:
        return statement
    reader = uncommented_sql(CURRENT_USER.query)
    statement = statement.replace(reader, "(SELECT reader.uuid FROM reader)").removeprefix("WITH ")
    return f"WITH reader AS MATERIALIZED {reader},\n{statement}{ADMIT_READER}"


@cache
def page_statement(
    feed: PagedQuery, order: Order, *, is_first: bool, is_default_limit: bool, has_reader: bool = False
) -> bytes:
    """Return the statement for a page of `feed` in the order `order`: the first or any, with the default limit or any.

    Only what `Order` holds and our own limits are formatted into the text. Other values are parameters.
    """
    template = load_sql(feed.query, has_reader=has_reader)
    scan_template = load_sql(feed.scan.query, has_reader=has_reader) if feed.scan else None
    if feed.parent is not None:
        template = query_wrap_page_with_parent(
            feed, feed.parent, load_sql(feed.parent.query, has_reader=has_reader), template, scan_template
        )
    elif scan_template is not None:
        template = query_wrap_bounded_page(scan_template, template, has_items=feed.has_items)
    else:
        template = query_wrap_page(template, expires=feed.expires, has_items=feed.has_items)
    # Rows come in the order of the scan. Where the page shows them in that order, no aggregate sorts them again.
    is_reversed = order.direction != feed.order.row_order
    json_order, keyset_order = ("ORDER BY n DESC", "ORDER BY n") if is_reversed else ("", "")
    statement = admitting(template, has_reader=has_reader).format(
        comparison=order.comparison,
        direction=order.direction,
        opposite=order.reversed.direction,
        opposite_comparison=order.reversed.comparison,
        json_order=json_order,
        keyset_order=keyset_order,
    )
    if feed.scan is not None:
        statement = statement.replace("%(scan_limit)s", str(feed.scan.limit))
    # With a parameter as the limit the planner expects a tenth of all rows, and with parameters as the keyset a third
    # of a feed's. It finds the generic plan too expensive, and plans each execution anew: 0.25 ms for the home feed
    # and 0.5 for an activity's replies.
    if is_default_limit:
        statement = statement.replace("%(limit)s", str(FIRST_PAGE.limit))
    if is_first:
        statement = statement.replace("%(created_at)s", f"'{order.start.created_at}'::timestamptz")
        statement = statement.replace("%(uuid)s", f"'{order.start.uuid}'::uuid")
    return statement.encode()

"""Queries by name, each in a file of its own, wrapped so that Postgres builds the whole answer.

A query is `db/sql/<resource>/<verb>.sql`: one statement with named parameters.
Wrapped, its whole answer is one value of JSON. Queries of activities share `db/sql/activities/columns.sql`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from lib.pagination import FIRST_PAGE, Order

# In how many seconds a page comes to its end: when the first of its rows does, or not that we knew.
EARLIEST_EXPIRY = "EXTRACT(epoch FROM min((array_row).expires_at) FILTER (WHERE n <= %(limit)s) - now())::float8"
NO_EXPIRY = "NULL::float8"
# The place of the last row visited, when the visits ended before the page was full. A full page reads no more of them.
STOPPED_AT = """\
CASE WHEN page.fetched <= %(limit)s THEN (
        SELECT timestamptz_send(visited.created_at) || uuid_send(visited.uuid) FROM visited OFFSET %(visits)s - 1
    ) END AS stopped_at"""
# A statement that changes rows, or calls one of our functions that do.
WRITE = re.compile(r"\b(INSERT|UPDATE|DELETE|end_activity|purge)\b")
FOLDER = Path(__file__).parents[2] / "db" / "sql"
# The list of an activity's columns, and how each placeholder of a statement fills the list in. A read joins the
# author. A write returns its own row only, so the author's names come as parameters.
COLUMNS = "activities/columns"
PLACEHOLDERS = {
    "{columns}": {"activity": "live_activities", "display_name": "users.display_name", "handle": "users.handle"},
    "{written_columns}": {
        "activity": "activities",
        "display_name": "%(display_name)s::text AS display_name",
        "handle": "%(handle)s::text AS handle",
    },
}


class ParentQuery(NamedTuple):
    """What a page belongs to, and without which there is no page.

    With keys the answer is `{key: <query's row>, rows_key: <the page>}`, else the page alone.
    """

    query: str
    key: str | None = None
    rows_key: str | None = None

    @property
    def json(self) -> str:
        """The answer in SQL, of `object_row` and `page`."""
        if self.key is None:
            return "page.json"
        return f"json_build_object('{self.key}', object_row, '{self.rows_key}', page.json) AS json"


class BoundedScan(NamedTuple):
    """A query whose rows the feed's query filters, as the CTE `visited`, and how many of them a page visits at most.

    A page that they do not fill is short, and the next one goes on after the last of them.
    """

    query: str
    limit: int


# Told apart by which it is, and not by what it says: that is compared for every page that is read.
@dataclass(frozen=True, eq=False)
class PagedQuery:
    """A query whose rows are read page by page."""

    query: str
    order: Order = Order.NEWEST_FIRST
    heading: ParentQuery | None = None
    # Whether its rows have an `expires_at`, so that a page tells when it comes to its end.
    expires: bool = False
    # The rows that a page is made of, where the query filters them.
    visits: BoundedScan | None = None


def query_wrap_object(template: str) -> str:
    """The statement `template` as one column, `json`: its row as an object. Without a row there is none.

    `template` may write (`INSERT ... RETURNING`), which a CTE can and a sub-select can't.
    """
    return f"""\
WITH object_row AS (
{template}
)
SELECT row_to_json(object_row) AS json FROM object_row"""


def query_wrap_array(template: str) -> str:
    """The statement `template` as the columns `json`, its rows in their order as an array, and `length`."""
    return f"""\
WITH array_row AS (
{template}
)
SELECT COALESCE(json_agg(array_row), '[]') AS json, count(*) AS length FROM array_row"""


def query_wrap_page(template: str, *, expires_in: str = NO_EXPIRY) -> str:
    """The feed `template` as a page: `json`, an array, and beside it what the cursors are made of.

    `template` walks its feed as `{comparison}` and `{direction}` say, from a place on, and
    fetches one row more than the page shows. `fetched` counts that row; `keysets` are those
    of the first row and, of a full page, the last. `expires_in` says in how many seconds the
    first of the rows that are shown comes to its end.
    """
    return f"""\
WITH {page_ctes(template, expires_in)}
SELECT page.json, page.fetched, page.keysets, page.expires_in FROM page"""


def query_wrap_bounded_page(visits_template: str, template: str) -> str:
    """The feed `template` as a page, made of the rows of `visits_template`, with the columns of `query_wrap_page`.

    `stopped_at` comes besides: the place of the last row visited, when the visits ended before the page was full.
    """
    return f"""\
WITH visited AS MATERIALIZED (
{visits_template}
),
{page_ctes(template, NO_EXPIRY)}
SELECT
    page.json,
    page.fetched,
    page.keysets,
    page.expires_in,
    {STOPPED_AT}
FROM page"""


def query_wrap_page_with_parent(heading: ParentQuery, heading_template: str, template: str) -> str:
    """The feed `template` as a page under its heading, with the columns of `query_wrap_page`.

    Without the heading there is no row.
    """
    return f"""\
WITH object_row AS (
{heading_template}
),
{page_ctes(template, NO_EXPIRY)}
SELECT
    {heading.json},
    page.fetched,
    page.keysets,
    page.expires_in
FROM object_row CROSS JOIN page"""


def page_ctes(template: str, expires_in: str) -> str:
    """CTEs that end in `page`: the rows of `template` that are shown, in the feed's order, and their keysets."""
    return f"""\
array_row AS (
{template}
),
numbered AS (
    SELECT array_row, array_row.created_at, array_row.uuid, row_number() OVER () AS n FROM array_row
),
page AS (
    SELECT
        COALESCE(json_agg(array_row ORDER BY n {{shown}}) FILTER (WHERE n <= %(limit)s), '[]') AS json,
        count(*) AS fetched,
        array_agg(timestamptz_send(created_at) || uuid_send(uuid) ORDER BY n)
            FILTER (WHERE n IN (1, %(limit)s)) AS keysets,
        {expires_in} AS expires_in
    FROM numbered
)"""


@cache
def load_sql(name: str) -> str:
    """Return the text of the query `name`, `<resource>/<verb>`, with the columns of an activity filled in."""
    text = read_sql(name)
    for placeholder, names in PLACEHOLDERS.items():
        if placeholder in text:
            text = text.replace(placeholder, columns(names))
    return text


def columns(names: Mapping[str, str]) -> str:
    """List the columns of an activity under the `names` that a statement has for them."""
    lines = read_sql(COLUMNS).splitlines()
    return "\n".join(line for line in lines if not line.startswith("--")).strip().format(**names)


def read_sql(name: str) -> str:
    """Read the file `name`, below `db/sql`."""
    return (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


@cache
def is_read(name: str) -> bool:
    """Return whether the query `name` changes nothing, so that it may be repeated."""
    return not WRITE.search(re.sub("--.*", "", load_sql(name)))


@cache
def object_statement(name: str) -> bytes:
    """The query `name`, answering with an object."""
    return query_wrap_object(load_sql(name)).encode()


@cache
def array_statement(name: str) -> bytes:
    """The query `name`, answering with an array."""
    return query_wrap_array(load_sql(name)).encode()


@cache
def page_statement(feed: PagedQuery, order: Order, *, is_default_limit: bool) -> bytes:
    """The feed, answering with a page of the usual limit or of any: a statement for each way to walk it.

    What is filled in are words of SQL out of `Order`, and limits of ours; a value only ever comes as a parameter.
    """
    if feed.visits is not None:
        wrapped = query_wrap_bounded_page(load_sql(feed.visits.query), load_sql(feed.query))
    elif feed.heading is None:
        wrapped = query_wrap_page(load_sql(feed.query), expires_in=EARLIEST_EXPIRY if feed.expires else NO_EXPIRY)
    else:
        wrapped = query_wrap_page_with_parent(feed.heading, load_sql(feed.heading.query), load_sql(feed.query))
    # Against the walk, where it is not the way that the feed is shown.
    shown = "ASC" if order.direction == feed.order.shown else "DESC"
    statement = wrapped.format(comparison=order.comparison, direction=order.direction, shown=shown)
    if feed.visits is not None:
        statement = statement.replace("%(visits)s", str(feed.visits.limit))
    # Without a number the planner expects a tenth of all rows, finds a plan for that too dear,
    # and plans anew each time: twice the time of the home feed.
    return (statement.replace("%(limit)s", str(FIRST_PAGE.limit)) if is_default_limit else statement).encode()

"""The one way out: queries by name, whose JSON Postgres builds.

The JSON comes as bytes and stays bytes until it is in the socket. Reads run in
autocommit, one statement and one round trip each; statements that belong
together share a `transaction`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

from psycopg.rows import TupleRow

from lib.errors import NotFound
from lib.observing import Query
from lib.paging import FIRST_PAGE, Cursor, Json, Listing, Page
from lib.pool import Connection
from lib.queries import (
    Feed,
    Heading,
    array_statement,
    object_statement,
    page_statement,
    query_wrap_array,
    query_wrap_object,
    template,
)

__all__ = ["Db", "Feed", "Heading", "query_wrap_array", "query_wrap_object"]


class Db:
    """The queries of `db/sql`, run on connections that `connect` lends.

    Each method raises psycopg's errors, `OperationalError` above all: the database is away.
    """

    def __init__(self, connect: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._connect = connect

    def query_object(self, name: str, **parameters: Any) -> Json:
        """The one row of query `name` as a JSON object. Raises `NotFound` when there is none."""
        (json,) = self._row(name, object_statement(name), parameters)
        return cast(Json, json)

    def query_array(self, name: str, **parameters: Any) -> Listing:
        """The rows of query `name` as a JSON array."""
        json, length = self._row(name, array_statement(name), parameters)
        return Listing(json, length)

    def query_row(self, name: str, **parameters: Any) -> TupleRow:
        """The one row of query `name` as values, for what is no answer. Raises `NotFound` when there is none."""
        return self._row(name, template(name).encode(), parameters)

    def query_page(self, feed: Feed, page: Page, *, prepare: bool | None = None, **parameters: Any) -> Listing:
        """A page of `feed` as a JSON array or, with a heading that has keys, an object with it as a member.

        `prepare=False` has the statement planned anew for the values that it comes with.
        Raises `NotFound` when the heading has no row.
        """
        backwards = page.cursor is not None and page.cursor.backwards
        walk = feed.order.reversed if backwards else feed.order
        start = page.cursor.position if page.cursor else walk.start
        json, fetched, places, ends_in = self._row(
            feed.query,
            page_statement(feed, walk, usual=page.limit == FIRST_PAGE.limit),
            {**parameters, "limit": page.limit, "created_at": start.created_at, "uuid": start.uuid},
            prepare=prepare,
        )
        # Past the end of a feed nothing marks the way back: it leads from that end.
        first, last = (places[0], places[-1]) if places else (walk.reversed.start.place, None)
        behind = Cursor(not backwards, first) if page.cursor else None
        ahead = Cursor(backwards, last) if last and fetched > page.limit else None
        following, preceding = (behind, ahead) if backwards else (ahead, behind)
        return Listing(json, min(fetched, page.limit), following, preceding, ends_in)

    @contextmanager
    def transaction(self) -> Iterator["Db"]:
        """A `Db` whose statements happen all together, or, after an exception, not at all."""
        with self._connect() as connection, connection.transaction():
            yield Db(lambda: nullcontext(connection))

    def _row(self, name: str, statement: bytes, parameters: dict[str, Any], *, prepare: bool | None = None) -> TupleRow:
        with Query(name) as query, self._connect() as connection:
            query.is_lent()
            row = connection.statements.execute(statement, parameters, prepare=prepare).fetchone()
        if row is None:
            raise NotFound
        return row

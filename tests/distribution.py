"""The rules of Citus for distributed tables, applied to the catalog and to parsed SQL.

The database is not distributed. These rules tell which statements would have to change. They come from Citus' source.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

import psycopg
from pglast import ast, parse_plpgsql, parse_sql
from pglast.enums import A_Expr_Kind, BoolExprType, SetOperation
from pglast.parser import ParseError

from lib import queries

# The column by which a table's rows are distributed. `None`: a reference table, of which each node has a copy.
DISTRIBUTION: dict[str, str | None] = {
    # A thread is read by the uuids of its activities, and a write of a post touches one shard.
    "activities": "uuid",
    # The rows of an activity are beside it: the foreign key, the counts and the purge stay within a shard.
    **dict.fromkeys(("likes", "reposts", "mentionings", "taggings", "unfinished_threads"), "activity_uuid"),
    # A conversation is within a shard.
    "message_groups": "uuid",
    "messages": "message_group_uuid",
    "last_messages": "message_group_uuid",
    # Each statement has one user's rows.
    "idempotency_keys": "user_uuid",
    "read_markers": "user_uuid",
    "follow_counts": "user_uuid",
    # The personal home begins with the follows of one user.
    "follows": "follower_uuid",
    # Every feed joins its authors. Names change rarely.
    "users": None,
    # Every feed asks for each row whether its author is hidden or deleted. Such rows are few, and change rarely.
    "mutes": None,
    "blocks": None,
    "deletions": None,
    # Reports are few, and operators list all.
    "reports": None,
    "alembic_version": None,
}
TIME_FUNCTIONS = {"now", "transaction_timestamp", "statement_timestamp", "clock_timestamp", "timeofday"}
WRITES = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt)


class Conflict(NamedTuple):
    """A statement or an object of the schema that Citus would refuse, or run wrongly."""

    place: str
    rule: str

    def __str__(self) -> str:
        return f"{self.place}: {self.rule}"


@dataclass
class Schema:
    """Tables and views of a database: their columns, and the table of which a view shows the rows."""

    columns: dict[str, set[str]]
    views: dict[str, str]

    @classmethod
    def of(cls, connection: psycopg.Connection) -> "Schema":
        """Read the schema `public` from the catalog."""
        columns: dict[str, set[str]] = {}
        for table, column in connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        ):
            columns.setdefault(table, set()).add(column)
        views: dict[str, str] = {}
        for view, table in connection.execute(
            "SELECT view_name, table_name FROM information_schema.view_table_usage"
            " WHERE view_schema = 'public' AND table_schema = 'public'"
        ):
            # Where a view reads reference tables too, its rows are those of the distributed one.
            if view not in views or DISTRIBUTION.get(table):
                views[view] = views.get(table, table)
        return cls(columns, views)

    def base(self, name: str) -> str | None:
        """Return the table of which a relation shows the rows; `None` for another name, such as that of a CTE."""
        table = self.views.get(name, name)
        return self.views.get(table, table) if table in self.columns else None


@dataclass(eq=False)
class Level:
    """A query or a write, without its sub-selects: the relations by their aliases, and the conditions joined by AND."""

    node: ast.Node
    outer: "tuple[Level, ...]"
    tables: dict[str, str | None] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    conditions: list[ast.Node] = field(default_factory=list)
    laterals: list[ast.Node] = field(default_factory=list)

    def distributed(self) -> dict[str, str]:
        """Return the distributed tables of this level by their aliases."""
        return {alias: table for alias, table in self.tables.items() if table and DISTRIBUTION.get(table)}


def walk(node: Any) -> Iterator[ast.Node]:
    """Yield a node, and all nodes below it."""
    if isinstance(node, tuple):
        for each in node:
            yield from walk(each)
    elif isinstance(node, ast.Node):
        yield node
        for name in node:
            yield from walk(getattr(node, name))


def conjuncts(node: Any) -> Iterator[ast.Node]:
    """Yield the conditions that AND joins."""
    if isinstance(node, ast.BoolExpr) and node.boolop == BoolExprType.AND_EXPR:
        for each in node.args:
            yield from conjuncts(each)
    elif node is not None:
        yield node


def column(node: Any) -> tuple[str | None, str] | None:
    """Return the alias and the name of a column, `None` for another expression."""
    if not isinstance(node, ast.ColumnRef) or not all(isinstance(each, ast.String) for each in node.fields):
        return None
    names = [each.sval for each in node.fields]
    return (names[-2] if len(names) > 1 else None), names[-1]


class Analysis:
    """The levels of a statement, from the outermost inwards."""

    def __init__(self, schema: Schema, statement: Any) -> None:
        self.schema = schema
        # A name that is no relation of the schema is a CTE, also one that the statement gets around it.
        self.ctes = {cte.ctename for cte in walk(statement) if isinstance(cte, ast.CommonTableExpr)}
        self.levels: list[Level] = []
        self.visit(statement, ())

    def visit(self, node: Any, outer: tuple[Level, ...]) -> None:
        """Add the levels below a node."""
        if isinstance(node, tuple):
            for each in node:
                self.visit(each, outer)
        elif isinstance(node, ast.Node):
            is_query = isinstance(node, (ast.SelectStmt, *WRITES)) and not is_set_operation(node)
            inner = (*outer, self.level(node, outer)) if is_query else outer
            for name in node:
                self.visit(getattr(node, name), inner)

    def level(self, node: Any, outer: tuple[Level, ...]) -> Level:
        """Add the level of a query or a write."""
        level = Level(node, outer)
        if isinstance(node, (ast.UpdateStmt, ast.DeleteStmt)):
            self.add(level, node.relation)
        if isinstance(node, ast.DeleteStmt):
            self.add(level, node.usingClause)
        elif not isinstance(node, ast.InsertStmt):
            self.add(level, node.fromClause)
        level.conditions += conjuncts(getattr(node, "whereClause", None))
        self.levels.append(level)
        return level

    def add(self, level: Level, item: Any) -> None:
        """Add the relations of an item of FROM to a level."""
        match item:
            case tuple():
                for each in item:
                    self.add(level, each)
            case ast.JoinExpr():
                self.add(level, item.larg)
                self.add(level, item.rarg)
                level.conditions += conjuncts(item.quals)
            case ast.RangeVar():
                alias = item.alias.aliasname if item.alias else item.relname
                is_cte = item.schemaname is None and item.relname in self.ctes
                level.tables[alias] = None if is_cte else self.schema.base(item.relname)
                level.names[alias] = item.relname
            case ast.RangeSubselect() | ast.RangeFunction():
                if item.alias:
                    level.tables[item.alias.aliasname] = None
                if isinstance(item, ast.RangeSubselect) and item.lateral:
                    level.laterals.append(item.subquery)

    def owner(self, node: Any, levels: tuple[Level, ...]) -> tuple[Level, str] | None:
        """Return the level and the alias of a column, `None` for a value, such as a parameter or a variable."""
        reference = column(node)
        if reference is None:
            return None
        alias, name = reference
        for level in reversed(levels):
            if alias is not None and alias in level.tables:
                return level, alias
            for each, relation in level.names.items():
                if alias is None and name in self.schema.columns.get(relation, ()):
                    return level, each
        return None

    def is_value(self, node: Any, level: Level) -> bool:
        """Return whether an expression is the same for each row, and has no sub-select."""
        levels = (*level.outer, level)
        return not any(self.owner(each, levels) or isinstance(each, ast.SubLink) for each in walk(node))

    def sides(self, level: Level) -> Iterator[tuple[Any, Any]]:
        """Yield the two sides of each equality among a level's conditions, in both orders."""
        for each in level.conditions:
            if (
                isinstance(each, ast.A_Expr)
                and each.kind == A_Expr_Kind.AEXPR_OP
                and [name.sval for name in each.name] == ["="]
            ):
                yield each.lexpr, each.rexpr
                yield each.rexpr, each.lexpr

    def is_key(self, node: Any, level: Level, alias: str) -> bool:
        """Return whether an expression is the distribution column of `alias`, a relation of `level`."""
        reference = column(node)
        return (
            reference is not None
            and self.owner(node, (*level.outer, level)) == (level, alias)
            and reference[1] == DISTRIBUTION[level.tables[alias] or ""]
        )

    def has_one_shard(self, level: Level, alias: str) -> bool:
        """Return whether a condition gives the distribution column of `alias` one value."""
        return any(self.is_key(one, level, alias) and self.is_value(other, level) for one, other in self.sides(level))

    def joins_keys(self, level: Level, alias: str, other_level: Level, other: str) -> bool:
        """Return whether a condition equates the distribution columns of two relations."""
        return any(
            self.is_key(one, level, alias) and self.is_key(two, other_level, other) for one, two in self.sides(level)
        )

    def outer_references(self, level: Level) -> set[tuple[int, str]]:
        """Return the relations of outer levels to which a level refers: number of the level, alias."""
        own = [each for each in self.levels if each is level or level in each.outer]
        found = set()
        for node in walk(level.node):
            owner = self.owner(node, level.outer)
            reference = column(node)
            if owner and reference and not any(self.hides(each, reference) for each in own):
                found.add((level.outer.index(owner[0]), owner[1]))
        return found

    def hides(self, level: Level, reference: tuple[str | None, str]) -> bool:
        """Return whether a column may be one of this level."""
        alias, name = reference
        if alias is not None:
            return alias in level.tables
        return any(name in self.schema.columns.get(relation, ()) for relation in level.names.values())


def is_set_operation(node: ast.Node) -> bool:
    """Return whether a query is a UNION or another operation of two queries."""
    return isinstance(node, ast.SelectStmt) and node.op != SetOperation.SETOP_NONE


def target(schema: Schema, node: ast.Node) -> str | None:
    """Return the distributed table to which a statement writes."""
    if not isinstance(node, WRITES):
        return None
    table = schema.base(node.relation.relname)
    return table if table and DISTRIBUTION.get(table) else None


def has_sub_select(node: Any) -> bool:
    """Return whether an expression has a sub-select."""
    return any(isinstance(each, ast.SubLink) for each in walk(node))


def write_rules(schema: Schema, node: Any) -> Iterator[str]:
    """Yield the rules that a write breaks."""
    table = target(schema, node)
    if table is None:
        return
    values = getattr(getattr(node, "selectStmt", None), "valuesLists", None)
    if has_sub_select(values):
        yield f"sub-select in VALUES of {table}"
    if has_sub_select(node.returningClause):
        yield f"sub-select in RETURNING of {table}"
    conflict = getattr(node, "onConflictClause", None)
    if any(is_time(each) for each in walk(conflict)):
        yield f"time in ON CONFLICT of {table}"
    assignments = node.targetList if isinstance(node, ast.UpdateStmt) else getattr(conflict, "targetList", None)
    if any(each.name == DISTRIBUTION[table] for each in assignments or ()):
        yield f"sets {table}.{DISTRIBUTION[table]}, the distribution column"


def is_time(node: ast.Node) -> bool:
    """Return whether an expression is the present time."""
    if isinstance(node, ast.FuncCall):
        return node.funcname[-1].sval in TIME_FUNCTIONS
    return isinstance(node, ast.SQLValueFunction)


def level_rules(analysis: Analysis, level: Level) -> Iterator[str]:
    """Yield the rules that a query breaks, without its sub-selects."""
    distributed = level.distributed()
    for clause in getattr(level.node, "lockingClause", None) or ():
        locked = {each.relname for each in clause.lockedRels or ()} or set(distributed)
        for alias in sorted(locked & set(distributed)):
            if not analysis.has_one_shard(level, alias):
                yield f"locks rows of {distributed[alias]} on several shards"
    for one, other in combinations(distributed, 2):
        if distributed[one] == distributed[other] and not analysis.joins_keys(level, one, level, other):
            yield f"joins {distributed[one]} with itself by another column"
    for number, alias in sorted(analysis.outer_references(level)):
        for one in distributed:
            yield from correlation_rules(analysis, level, one, level.outer[number], alias)


def correlation_rules(analysis: Analysis, level: Level, one: str, outer: Level, alias: str) -> Iterator[str]:
    """Yield the rules that a sub-select on the table `one` breaks by its reference to `alias` of `outer`."""
    table, referenced = level.tables[one], outer.tables[alias]
    if referenced == table and not analysis.joins_keys(level, one, outer, alias):
        yield f"joins {table} with itself by another column"
    if referenced is None and has_limit(outer, level):
        yield f"LATERAL with LIMIT on {table} for each row of a CTE"
    # A distributed table beside the reference table may lead to the shard.
    is_beside = any(analysis.joins_keys(level, one, outer, each) for each in outer.distributed())
    if referenced is not None and DISTRIBUTION[referenced] is None and not is_beside:
        yield f"correlated sub-select on {table} from {referenced}"


def has_limit(outer: Level, level: Level) -> bool:
    """Return whether a level is in a LATERAL sub-select of `outer`, below a LIMIT."""
    return any(
        each is level.node
        for lateral in outer.laterals
        for query in walk(lateral)
        if isinstance(query, ast.SelectStmt) and query.limitCount is not None
        for each in walk(query)
    )


def statement_rules(schema: Schema, statement: Any) -> set[str]:
    """Return the rules that a statement breaks."""
    analysis = Analysis(schema, statement)
    found = {rule for node in walk(statement) for rule in write_rules(schema, node)}
    return found | {rule for level in analysis.levels for rule in level_rules(analysis, level)}


def statements(text: str) -> list[ast.Node]:
    """Return the statements of a text, none if it is not SQL."""
    try:
        return [raw.stmt for raw in parse_sql(text)]
    except ParseError:
        return []


def query_conflicts(schema: Schema, names: list[str]) -> Iterator[Conflict]:
    """Yield the conflicts of the queries in `db/sql`."""
    for name in names:
        (statement,) = statements(query_text(name))
        for rule in statement_rules(schema, statement):
            yield Conflict(name, rule)


def query_text(name: str) -> str:
    """Return the text of a query as Postgres parses it."""
    text = queries.load_sql(name, has_reader=True)
    for placeholder, keyword in (("comparison", "<"), ("opposite_comparison", ">"), ("direction", "DESC")):
        text = text.replace(f"{{{placeholder}}}", keyword)
    text = text.replace("{opposite}", "ASC").replace("{{", "{").replace("}}", "}")
    return re.sub(r"%\(\w+\)s", "$1", text).replace("%%", "%")


def function_conflicts(schema: Schema, schema_sql: str) -> Iterator[Conflict]:
    """Yield the conflicts of the functions in `db/schema.sql`, also of statements that a function has as strings."""
    encoded = schema_sql.encode()
    for raw in parse_sql(schema_sql):
        if isinstance(raw.stmt, ast.CreateFunctionStmt):
            # The last statement has the length 0.
            end = raw.stmt_location + raw.stmt_len if raw.stmt_len else None
            text = encoded[raw.stmt_location : end].decode()
            found = list(function_statements(raw.stmt, text))
            found += [each for node in walk(tuple(found)) for each in statements_of_string(node)]
            for rule in {rule for statement in found for rule in statement_rules(schema, statement)}:
                yield Conflict(f"{raw.stmt.funcname[-1].sval}()", rule)


def function_statements(function: ast.CreateFunctionStmt, text: str) -> Iterator[Any]:
    """Yield the statements of a function, and its expressions as statements."""
    options = {option.defname: option.arg for option in function.options}
    if function.sql_body is not None:
        yield function.sql_body
    elif options["language"].sval == "plpgsql":
        for expression in plpgsql_expressions(parse_plpgsql(text)):
            query = expression["query"]
            # Statements, then expressions, then assignments to a variable.
            yield from statements(
                query if expression["parseMode"] == 0 else f"SELECT {query.partition(':=')[2] or query}"
            )
    else:
        for each in options["as"]:
            yield from statements(each.sval)


def plpgsql_expressions(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the expressions of a parsed function: `query` and `parseMode`."""
    if isinstance(node, list):
        for each in node:
            yield from plpgsql_expressions(each)
    elif isinstance(node, dict):
        if "PLpgSQL_expr" in node:
            yield node["PLpgSQL_expr"]
        for each in node.values():
            yield from plpgsql_expressions(each)


def statements_of_string(node: ast.Node) -> list[ast.Node]:
    """Return the statements that change rows and that a function runs from a string."""
    if isinstance(node, ast.A_Const) and isinstance(node.val, ast.String):
        return [each for each in statements(node.val.sval) if any(isinstance(part, WRITES) for part in walk(each))]
    return []


UNIQUE = """
    SELECT pg_class.relname, index_class.relname, array_agg(pg_attribute.attname::text)
    FROM pg_index
    JOIN pg_class ON pg_class.oid = pg_index.indrelid
    JOIN pg_class AS index_class ON index_class.oid = pg_index.indexrelid
    LEFT JOIN pg_attribute ON pg_attribute.attrelid = pg_class.oid AND pg_attribute.attnum = ANY (pg_index.indkey)
    WHERE pg_index.indisunique AND pg_class.relnamespace = 'public'::regnamespace
    GROUP BY 1, 2
"""
FOREIGN_KEYS = """
    SELECT
        conrelid::regclass::text, conname, confrelid::regclass::text,
        ARRAY(
            SELECT (own.attname::text, other.attname::text)::text
            FROM unnest(conkey, confkey) AS pair (own, other)
            JOIN pg_attribute AS own ON own.attrelid = conrelid AND own.attnum = pair.own
            JOIN pg_attribute AS other ON other.attrelid = confrelid AND other.attnum = pair.other
        )
    FROM pg_constraint
    WHERE contype = 'f'
"""
TRIGGERS = """
    SELECT tgrelid::regclass::text, tgname FROM pg_trigger
    WHERE NOT tgisinternal
"""


def catalog_conflicts(connection: psycopg.Connection) -> Iterator[Conflict]:
    """Yield the conflicts of constraints and triggers."""
    for table, name, columns in connection.execute(UNIQUE):
        key = DISTRIBUTION[table]
        if key and key not in columns:
            yield Conflict(name, f"unique without {table}.{key}")
    for table, name, referenced, pairs in connection.execute(FOREIGN_KEYS):
        key, referenced_key = DISTRIBUTION[table], DISTRIBUTION[referenced]
        if referenced_key and f"({key},{referenced_key})" not in pairs:
            yield Conflict(name, f"foreign key from {table} to another shard of {referenced}")
    for table, name in connection.execute(TRIGGERS):
        if DISTRIBUTION[table]:
            yield Conflict(name, f"trigger on {table}")

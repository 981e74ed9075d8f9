"""List the open reports, the oldest first; show one with its evidence, or close one.

A report shows the text of users in ASCII, with escapes: no control character and no bidirectional override reaches the
terminal.
"""

import json
from argparse import ArgumentParser
from datetime import UTC
from uuid import UUID

from psycopg import Connection

from lib.command_errors import CommandError
from ops.command import Database, parse_after_prod, run, selected_database

MOST = 100
# An expired report that the purge has not deleted yet is no report.
OPEN = """
    SELECT
        reports.created_at,
        reports.uuid,
        reports.category,
        CASE WHEN reports.activity_uuid IS NULL THEN 'user' ELSE 'activity' END,
        COALESCE(reported.handle, '-'),
        COALESCE(reporter.handle, '-'),
        count(*) OVER ()
    FROM reports
    LEFT JOIN users AS reported ON reported.uuid = reports.reported_uuid
    LEFT JOIN users AS reporter ON reporter.uuid = reports.reporter_uuid
    WHERE reports.closed_at IS NULL AND reports.expires_at > now()
    ORDER BY reports.created_at, reports.uuid
    LIMIT %s
"""
SHOW = """
    SELECT row_to_json(shown)
    FROM (
        SELECT
            reports.uuid,
            reports.category,
            reports.comment,
            reports.created_at,
            reports.closed_at,
            reports.expires_at,
            reports.reporter_uuid,
            reporter.handle AS reporter,
            reports.reported_uuid,
            reported.handle AS reported,
            reports.activity_uuid,
            reports.evidence
        FROM reports
        LEFT JOIN users AS reported ON reported.uuid = reports.reported_uuid
        LEFT JOIN users AS reporter ON reporter.uuid = reports.reporter_uuid
        WHERE reports.uuid = %s AND reports.expires_at > now()
    ) AS shown
"""
CLOSE = """
    UPDATE reports SET closed_at = now(), expires_at = LEAST(expires_at, now() + interval '90 days')
    WHERE reports.uuid = %s AND reports.closed_at IS NULL AND reports.expires_at > now()
"""
LINE = "{:16}  {:36}  {:10}  {:8}  {:30}  {}"


def print_open(database: Database, connection: Connection) -> None:
    """Print a line for each of the oldest open reports, and the number of the others."""
    reports = connection.execute(OPEN, [MOST]).fetchall()
    if not reports:
        database.report("no open reports")
        return
    print(LINE.format("created (UTC)", "report", "category", "subject", "reported", "reporter"))
    for created_at, *columns, _ in reports:
        print(LINE.format(f"{created_at.astimezone(UTC):%Y-%m-%d %H:%M}", *map(str, columns)))
    more = reports[0][-1] - len(reports)
    if more:
        print(f"and {more} more")


def show(connection: Connection, uuid: UUID) -> None:
    """Print a report as JSON in ASCII. Raises `CommandError` for an unknown one."""
    row = connection.execute(SHOW, [uuid]).fetchone()
    if row is None:
        raise CommandError(f"no report has the uuid {uuid}: bin/db-reports lists the open ones")
    print(json.dumps(row[0], indent=2))


def close(database: Database, connection: Connection, uuid: UUID) -> None:
    """Close a report. Closing a closed one changes nothing. Raises `CommandError` for an unknown one."""
    if connection.execute(CLOSE, [uuid]).rowcount:
        database.report(f"report {uuid} closed")
    elif connection.execute(SHOW, [uuid]).rowcount:
        database.report(f"report {uuid} was closed already")
    else:
        raise CommandError(f"no report has the uuid {uuid}: bin/db-reports lists the open ones")


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(
        prog="bin/db-reports", usage="%(prog)s [-h] [prod] [show UUID | close UUID]", description=__doc__
    )
    parser.add_argument(
        "command", nargs="?", choices=["show", "close"], help="without a command: list the open reports"
    )
    parser.add_argument("uuid", nargs="?", metavar="UUID", type=UUID, help="the report's uuid")
    args = parse_after_prod(parser)
    if args.command and not args.uuid:
        parser.error(f"{args.command} needs the uuid of a report")
    with selected_database(args) as database, database.connect() as connection:
        if args.command == "show":
            show(connection, args.uuid)
        elif args.command == "close":
            close(database, connection, args.uuid)
        else:
            print_open(database, connection)


if __name__ == "__main__":
    run(main)

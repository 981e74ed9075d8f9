"""Open psql on the database. What follows `prod`, or stands alone, goes to psql: bin/db-connect prod --list."""

import os
import shutil
import signal
import subprocess
import sys
from argparse import ArgumentParser

from psycopg.conninfo import conninfo_to_dict

from lib.command_errors import CommandError
from ops import embedded, pg_tools
from ops.command import Database, open_database, run


def psql(database: Database) -> str:
    """The psql to use: for the embedded server its own, else the machine's, which speaks TLS. Raises `CommandError`."""
    found = None if database.is_embedded else shutil.which("psql")
    if found is None:
        found = shutil.which("psql", path=str(embedded.bin_dir()))
    if found is None:
        raise CommandError("there is no psql: install a PostgreSQL client, version 15 or newer")
    return found


def connect(database: Database, psql_arguments: list[str]) -> int:
    """Run psql until it ends. Returns its exit status."""
    db, environ = pg_tools.connection_args(conninfo_to_dict(database.url))
    # Ctrl-C is for psql alone, which cancels the statement.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return subprocess.run(
        [psql(database), db, *psql_arguments],
        env={**os.environ, **environ},
        check=False,
    ).returncode


def main() -> int:
    """Run the command."""
    args = sys.argv[1:]
    prod = args[:1] == ["prod"]
    options = args[prod:]
    if options and not options[0].startswith("-"):
        # psql would take the word for a user.
        parser = ArgumentParser(prog="bin/db-connect", usage="%(prog)s [prod] [psql's options]")
        parser.error(f"{options[0]} is neither prod nor an option of psql's")
    with open_database(prod=prod) as db:
        return connect(db, options)


if __name__ == "__main__":
    run(main)

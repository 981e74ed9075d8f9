"""Open psql on the database. psql gets all arguments but `prod`: bin/db-connect prod --list."""

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


def psql_path(database: Database) -> str:
    """Return the path of psql: the machine's, which speaks TLS, or the wheel's. Raises `CommandError`.

    The embedded server has the wheel's.
    """
    path = None if database.is_embedded else shutil.which("psql")
    if path is None:
        path = shutil.which("psql", path=str(embedded.bin_dir()))
    if path is None:
        raise CommandError("no psql on the PATH: install a PostgreSQL client, version 15 or newer")
    return path


def run_psql(database: Database, psql_arguments: list[str]) -> int:
    """Run psql until it ends. Returns its exit status. Raises `CommandError`."""
    db, environ = pg_tools.connection_args(conninfo_to_dict(database.url))
    # Only psql handles Ctrl-C: it cancels the statement.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return subprocess.run(
        [psql_path(database), db, *psql_arguments],
        env={**os.environ, **environ},
        check=False,
    ).returncode


def main() -> int:
    """Run the command."""
    args = sys.argv[1:]
    prod = args[:1] == ["prod"]
    options = args[prod:]
    if options and not options[0].startswith("-"):
        # psql would use the word as the name of a user.
        parser = ArgumentParser(prog="bin/db-connect", usage="%(prog)s [prod] [psql's options]")
        parser.error(f"{options[0]} is neither prod nor an option of psql's")
    with open_database(prod=prod) as db:
        return run_psql(db, options)


if __name__ == "__main__":
    run(main)

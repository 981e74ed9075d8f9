"""Show the sessions on the server, in psql's format."""

from ops.command import ROOT, argument_parser, run, selected_database
from ops.psql import run_psql


def main() -> int:
    """Run the command."""
    with selected_database(argument_parser("bin/db-sessions", __doc__).parse_args()) as database:
        return run_psql(database, ["--no-psqlrc", "--pset=pager=off", f"--file={ROOT / 'db' / 'sessions.sql'}"])


if __name__ == "__main__":
    run(main)

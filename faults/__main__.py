"""Bring faults about on this machine, and measure how the service takes them.

Exits with 1 when a figure is missed; with --break, when a drill misses none.
"""

import time
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from importlib import import_module

from faults.drill import DRILLS, Drill
from faults.report import Result, document, figures_table
from harness.commands import machine, parse, tell
from harness.figures import Figure
from harness.processes import output
from lib.command_errors import CommandError
from ops import dev_keys, embedded
from ops.command import ROOT, run

__all__ = ["DRILLS", "main"]

# Each adds its drills.
for module in ("database", "pooler", "standbys", "disk", "clients", "deployment", "purge", "surroundings", "upstream"):
    import_module(f"faults.{module}")


def result_of(drill: Drill, args: Namespace) -> Result:
    """Run a drill. A failure of its own is a result too."""
    tell(f"{drill.name}: {drill.does}")
    begun = time.monotonic()
    figures: list[Figure] = []
    failure = ""
    try:
        figures.extend(drill.figures(broken=args.broken, short=args.short))
    except CommandError as error:
        failure = str(error)
    tell(f"{drill.name}: took {time.monotonic() - begun:.0f} s")
    return Result(drill, figures, failure)


def date_and_machine() -> str:
    """Return the date, and a line about this machine."""
    postgres = output(str(embedded.bin_dir() / "postgres"), "--version").split()[-1]
    return f"{datetime.now(UTC):%Y-%m-%d}: {machine(postgres)}"


def main() -> int:
    """Run the command."""
    parser = ArgumentParser(prog="bin/faults", description=__doc__)
    parser.add_argument("--break", dest="broken", action="store_true", help="take the protection away: each must fail")
    parser.add_argument("--short", action="store_true", help="the short ones, or the short form of those named")
    args = parse(parser, "DRILL", DRILLS, ROOT / "docs" / "failures.md")
    dev_keys.load_or_create()
    results = []
    for name in args.names or [name for name, drill in DRILLS.items() if drill.is_short or not args.short]:
        results.append(result_of(DRILLS[name], args))
        print(f"\n{figures_table(results[-1:])}\n", flush=True)
    if args.broken:
        return int(not all(result.is_missed for result in results))
    if not args.short and len(results) == len(DRILLS):
        args.document.write_text(document(results, date_and_machine(), args.document.read_text()))
    return int(not all(result.is_reached for result in results))


if __name__ == "__main__":
    run(main)

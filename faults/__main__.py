"""Bring about the service's bad days on this machine, and measure how it takes them.

Exits with 1 when a figure is missed; with --break, when a drill misses none.
"""

import os
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import faults
from bench.load import output
from faults.drill import Drill, Figure
from faults.report import Finding, document, tell
from lib.command_errors import CommandError
from ops import dev_keys, embedded
from ops.command import ROOT, run

DOCUMENT = ROOT / "docs" / "failures.md"


def drills() -> dict[str, Drill]:
    """All drills by their names: the `DRILLS` of every module whose name ends in `_drills`."""
    modules = [each.name for each in iter_modules(faults.__path__) if each.name.endswith("_drills")]
    return {drill.name: drill for name in modules for drill in import_module(f"faults.{name}").DRILLS}


def arguments(known: dict[str, Drill]) -> Namespace:
    """What was asked for."""
    parser = ArgumentParser(prog="bin/faults", description=__doc__)
    parser.add_argument("drills", nargs="*", metavar="DRILL", help=f"all, or some of {', '.join(known)}")
    parser.add_argument("--break", dest="broken", action="store_true", help="take the protection away: each must fail")
    parser.add_argument("--short", action="store_true", help="the short ones, or the short form of those named")
    parser.add_argument("--document", type=Path, default=DOCUMENT, metavar="FILE", help="what to write all into")
    given = parser.parse_args()
    if unknown := set(given.drills) - set(known):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return given


def found(drill: Drill, given: Namespace) -> Finding:
    """What the drill gives. That it can't be run is a finding too."""
    say(f"{drill.name}: {drill.does}")
    begun = time.monotonic()
    how = (drill.run_short or drill.run) if given.short else drill.run
    figures: list[Figure] = []
    try:
        # One by one: what was measured before a failure is told.
        figures.extend(how(given.broken))
        failure = ""
    except CommandError as error:
        failure = str(error)
    say(f"{drill.name}: took {time.monotonic() - begun:.0f} s")
    return Finding(drill, figures, failure)


def machine() -> str:
    """What was drilled on, and when."""
    version = output(str(embedded.bin_dir() / "postgres"), "--version").split()[-1]
    python = ".".join(map(str, sys.version_info[:2]))
    return f"{datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores; PostgreSQL {version}, Python {python}."


def say(line: str) -> None:
    """Tell whoever waits what they wait for."""
    print(f"faults: {line}", file=sys.stderr, flush=True)


def main() -> int:
    """The command."""
    # As Ctrl-C: what was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    known = drills()
    given = arguments(known)
    dev_keys.load_or_create()
    findings = []
    for name in given.drills or [name for name, drill in known.items() if drill.is_short or not given.short]:
        findings.append(found(known[name], given))
        print(f"\n{tell(findings[-1:])}\n", flush=True)
    if given.broken:
        return int(not all(finding.is_missed for finding in findings))
    if not given.short and len(findings) == len(known):
        given.document.write_text(document(findings, machine(), given.document.read_text()))
    return int(not all(finding.is_reached for finding in findings))


if __name__ == "__main__":
    run(main)

"""Measure the service against its peers, on this machine alone, and write docs/performance.md."""

import json
import signal
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from bench.data import is_autogrouping, machine, tell
from bench.scaling import growth
from bench.install import install
from bench.comparison import Given
from bench.report import Findings, load, section, write
from bench.scenarios import home, posting, reads, signed_in, traced
from bench.worker import worker
from ops import command, dev_keys
from ops.command import ROOT, Database, open_database, run

SCENARIOS: dict[str, Callable[[Database, Given], Findings]] = {
    "reads": reads,
    "home": home,
    "signed-in": signed_in,
    "traced": traced,
    "posting": posting,
    "growth": growth,
    "worker": worker,
}
# As an operator sets a server up that has a few gigabytes: its own is 128 MB, less than the large database.
MEMORY = "-c shared_buffers=1GB"
AUTOGROUP_OFF = "set it right by sysctl -w kernel.sched_autogroup_enabled=0"
DOCUMENT = ROOT / "docs" / "performance.md"


def arguments() -> Namespace:
    """What was asked for."""
    parser = ArgumentParser(prog="bin/bench", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"all, or some of {', '.join(SCENARIOS)}")
    parser.add_argument("--seconds", type=int, default=5, metavar="N", help="how long a run of load takes")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each is measured")
    parser.add_argument("--document", type=Path, default=DOCUMENT, metavar="FILE", help="what to write into")
    given = parser.parse_args()
    if unknown := set(given.scenarios) - set(SCENARIOS):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    if given.seconds < 1 or given.rounds < 1:
        parser.error("--seconds and --rounds are 1 or more")
    return given


def main() -> None:
    """The command."""
    # As Ctrl-C: what was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = arguments()
    if is_autogrouping():
        tell(f"with both cores busy, some of Postgres' processes will not run for seconds: {AUTOGROUP_OFF}")
    install()
    dev_keys.load_or_create()
    # Those of scenarios that are not measured now stay as they were.
    known = command.data_dir() / f"{given.document.stem}.json"
    findings = load(known)
    with open_database(options=MEMORY) as server:
        for name in given.scenarios or SCENARIOS:
            findings[name] = SCENARIOS[name](server, Given(given.rounds, given.seconds))
            print(f"\n{section(findings[name])}\n", flush=True)
            known.write_text(json.dumps(findings))
        write({name: findings[name] for name in SCENARIOS if name in findings}, machine(server), given.document)


if __name__ == "__main__":
    run(main)

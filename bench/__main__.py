"""Measure the service against its peers, on this machine alone, and write docs/performance.md."""

import json
from argparse import ArgumentParser
from collections.abc import Callable

from bench.comparison import Schedule
from bench.install import install
from bench.report import Findings, load, section, write
from bench.scaling import scaling
from bench.scenarios import COMPARISONS
from bench.worker import worker
from harness.commands import is_autogrouping, machine, parse, tell
from harness.postgres import postgres_version
from ops import command, dev_keys
from ops.command import ROOT, Database, open_database, run

SCENARIOS: dict[str, Callable[[Database, Schedule], Findings]] = {
    **{name: scenario.run for name, scenario in COMPARISONS.items()},
    "growth": scaling,
    "worker": worker,
}
# As operators set up a server with a few gigabytes. The default of 128 MB is less than the large database.
MEMORY = "-c shared_buffers=1GB"
AUTOGROUP_OFF = "set it right by sysctl -w kernel.sched_autogroup_enabled=0"


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(prog="bin/bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, metavar="N", help="duration of a run of load")
    parser.add_argument("--rounds", type=int, default=6, metavar="N", help="number of runs of each")
    args = parse(parser, "SCENARIO", SCENARIOS, ROOT / "docs" / "performance.md")
    if args.seconds < 1 or args.rounds < 1:
        parser.error("--seconds and --rounds are 1 or more")
    if is_autogrouping():
        tell(f"with both cores busy, some of Postgres' processes will not run for seconds: {AUTOGROUP_OFF}")
    install()
    dev_keys.load_or_create()
    # Scenarios that do not run now keep their findings.
    path = command.data_dir() / f"{args.document.stem}.json"
    findings = load(path)
    with open_database(options=MEMORY) as server:
        for name in args.names or SCENARIOS:
            findings[name] = SCENARIOS[name](server, Schedule(args.rounds, args.seconds))
            print(f"\n{section(findings[name])}\n", flush=True)
            path.write_text(json.dumps(findings))
        kept = {name: findings[name] for name in SCENARIOS if name in findings}
        write(kept, machine(postgres_version(server)), args.document)


if __name__ == "__main__":
    run(main)

"""Parts that bin/bench and bin/faults share: arguments, lines of progress, and a line about the machine."""

import os
import re
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Collection
from pathlib import Path


def parse(parser: ArgumentParser, kind: str, names: Collection[str], document: Path) -> Namespace:
    """Return the arguments: names of that kind, the document, and the parser's own. SIGTERM then acts as Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser.add_argument("names", nargs="*", metavar=kind, help=f"all, or some of {', '.join(names)}")
    parser.add_argument("--document", type=Path, default=document, metavar="FILE", help="what to write all into")
    args = parser.parse_args()
    if unknown := set(args.names) - set(names):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(names)}")
    return args


def tell(line: str) -> None:
    """Print a line of progress after the name of the command's package: `bench` or `faults`."""
    print(f"{Path(sys.argv[0]).parent.name}: {line}", file=sys.stderr, flush=True)


def machine(postgres: str) -> str:
    """Describe the machine, that version of Postgres, and Python."""
    models = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    python = ".".join(map(str, sys.version_info[:2]))
    model = models[0] if models else "an unnamed processor"
    return f"{os.cpu_count()} cores of {model}; PostgreSQL {postgres}, Python {python}."


def is_autogrouping() -> bool:
    """Return whether the kernel shares processors among sessions (sched(7)). Each Postgres process is a session."""
    setting = Path("/proc/sys/kernel/sched_autogroup_enabled")
    return setting.exists() and setting.read_text().strip() == "1"

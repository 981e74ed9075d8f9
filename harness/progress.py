"""What a benchmark or the drills say of this machine, and of their progress."""

import os
import re
import sys
from pathlib import Path


def tell(line: str) -> None:
    """Print a line of progress after the name of the command's package: `bench` or `faults`."""
    print(f"{Path(sys.argv[0]).parent.name}: {line}", file=sys.stderr, flush=True)


def machine(postgres: str) -> str:
    """Describe the machine, that version of Postgres, and Python."""
    models = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    python = ".".join(map(str, sys.version_info[:2]))
    model = models[0] if models else "an unnamed processor"
    return f"{os.cpu_count()} cores of {model}; PostgreSQL {postgres}, Python {python}."

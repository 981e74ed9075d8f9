"""Running the project's commands in the tests' own process: a Python of their own takes most of a second to start."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from importlib import import_module
from io import StringIO
from unittest.mock import patch

from harness.processes import CLEAN
from ops.command import ROOT, run
from tests import processes

# These scripts become psql, whose output cannot be captured in this process.
PSQL = {"db-connect", "db-sessions"}
# How a script of bin/ ends.
COMMAND = re.compile(r'^exec "\$root/bin/python" -m (\S+)(?: "\$@")?$', re.MULTILINE)


@cache
def module(name: str) -> str:
    """Return the module that `bin/<name>` runs."""
    (path,) = COMMAND.findall((ROOT / "bin" / name).read_text())
    return str(path)


@contextmanager
def signals_kept() -> Iterator[None]:
    """Put back the handlers of signals that a command replaces."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def script(name: str, *arguments: str, answer: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command of `bin/<name>` to its end, with `answer` typed."""
    if name in PSQL:
        return processes.script(name, *arguments, answer=answer, **settings)
    command = [name, *arguments]
    with (
        patch.dict(os.environ, CLEAN | settings, clear=True),
        patch.object(sys, "argv", command),
        patch.object(sys, "stdin", StringIO(answer)),
        redirect_stdout(StringIO()) as out,
        redirect_stderr(StringIO()) as err,
        signals_kept(),
    ):
        try:
            run(import_module(module(name)).main)
        except SystemExit as end:
            status = end.code
    if isinstance(status, str):
        print(status, file=err)
        status = 1
    return subprocess.CompletedProcess(command, int(status or 0), out.getvalue(), err.getvalue())


def succeeds(name: str, *arguments: str, answer: str = "", **settings: str) -> str:
    """Run a command that must succeed. Return its output."""
    return processes.output(script(name, *arguments, answer=answer, **settings))


def fails(name: str, *arguments: str, answer: str = "", **settings: str) -> str:
    """Run a command that must fail. Return its error line."""
    return processes.error_line(script(name, *arguments, answer=answer, **settings))

"""Run the project's scripts as their users do."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from harness.postgres import rows
from harness.processes import CLEAN, launch
from harness.waiting import SECONDS
from ops.command import ROOT

# bin/serve stops within 25 s, however soon after its start.
STOP_SECONDS = 30
NOWHERE = "postgresql://owner:s3cret@127.0.0.1:1/cruddur"


def script(name: str, *arguments: str, answer: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `bin/<name>` to its end, with `answer` typed."""
    return subprocess.run(
        [ROOT / "bin" / name, *arguments],
        env=CLEAN | settings,
        input=answer,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@contextmanager
def started(
    command: Sequence[str | Path], stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE, /, **settings: str
) -> Iterator["subprocess.Popen[str]"]:
    """Run a command in the project's folder, and stop it at the end if it has not been before."""
    with launch(command, env=CLEAN | settings, stdout=stdout, stderr=stderr, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=SECONDS)


def running(name: str, *arguments: str, **settings: str) -> AbstractContextManager["subprocess.Popen[str]"]:
    """Run `bin/<name>`, likewise."""
    return started([ROOT / "bin" / name, *arguments], **settings)


# Outputs that take nothing.
UNWRITABLE = ["full device", "reader gone", "pipe not read"]


@contextmanager
def unwritable(way: str) -> Iterator[int]:
    """Yield the descriptor of an output that takes nothing."""
    reader, writer = os.pipe()
    if way == "full device":
        os.close(writer)
        writer = os.open("/dev/full", os.O_WRONLY)
    elif way == "reader gone":
        os.close(reader)
        reader = os.open(os.devnull, os.O_RDONLY)
    else:
        os.set_blocking(writer, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writer, b"\n")
        os.set_blocking(writer, True)
    try:
        yield writer
    finally:
        os.close(writer)
        os.close(reader)


def waits(url: str) -> bool:
    """Return whether a session of the server waits for a lock."""
    return rows(url, "SELECT FROM pg_locks WHERE NOT granted") != []


def succeeds(name: str, *arguments: str, answer: str = "", **settings: str) -> str:
    """Run a script that must succeed. Return its output."""
    return output(script(name, *arguments, answer=answer, **settings))


def fails(name: str, *arguments: str, answer: str = "", **settings: str) -> str:
    """Run a script that must fail. Return its error line."""
    return error_line(script(name, *arguments, answer=answer, **settings))


def output(result: subprocess.CompletedProcess[str]) -> str:
    """Return the output of a command that must have succeeded."""
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def error_line(result: subprocess.CompletedProcess[str]) -> str:
    """Return the line for the operator of a command that must have failed."""
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("cruddur: ")]
    return line


def runs(home: Path) -> bool:
    """Return whether the embedded server under `home` runs."""
    return (home / "postgres" / "data" / "postmaster.pid").exists()

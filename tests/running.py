"""Running the project's own scripts, as their users do."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import psycopg

from ops.command import ROOT

# Settings of whoever runs the tests are not for the programs under test.
OURS = {
    *("CONNECTION_URL", "PROD_CONNECTION_URL", "SERVICE_CONNECTION_URL", "TEST_CONNECTION_URL", "CRUDDUR_DATA_DIR"),
    "CRUDDUR_HOME",
    *("FRONTEND_URL", "BACKEND_URL", "HOST", "PORT", "WEB_CONCURRENCY", "TRUSTED_PROXIES", "IDLE_TIMEOUT_SECONDS"),
    *("RATE_LIMIT_ANONYMOUS_READS", "RATE_LIMIT_USER_READS", "RATE_LIMIT_USER_WRITES", "RATE_LIMIT_SEARCHES"),
    *("RATE_LIMIT_REJECTED_TOKENS", "RATE_LIMIT_STORAGE_URL"),
    *("DATABASE_TIMEOUT_SECONDS", "DRAIN_SECONDS", "ACCESS_LOG", "LOG_LEVEL", "DATABASE_AUTH"),
    *("DB_SG_ID", "DB_SG_RULE_ID", "GITPOD_IP"),
}
OTHERS = ("AWS_", "OTEL_", "PG")
CLEAN = {name: value for name, value in os.environ.items() if name not in OURS and not name.startswith(OTHERS)}
# Nothing takes so long, also on a machine that has much else to do.
SECONDS = 180
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
    """A command in the project's folder, the head of a process group, stopped at the end if it has not been before."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=CLEAN | settings,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=SECONDS)


def running(name: str, *arguments: str, **settings: str) -> AbstractContextManager["subprocess.Popen[str]"]:
    """`bin/<name>`, likewise."""
    return started([ROOT / "bin" / name, *arguments], **settings)


# Ways in which what a program prints is not taken.
UNWRITABLE = ["full device", "reader gone", "pipe not read"]


@contextmanager
def unwritable(way: str) -> Iterator[int]:
    """The descriptor of something that a program cannot print to."""
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


def free_port() -> str:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    """What a statement answers."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def waits(url: str) -> bool:
    """Whether somebody on the server waits for a lock."""
    return rows(url, "SELECT FROM pg_locks WHERE NOT granted") != []


def succeeds(name: str, *arguments: str, answer: str = "", **settings: str) -> str:
    """Run a script that must succeed. What it printed."""
    done = script(name, *arguments, answer=answer, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def fails(name: str, *arguments: str, answer: str = "", **settings: str) -> str:
    """Run a script that must fail. The line that it failed with."""
    done = script(name, *arguments, answer=answer, **settings)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("cruddur: ")]
    return line


def runs(home: Path) -> bool:
    """Whether the embedded server under `home` runs."""
    return (home / "postgres" / "data" / "postmaster.pid").exists()

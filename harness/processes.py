"""Processes: start them, measure them, and stop them with all that they have started."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil
import urllib3

from harness.waiting import poll
from lib.command_errors import CommandError
from lib.config import Config
from ops.command import ROOT
from ops.dev import set_parent_death_signal

START_SECONDS, STOP_SECONDS = 30, 25
MEGABYTE = 1 << 20
# Settings of the user who runs tests and drills are not for the programs under test.
OTHER_SETTINGS = {
    *(
        "PROD_CONNECTION_URL",
        "SERVICE_CONNECTION_URL",
        "TEST_CONNECTION_URL",
        "CRUDDUR_DATA_DIR",
        "CRUDDUR_HOME",
        "BACKEND_URL",
    ),
    *("WEB_CONCURRENCY", "LOG_LEVEL", "DB_SG_ID", "DB_SG_RULE_ID", "GITPOD_IP"),
    *(str(field.validation_alias) for field in Config.model_fields.values()),
}
OTHER_PREFIXES = ("AWS_", "OTEL_", "PG")
CLEAN = {
    name: value
    for name, value in os.environ.items()
    if name not in OTHER_SETTINGS and not name.startswith(OTHER_PREFIXES)
}
# One client sends all requests: no limit counts.
UNLIMITED = {
    str(field.validation_alias): "999999"
    for name, field in Config.model_fields.items()
    if name.startswith("rate_limit_") and "storage" not in name
}


class Running(NamedTuple):
    """A server that answers: its process, its URL, the seconds until its first response, and its log."""

    pid: int
    url: str
    seconds: float
    log: Path

    @property
    def port(self) -> int:
        """The port of its URL."""
        return urlsplit(self.url).port or 0


def launch(command: Sequence[str | Path], **options: Any) -> "subprocess.Popen[Any]":
    """Start a process that ends with this one, at the head of its own group: Ctrl-C reaches it through us, and once.

    Its output is dropped unless `options` of Popen say otherwise.
    """
    usual: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    process: subprocess.Popen[Any] = subprocess.Popen(
        command, **{"cwd": ROOT} | usual | options, preexec_fn=set_parent_death_signal, process_group=0
    )
    return process


@contextmanager
def started(
    command: Sequence[str | Path], *, url: str, environ: Mapping[str, str], folder: Path, log: Path
) -> Iterator[Running]:
    """Run a server from its first 200 to `url` on, and stop it at the end. Raises `CommandError` without a 200."""
    begun = time.monotonic()
    with log.open("w") as output:
        process = launch(command, env=environ, cwd=folder, stdout=output)
    try:
        wait_for_ok(process, url, log)
        parts = urlsplit(url)
        yield Running(process.pid, f"{parts.scheme}://{parts.netloc}", time.monotonic() - begun, log)
    finally:
        stop(process)


def wait_for_ok(process: "subprocess.Popen[Any]", url: str, log: Path) -> None:
    """Wait until `url` responds with 200. Raises `CommandError`."""
    with urllib3.PoolManager(retries=False, timeout=1) as http:

        def is_ok() -> bool:
            with suppress(urllib3.exceptions.HTTPError):
                return http.request("GET", url).status == HTTPStatus.OK
            return False

        if not poll(lambda: process.poll() is not None or is_ok(), START_SECONDS) or process.poll() is not None:
            raise CommandError(f"a server does not answer: {last_words(log)}")


def last_words(log: Path) -> str:
    """Return the end of a log."""
    return " ".join(log.read_text(errors="replace").split()[-100:])


def stop(process: "subprocess.Popen[Any]") -> None:
    """Stop the process by SIGTERM, and kill each of its descendants that outlives it."""
    descendants = tree(process.pid)
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    kill(descendants)
    process.wait()


def kill(pids: Sequence[int]) -> None:
    """Send SIGKILL to each process that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def output(*command: str, environ: Mapping[str, str] | None = None) -> str:
    """Return the output of a program. Raises `CommandError` unless its exit status is 0."""
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"{Path(command[0]).name}: {' '.join((done.stdout + done.stderr).split())}")
    return done.stdout


def library(pattern: str, package: str) -> Path:
    """Return the first file below /usr/lib of that pattern. Raises `CommandError` with the package that has it."""
    for path in sorted(Path("/usr/lib").glob(pattern), reverse=True):
        return path
    raise CommandError(f"needs Debian's package {package}, or another with {pattern}")


def program(name: str) -> str | None:
    """Return the path of a program. Debian has servers where only root's PATH leads."""
    return shutil.which(name, path=f"{os.environ.get('PATH')}:/usr/sbin")


def tree(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    with suppress(psutil.NoSuchProcess):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return [pid]


def descendants(pid: int) -> set[int]:
    """Return the process ids of the process's descendants."""
    return set(tree(pid)[1:])


def parent(pid: int) -> int:
    """Return the parent's process id."""
    return int(psutil.Process(pid).ppid())


def command_name(pid: int) -> str:
    """Return the program's name, "" for a process that is gone or not on this machine."""
    try:
        return str(psutil.Process(pid).name())
    except psutil.NoSuchProcess:
        return ""


def is_alive(pid: int) -> bool:
    """Return whether a process runs. A zombie does not."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def cpu_seconds(pid: int | None) -> float:
    """Return the CPU time of a process and its descendants, those that have ended among them; NaN for no process."""
    if pid is None:
        return float("nan")
    seconds = 0.0
    for each in tree(pid):
        with suppress(psutil.NoSuchProcess):
            seconds += sum(psutil.Process(each).cpu_times()[:4])
    return seconds


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    return float(psutil.Process(pid).memory_info().rss / MEGABYTE)


def total_memory_mb(pid: int) -> float:
    """Return the resident memory of a process and its descendants. Shared pages count in each."""
    return sum(map(memory_mb, tree(pid)))


def worker_memory_mb(pid: int) -> float:
    """Return the resident memory of the largest process below the service's main process."""
    return max(map(memory_mb, descendants(pid)))


def worker_peak_mb(pid: int) -> float:
    """Return the largest resident memory that a process below the service's main process has had."""
    return max(map(high_water_mb, descendants(pid)))


def peak_memory_mb(pid: int) -> float:
    """Return the sum of the peaks of a process and its descendants. Shared pages count in each."""
    return sum(map(high_water_mb, tree(pid)))


def high_water_mb(pid: int) -> float:
    """Return the largest resident memory that the process has had: proc(5), because psutil does not tell it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def connections(pid: int, port: int) -> int:
    """Return the number of connections to the server's `port` that a process and its descendants have open."""
    return sum(len(client_ports(each, port)) for each in tree(pid))


def client_ports(pid: int, port: int) -> set[int]:
    """Return the clients' ports of the connections to the server's `port` that the process has open."""
    with suppress(psutil.NoSuchProcess):
        return {
            connection.raddr.port
            for connection in psutil.Process(pid).net_connections("tcp4")
            if connection.status == psutil.CONN_ESTABLISHED and connection.laddr.port == port
        }
    return set()

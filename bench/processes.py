"""Processes: started with all that they start themselves, what they take, and stopped by their ids."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import urllib3

from lib.command_errors import CommandError
from ops.dev import set_parent_death_signal

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS, STOP_SECONDS = 30, 25


class Running(NamedTuple):
    """A server that answers: its process, where, how many seconds it took to the first answer, and its log."""

    pid: int
    url: str
    seconds: float
    log: Path


@contextmanager
def started(
    command: Sequence[str | Path], *, url: str, environ: dict[str, str], folder: Path, log: Path
) -> Iterator[Running]:
    """A server, from its first answer of 200 to `url`, and stopped at the end. Raises `CommandError` when there is none."""
    begun = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env=environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=set_parent_death_signal,
            # Of its own, so that Ctrl-C reaches it by us, and once.
            process_group=0,
        )
    try:
        wait_for_answer(process, url, log)
        parts = urlsplit(url)
        yield Running(process.pid, f"{parts.scheme}://{parts.netloc}", time.monotonic() - begun, log)
    finally:
        stop(process)


def wait_for_answer(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    """Wait until `url` is answered with 200. Raises `CommandError`."""
    deadline = time.monotonic() + START_SECONDS
    with urllib3.PoolManager(retries=False, timeout=1) as http:
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(urllib3.exceptions.HTTPError):
                if http.request("GET", url).status == HTTPStatus.OK:
                    return
            time.sleep(0.01)
    raise CommandError(f"a server of the measurement does not answer: {last_words(log)}")


def last_words(log: Path) -> str:
    """What a server said last."""
    return " ".join(log.read_text(errors="replace").split()[-100:])


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop the process, and whatever of its own outlives it."""
    started_by_it = tree(process.pid)
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for pid in started_by_it:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def tree(pid: int) -> list[int]:
    """The process, and all below it."""
    children: dict[int, list[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            children.setdefault(parent(int(folder.name)), []).append(int(folder.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the third on, the state: proc(5)."""
    return (PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()


def parent(pid: int) -> int:
    """Whose child a process is."""
    return int(stat(pid)[1])


def command_name(pid: int) -> str:
    """What a process runs; nothing of one that is not there, or not on this machine."""
    try:
        return (PROC / str(pid) / "comm").read_text()
    except FileNotFoundError:
        return ""


def cpu_seconds(pid: int | None) -> float:
    """What a process and all below it have computed, those that have ended since among them; not a number of none."""
    if pid is None:
        return float("nan")
    ticks = 0
    for each in tree(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            ticks += sum(map(int, stat(each)[11:15]))
    return ticks / TICKS


def memory_mb(pid: int, field: str) -> float:
    """A field of /proc/<pid>/status: `VmRSS`, or `VmHWM` for the most that it ever was."""
    lines = (PROC / str(pid) / "status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), 0.0)


def peak_memory_mb(pid: int) -> float:
    """The most that a process and all below it have held, each on its own and shared pages counted each time."""
    return sum(memory_mb(each, "VmHWM") for each in tree(pid))

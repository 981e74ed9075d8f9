"""A run of load: wrk against a server, or pgbench against Postgres alone, and what it found."""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

from bench.data import tell
from bench.processes import Running, cpu_seconds, last_words, peak_memory_mb
from lib.command_errors import CommandError
from ops import embedded

LUA = Path(__file__).with_name("load.lua")
TIMEOUT = "10s"
# Of what does not apply, or can't be seen from here.
NONE = float("nan")


class Request(NamedTuple):
    """What is asked: a POST when it has a body, else a GET."""

    path: str
    token: str = ""
    body: str = ""

    def line(self) -> str:
        """It as load.lua reads it."""
        return "\t".join(("POST" if self.body else "GET", *self))


class Run(NamedTuple):
    """With how many connections, for how long, and the seed of what is picked at random."""

    connections: int
    seconds: int
    seed: int


class Sample(NamedTuple):
    """One run: a second's requests, milliseconds a request, its CPU in microseconds, the server's memory in MB."""

    requests: int
    rate: float
    p50: float
    p99: float
    server_us: float
    postgres_us: float
    memory_mb: float
    # What went wrong, which makes the figures void.
    faults: str = ""


def write_requests(requests: Iterable[Request], path: Path) -> None:
    """The file that wrk picks from."""
    path.write_text("".join(f"{request.line()}\n" for request in requests))


def wrk(server: Running, postgres: int | None, requests: Path, run: Run) -> Sample:
    """Load a server, whose Postgres has the process `postgres` if it is on this machine."""
    before = cpu_seconds(server.pid), cpu_seconds(postgres)
    options = ["-t1", f"-c{run.connections}", f"-d{run.seconds}s", "--timeout", TIMEOUT, "-s", str(LUA)]
    found = read_wrk(output("wrk", *options, server.url, "--", str(requests), str(run.seed)))
    after = cpu_seconds(server.pid), cpu_seconds(postgres)
    server_us, postgres_us = (
        (end - start) * 1e6 / max(found["requests"], 1) for start, end in zip(before, after, strict=True)
    )
    faults = ", ".join(f"{count} {what}" for what, count in found["faults"].items() if count)
    if faults:
        tell(f"{faults}; the log of {server.url} ends: {last_words(server.log)}")
    return Sample(
        requests=found["requests"],
        rate=found["requests"] / found["seconds"],
        p50=found["p50"],
        p99=found["p99"],
        server_us=server_us,
        postgres_us=postgres_us,
        memory_mb=peak_memory_mb(server.pid),
        faults=faults,
    )


def read_wrk(said: str) -> dict[str, Any]:
    """What load.lua told in wrk's last line."""
    return dict(json.loads(said.splitlines()[-1]))


def pgbench(environ: dict[str, str], postgres: int | None, script: Path, run: Run) -> Sample:
    """Load Postgres with the statement in `script`, prepared."""
    before = cpu_seconds(postgres)
    with tempfile.TemporaryDirectory() as folder:
        options = ["-n", "-j1", "-M", "prepared", f"-c{run.connections}", f"-T{run.seconds}"]
        logged = ["--log", f"--log-prefix={folder}/log", f"--random-seed={run.seed}", "-f", str(script)]
        said = output(str(embedded.bin_dir() / "pgbench"), *options, *logged, environ=environ)
        # Each line: client, transaction, microseconds, and what is not wanted here.
        took = [int(line.split()[2]) / 1e3 for log in Path(folder).iterdir() for line in log.read_text().splitlines()]
    percentiles = quantiles(took, n=100)
    return Sample(
        requests=len(took),
        rate=read_pgbench(said),
        p50=percentiles[49],
        p99=percentiles[98],
        server_us=NONE,
        postgres_us=(cpu_seconds(postgres) - before) * 1e6 / len(took),
        memory_mb=NONE,
    )


def read_pgbench(said: str) -> float:
    """The statements a second that pgbench told."""
    found = re.search(r"^tps = ([0-9.]+)", said, re.MULTILINE)
    if found is None:
        raise CommandError(f"pgbench: {' '.join(said.split())}")
    return float(found[1])


def pgbench_script(statement: bytes, **values: str) -> str:
    """The service's own statement as pgbench takes it, each parameter replaced by its expression in `values`."""
    named = re.sub(r"%\((\w+)\)s", lambda parameter: values[parameter[1]], statement.decode())
    return f"{named.replace('%%', '%')};\n"


def output(*command: str, environ: dict[str, str] | None = None) -> str:
    """What a program prints. Raises `CommandError` when it fails."""
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"{Path(command[0]).name}: {' '.join((done.stdout + done.stderr).split())}")
    return done.stdout

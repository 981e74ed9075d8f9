"""Load by wrk on a server, or by pgbench on Postgres alone, and its figures."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

import urllib3

from harness.commands import tell
from harness.processes import Running, cpu_seconds, last_words, output, peak_memory_mb
from lib.command_errors import CommandError
from ops import embedded

LUA = Path(__file__).with_name("wrk.lua")
TIMEOUT = "10s"
# The connections of `send_each` and `send_many`.
SENDERS = 16
# A figure that does not apply, or that this machine does not show.
NONE = float("nan")


class Request(NamedTuple):
    """A request, with the ETag for `If-None-Match` if it has one."""

    path: str
    token: str = ""
    body: str = ""
    method: str = "GET"
    etag: str = ""

    def line(self) -> str:
        """Return the line that wrk.lua reads."""
        return "\t".join((self.method, self.path, self.token, self.etag, self.body))

    def send(self, http: urllib3.PoolManager, url: str) -> urllib3.BaseHTTPResponse:
        """Send the request to the server at `url`, and return the response."""
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return http.request(self.method, url + self.path, body=self.body or None, headers=headers)


class Run(NamedTuple):
    """The number of connections, the duration, and the seed of the random choice of requests."""

    connections: int
    seconds: int
    seed: int


class Sample(NamedTuple):
    """A run: requests per second, milliseconds and CPU microseconds per request, the server's memory in MB."""

    requests: int
    rate: float
    p50: float
    p99: float
    server_us: float
    postgres_us: float
    memory_mb: float
    # The failures, which make the figures void.
    faults: str = ""


def wrk(server: Running, postgres: int | None, requests: Sequence[Request], run: Run) -> Sample:
    """Load a server. `postgres` is the process of its Postgres, if that is on this machine."""
    before = cpu_seconds(server.pid), cpu_seconds(postgres)
    result = run_wrk(server.url, requests, run)
    after = cpu_seconds(server.pid), cpu_seconds(postgres)
    server_us, postgres_us = (
        (end - start) * 1e6 / max(result["requests"], 1) for start, end in zip(before, after, strict=True)
    )
    faults = ", ".join(f"{count} {what}" for what, count in result["faults"].items() if count)
    if faults:
        tell(f"{faults}; the log of {server.url} ends: {last_words(server.log)}")
    return Sample(
        requests=result["requests"],
        rate=result["requests"] / result["seconds"],
        p50=result["p50"],
        p99=result["p99"],
        server_us=server_us,
        postgres_us=postgres_us,
        memory_mb=peak_memory_mb(server.pid),
        faults=faults,
    )


def run_wrk(url: str, requests: Iterable[Request], run: Run, *arguments: str) -> dict[str, Any]:
    """Send requests that wrk.lua picks at random. Return its figures. Raises `CommandError`."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.writelines(f"{request.line()}\n" for request in requests)
        file.flush()
        options = ["-t1", f"-c{run.connections}", f"-d{run.seconds}s", "--timeout", TIMEOUT, "-s", str(LUA)]
        return read_wrk(output("wrk", *options, url, "--", file.name, str(run.seed), *arguments))


def read_wrk(text: str) -> dict[str, Any]:
    """Return the figures of wrk.lua, which are wrk's last line."""
    return dict(json.loads(text.splitlines()[-1]))


def pgbench(environ: Mapping[str, str], postgres: int | None, statement: str, run: Run) -> Sample:
    """Load Postgres with a statement, prepared, after the lines of pgbench that it needs."""
    before = cpu_seconds(postgres)
    with tempfile.TemporaryDirectory() as folder:
        options = ["-n", "-j1", "-M", "prepared", f"-c{run.connections}", f"-T{run.seconds}"]
        script = Path(folder) / "script"
        script.write_text(statement)
        logged = ["--log", f"--log-prefix={folder}/log", f"--random-seed={run.seed}", "-f", str(script)]
        text = output(str(embedded.bin_dir() / "pgbench"), *options, *logged, environ=environ)
        lines = [line for log in Path(folder).glob("log*") for line in log.read_text().splitlines()]
    # Each line begins with client, transaction and microseconds.
    took = [int(line.split()[2]) / 1e3 for line in lines]
    percentiles = quantiles(took, n=100)
    return Sample(
        requests=len(took),
        rate=read_pgbench(text),
        p50=percentiles[49],
        p99=percentiles[98],
        server_us=NONE,
        postgres_us=(cpu_seconds(postgres) - before) * 1e6 / len(took),
        memory_mb=NONE,
    )


def read_pgbench(text: str) -> float:
    """Return pgbench's statements per second. Raises `CommandError`."""
    rate = re.search(r"^tps = ([0-9.]+)", text, re.MULTILINE)
    if rate is None:
        raise CommandError(f"pgbench: {' '.join(text.split())}")
    return float(rate[1])


def pgbench_script(statement: bytes, **values: str) -> str:
    """Return the service's statement for pgbench, each parameter replaced by its expression in `values`."""
    named = re.sub(r"%\((\w+)\)s", lambda parameter: values[parameter[1]], statement.decode())
    return f"{named.replace('%%', '%')};\n"


def send_each(service: Running, requests: Sequence[Request]) -> None:
    """Send each request once. Raises `CommandError` unless all responses are 200."""
    with urllib3.PoolManager(maxsize=SENDERS) as http, ThreadPoolExecutor(SENDERS) as threads:
        statuses = set(threads.map(lambda request: request.send(http, service.url).status, requests))
    if statuses != {HTTPStatus.OK}:
        raise CommandError(f"the service responds with {statuses}")


def send_many(service: Running, requests: Sequence[Request], count: int) -> None:
    """Send at least `count` requests, picked at random. Raises `CommandError` when one fails."""
    while count > 0:
        sample = wrk(service, None, requests, Run(SENDERS, seconds=5, seed=count))
        if sample.faults or not sample.requests:
            raise CommandError(f"the service fails: {sample.faults or 'no response'}")
        count -= sample.requests


class Burst(NamedTuple):
    """A run: its seconds, the 99th percentile in milliseconds, responses by status, and requests without one."""

    seconds: float
    p99: float
    answers: dict[str, int]
    unanswered: int

    @property
    def rate(self) -> float:
        """Responses of 200 per second."""
        return self.answers.get("200", 0) / self.seconds

    @property
    def neither_200_nor_503(self) -> int:
        """The number of requests with another status, or without a response."""
        return self.unanswered + sum(count for status, count in self.answers.items() if status not in {"200", "503"})


def burst(url: str, paths: Sequence[str], connections: int, seconds: int) -> Burst:
    """Get the paths in a random order, as often as wrk can. Raises `CommandError`."""
    result = run_wrk(url, map(Request, paths), Run(connections, seconds, os.getpid()), "statuses")
    faults = {name: count for name, count in result["faults"].items() if name != "not 200"}
    return Burst(result["seconds"], result["p99"], result["answers"], sum(faults.values()))


def install_wrk() -> None:
    """Install wrk where it is missing and this user may. Raises `CommandError`."""
    if shutil.which("wrk") is not None:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise CommandError("wrk is missing: install it (on Debian and Ubuntu: apt install wrk)")
    tell("installing wrk")
    for step in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", "wrk"]):
        if subprocess.run(["apt-get", *step], stdout=subprocess.DEVNULL, check=False).returncode:
            raise CommandError("wrk is missing, and apt-get can't install it: see above")

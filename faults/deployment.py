"""Processes of the service: overloaded, replaced, killed, without a log; and a backup of its database."""

import math
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import mean

from psycopg.sql import SQL, Identifier

from faults.drill import Figures, at_least, at_most, drill, none_of
from faults.unprotected import without
from faults.writers import PATH, Writers
from harness.balancer import balancing
from harness.environment import PROCESSES, SERVE, Postgres, environment, postgres, serving
from harness.load import Answer, Answers, Client, fresh, getting, load
from harness.ports import HOST, free_port, quiet_port
from harness.postgres import Cluster, cluster, rows
from harness.processes import CLEAN, Running, client_ports, descendants, is_alive, kill, output, total_memory_mb
from harness.waiting import poll, sleep
from harness.wrk import burst, install_wrk
from lib.command_errors import CommandError
from ops.command import ROOT
from ops.create_database import ROLE

PEAK, TEN_TIMES, PEAK_SECONDS, NORMAL_SECONDS, AFTER_SECONDS = 16, 160, 5, 5, 20
STOP_SECONDS, LOG_STOP_SECONDS = 25, 5
# New connections come slowly enough that the machine does not run out of ports for them.
PAUSE, FRESH_PAUSE = 0.01, 0.05
REPLACED_SECONDS, ENDED_SECONDS, PATIENCE = 2, 5, 10
# As a shell redirects the service's output.
LOGS = {
    "a full device": ">/dev/full 2>&1",
    "a pipe whose reader is gone": "> >(:) 2>&1",
    "a pipe that is not read": "> >(exec sleep infinity) 2>&1",
}
# Between the last request that counts and SIGTERM: all of them have been answered, unless they hang.
SETTLE_SECONDS = 0.5
# The same application, run by granian's own command, whose access log is written in the thread of each request.
GRANIAN = (
    *(ROOT / "bin" / "python", "-m", "granian", "--interface", "wsgi", "--factory", "--access-log"),
    *("--workers", str(PROCESSES), "--blocking-threads", "4", "--workers-kill-timeout", "5s", "serve:worker"),
)
LOG_PROTECTION = "the bounded queue between requests and the log (here granian's own access log has none)"
WRITERS, WRITES = 4, 200
RESTORED = "cruddur_restored"
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
# Not as bin/db-restore compares: a mistake of its own would go unnoticed.
CHECKSUM = "SELECT md5(string_agg(counted::text, ' ' ORDER BY counted::text)) FROM {} AS counted"
CHANGE = "UPDATE users SET bio = 'changed after the backup' WHERE handle = %s"


@drill("overload", "a connection to Postgres for each thread of the service", seconds=5)
def overload(*, broken: bool, seconds: int = 30) -> Figures:
    """Open ten times the connections that the peak is reached with, for 30 s."""
    install_wrk()
    with environment() as env:
        # A new process opens its connections and makes its plans.
        burst(env.url, env.pages, PEAK, 2)
        peak = burst(env.url, env.pages, PEAK, PEAK_SECONDS)
        memory = total_memory_mb(env.service.pid)
        if broken:
            # One connection is left.
            env.rows(f"ALTER ROLE {ROLE} CONNECTION LIMIT 1")
            env.terminate_sessions()
        beyond = burst(env.url, env.pages, TEN_TIMES, seconds)
        growth = total_memory_mb(env.service.pid) / memory
        begun = time.monotonic()

        def is_normal() -> bool:
            run = burst(env.url, env.pages, PEAK, 1)
            return bool(run.rate) and run.p99 < 2 * peak.p99 and not run.answers.get("503")

        poll(is_normal, AFTER_SECONDS)
        again = time.monotonic() - begun
        # The machine's other work changes meanwhile: the peak is the mean of before and after.
        peaks = [peak.rate] if broken else [peak.rate, burst(env.url, env.pages, PEAK, PEAK_SECONDS).rate]
    share = 100 * beyond.rate / mean(peaks)
    yield at_least(f"answered 200, of a peak of {mean(peaks):,.0f} a second", 80, share, "%")
    yield none_of("answered neither 200 nor 503", beyond.neither_200_nor_503)
    yield at_most("memory at the end, against the peak's", 1.1, growth, "times")
    yield at_most(f"p99 under twice the usual {peak.p99:.1f} ms again, after", NORMAL_SECONDS, again, "s")


# The short drain still has several of the balancer's checks.
@drill(
    "handover",
    "DRAIN_SECONDS: the service continues to serve for 5 s while /readyz is 503",
    is_short=True,
    turns=2,
    drain="1",
)
def rolling_restart(*, broken: bool, turns: int = 20, drain: str = "5") -> Figures:
    """Stop one of two instances by SIGTERM under load, 20 times, behind a balancer with five checks a second."""
    ports, stops = [quiet_port(), quiet_port()], []
    with postgres() as database, balancing(ports) as balancer, ExitStack() as instances:

        def start(port: str) -> ExitStack:
            settings = {"PORT": port, "DRAIN_SECONDS": "0" if broken else drain}
            # Stopped at the end, if it has not been before.
            instance = instances.enter_context(ExitStack())
            name = ("service", "successor")[ports.index(port)]
            instance.enter_context(serving(database.database_url, name=name, first="/readyz", **settings))
            balancer.wait_for(port)
            return instance

        def post(client: Client) -> Answer:
            token = random.choice(database.people).token
            return client.post(PATH, token, {"message": "hello", "ttl": "1-day"})

        instance, page = start(ports[0]), getting(database.page)
        with (
            load(balancer.url, 4, lambda client: repeated(client, page), pause=PAUSE) as kept,
            load(balancer.url, 3, fresh(page), pause=FRESH_PAUSE) as reading,
            load(balancer.url, 1, fresh(post), pause=FRESH_PAUSE) as writing,
        ):
            for turn in range(turns):
                predecessor, instance = instance, start(ports[(turn + 1) % 2])
                begun = time.monotonic()
                predecessor.close()
                stops.append(time.monotonic() - begun)
    yield none_of(f"failed of {len(reading):,} GETs on connections of their own", reading.failed)
    yield none_of(f"failed of {len(writing):,} POSTs on connections of their own", writing.failed)
    yield none_of(f"failed of {len(kept):,} GETs on connections that are kept, after one repetition", kept.failed)
    yield at_most(f"the slowest of {turns} stops", STOP_SECONDS, max(stops), "s")


def repeated(client: Client, step: Callable[[Client], Answer]) -> Answer:
    """Take the step, and once more when the connection was closed meanwhile."""
    answer = step(client)
    return answer if answer.status else step(client)


@drill("worker-killed", "the main process, which starts another worker (here it is stopped)", is_short=True)
def worker_killed(*, broken: bool) -> Figures:
    """Kill one of the service's processes (-9) under 16 clients."""
    with environment() as env, load(env.url, 16, getting(env.page), pause=0.002) as answers:
        time.sleep(1)
        try:
            if broken:
                os.kill(env.service.pid, signal.SIGSTOP)
            lost, seconds = kill_worker(env.service)
        finally:
            os.kill(env.service.pid, signal.SIGCONT)
        time.sleep(1)
    what = f"failed of {len(answers):,} requests, with {lost} connections in the process"
    # A client that connects again at once may meet the socket of the process that is ending.
    yield at_most(what, 2 * lost, answers.failed, "requests")
    yield at_most("replaced, and the new process answers, after", REPLACED_SECONDS, seconds, "s")


def kill_worker(service: Running) -> tuple[int, float]:
    """Kill a worker. Return the number of its connections, and the seconds until another answers in its place."""
    before = descendants(service.pid)
    connections = {pid: len(client_ports(pid, service.port)) for pid in before}
    victim = max(before, key=connections.__getitem__)
    if not connections[victim]:
        raise CommandError("no process of the service has a connection")
    kill([victim])
    begun = time.monotonic()

    def is_replaced() -> bool:
        now = descendants(service.pid)
        return len(now) >= len(before) and any(answers(pid, service.port) for pid in now - before)

    return connections[victim], time.monotonic() - begun if poll(is_replaced, PATIENCE) else math.inf


def answers(pid: int, port: int) -> bool:
    """Return whether a new connection comes to the process, which answers on it."""
    with closing(HTTPConnection(HOST, port, timeout=1)) as connection, suppress(OSError, HTTPException):
        connection.request("GET", "/livez")
        own_port = connection.sock.getsockname()[1]
        return own_port in client_ports(pid, port) and connection.getresponse().status == HTTPStatus.OK
    return False


@drill("parent-killed", "workers exit with their parent", is_short=True)
def parent_killed(*, broken: bool) -> Figures:
    """Kill the service's first process (-9), and start another on its port."""
    with environment(command=without("parent", when=broken)) as env:
        orphans = descendants(env.service.pid)
        kill([env.service.pid])
        killed = time.monotonic()
        poll(lambda: not any(map(is_alive, orphans)), PATIENCE)
        ended, left = time.monotonic() - killed, [pid for pid in orphans if is_alive(pid)]
        failed = 1
        with suppress(CommandError), serving(env.database_url, name="again", PORT=str(env.service.port)):
            failed = 0
        kill(left)
    yield none_of(f"of {len(orphans)} workers that go on", len(left))
    yield at_most("the last one ended after", ENDED_SECONDS, ended, "s")
    yield none_of("starts on the port that fail", failed)


@drill("log-unwritable", LOG_PROTECTION, is_short=True, seconds=2)
def log_unwritable(*, broken: bool, seconds: int = 10) -> Figures:
    """Read as 8 clients for 10 s with a log to a full device, a pipe without a reader, a pipe not read; then stop."""
    with postgres() as database:
        usual = beside_log(database, "", seconds, broken=broken)[0].p99
        for log, redirection in LOGS.items():
            answers, stop = beside_log(database, redirection, seconds, broken=broken)
            yield none_of(f"failed of {len(answers):,} requests, the log being {log}", answers.failed)
            yield at_most(f"p99, against {usual * 1000:.1f} ms with a file", 2, answers.p99 / usual, "times")
            yield at_most("stop", LOG_STOP_SECONDS, stop, "s")


def beside_log(database: Postgres, redirection: str, seconds: int, *, broken: bool) -> tuple[Answers, float]:
    """Return the answers of a service with that log, those that hung among them, and the seconds of its stop."""
    port = free_port()
    settings = {"PORT": port, "GRANIAN_PORT": port}
    command = ["bash", "-c", f'exec "$0" "$@" {redirection}', *(GRANIAN if broken else SERVE)]
    with ExitStack() as stack:
        service = stack.enter_context(serving(database.database_url, command, **settings))
        with load(service.url, 8, getting(database.page)) as answers:
            span = sleep(seconds)
            _, stopped = sleep(SETTLE_SECONDS)
            stack.close()
            stop = time.monotonic() - stopped
    return answers.within(*span), stop


@drill("backup-restored", "the checksum of each table (here a row changes after the backup)", is_short=True)
def backup_restored(*, broken: bool) -> Figures:
    """Run bin/db-backup of a server, under writers and at rest, and bin/db-restore of both into an empty one."""
    with postgres() as source, cluster() as empty, tempfile.TemporaryDirectory() as folder:
        writers = Writers(source.people)
        busy, quiet = Path(folder) / "busy", Path(folder) / "quiet"
        with serving(source.database_url) as service, load(service.url, WRITERS, writers.write):
            writers.wait_for(WRITES)
            script("db-backup", source.cluster, str(busy))
            writers.wait_for(WRITES)
        script("db-backup", source.cluster, str(quiet))
        if broken:
            source.rows(CHANGE, source.people[0].handle)
        script("db-restore", empty, str(quiet), RESTORED)
        before, after = checksums(source.cluster.url()), checksums(empty.url(dbname=RESTORED))
        refused = 1
        with suppress(CommandError):
            # It compares the rows with the backup's manifest.
            script("db-restore", empty, str(busy), f"{RESTORED}_busy")
            refused = 0
    differing = sum(before.get(name) != after.get(name) for name in before.keys() | after.keys())
    yield none_of(f"of {len(before)} tables differ, with {len(writers.acknowledged):,} writes in them", differing)
    yield none_of(f"of 1 backup under {WRITERS} writers is not restored and verified", refused)


def checksums(url: str) -> dict[str, str]:
    """Return a checksum over all rows of each table."""
    checksum = SQL(CHECKSUM)
    return {name: str(rows(url, checksum.format(Identifier(name)).as_string())) for (name,) in rows(url, TABLES)}


def script(name: str, server: Cluster, *arguments: str) -> None:
    """Run one of the database's scripts on a cluster. Raises `CommandError`."""
    output(str(ROOT / "bin" / name), *arguments, environ={**CLEAN, "CONNECTION_URL": server.url()})

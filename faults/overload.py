"""Ten times the load: what is beyond the peak is waited for or refused, and takes nothing from the rest."""

import time
from collections.abc import Iterator, Sequence
from statistics import mean

from bench.install import install_wrk
from faults.drill import Figure, at_least, at_most, none_of
from harness.environment import Ground, ground, serving
from harness.processes import Running, memory_mb, tree
from harness.rush import profiles, rush
from ops.create_database import ROLE

PEAK, TEN_TIMES = 16, 160
PEAK_SECONDS = 5
NORMAL_SECONDS = 5
# What goes on after the service was asked too much, in runs of a second.
AFTER_SECONDS = 20
SERVICE_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"


def overload(seconds: int, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Ask ten times as much for so many seconds."""
    install_wrk()
    with ground() as postgres, serving(postgres.url) as service:
        paths = profiles(postgres)
        # A process that is new makes its connections and its plans.
        rush(service.url, paths, PEAK, 2)
        peak = rush(service.url, paths, PEAK, PEAK_SECONDS)
        before = resident_mb(service)
        if broken:
            take_connections(postgres)
        beyond = rush(service.url, paths, TEN_TIMES, seconds)
        after = resident_mb(service)
        again = normal_again(service, paths, 2 * peak.p99)
        peaks = [peak.rate]
        if not broken:
            # Whatever else the machine has to do changes meanwhile: the peak is that of before and after.
            peaks.append(rush(service.url, paths, PEAK, PEAK_SECONDS).rate)
    share = 100 * beyond.rate / mean(peaks)
    yield at_least(f"answered 200, of a peak of {mean(peaks):,.0f} a second", 80, share, "%")
    yield none_of("answered neither 200 nor 503", beyond.odd)
    yield at_most("memory at the end, against the peak's", 1.1, after / before, "times")
    yield at_most(f"p99 under twice the usual {peak.p99:.1f} ms again, after", NORMAL_SECONDS, again, "s")


def take_connections(postgres: Ground) -> None:
    """Leave the service one connection of those that it has a thread for each."""
    postgres.rows(f"ALTER ROLE {ROLE} CONNECTION LIMIT 1")
    postgres.rows(SERVICE_SESSIONS, ROLE)


def resident_mb(service: Running) -> float:
    """What the service's processes hold."""
    return sum(memory_mb(pid, "VmRSS") for pid in tree(service.pid))


def normal_again(service: Running, paths: Sequence[str], p99: float) -> float:
    """After how many seconds a run of one second has ended that was as it should be."""
    begun = time.monotonic()
    while time.monotonic() - begun < AFTER_SECONDS:
        found = rush(service.url, paths, PEAK, 1)
        if found.rate and found.p99 < p99 and not found.answers.get("status 503"):
            break
    return time.monotonic() - begun

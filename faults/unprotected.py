"""`bin/serve` without one of its protections, named by the argument: for `bin/faults --break`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import serve
from harness.environment import SERVE
from lib import body, replicated_database
from lib.consistency import Consistency
from lib.pool import DatabasePool
from lib.queries import BoundedScan, PagedQuery
from ops.command import ROOT
from routes import activities
from services import search_activities

USUAL_SERVER, GRANIAN_DEFAULTS = serve.Server, {"http", "http1_settings", "backpressure"}


def default_server(*arguments: Any, **settings: Any) -> serve.Server:
    """Return a server with granian's own defaults: HTTP/2, headers of 400 KB, no idle timeout that counts."""
    ours = {name: value for name, value in settings.items() if name not in GRANIAN_DEFAULTS}
    return USUAL_SERVER(*arguments, **ours)


def nothing(*_: object) -> None:
    """Stand in for a protection."""


def yes(*_: object) -> bool:
    """Stand in for a check."""
    return True


UNBOUNDED_SEARCH = PagedQuery("activities/search", scan=BoundedScan("activities/newest", sys.maxsize))
# Each protection's attributes, and their replacements.
PROTECTIONS: dict[str, list[tuple[object, str, object]]] = {
    "server": [(serve, "Server", default_server)],
    "unread": [(serve, "limit_unread_responses", nothing)],
    "parent": [(serve, "end_with_parent", nothing)],
    # Any number of searches at once, each through all activities.
    "searches": [(activities, "SEARCHES", sys.maxsize), (search_activities, "SEARCH", UNBOUNDED_SEARCH)],
    "readers": [(body, "READERS", sys.maxsize)],
    # `nothing` is false: no idle connection answers.
    "idle-probe": [(DatabasePool, "_probe_idle_connection", nothing)],
    # A standby's response counts however old it is, and a standby's failure is the client's.
    "seen": [(Consistency, "is_behind_floor", nothing), (Consistency, "accept", yes)],
    "fallback": [(replicated_database, "STANDBY_FAILURES", ())],
}


def without(protection: str, *, when: bool) -> Sequence[str | Path]:
    """Return the command that serves without it, or the usual one."""
    return (ROOT / "bin" / "python", "-m", "faults.unprotected", protection) if when else SERVE


if __name__ == "__main__":
    # granian's workers import the module that is changed here.
    for attribute in PROTECTIONS[sys.argv[1]]:
        setattr(*attribute)
    serve.main()

"""`bin/serve` without one of its protections, named by the argument: for `bin/faults --break`."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import serve
from harness.environment import SERVE
from lib import body
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


def unbounded_searches() -> None:
    """Let any number of searches run at once, each through all activities."""
    activities.SEARCHES = sys.maxsize
    search_activities.SEARCH = PagedQuery("activities/search", scan=BoundedScan("activities/newest", sys.maxsize))


PROTECTIONS: dict[str, Callable[[], None]] = {
    "server": partial(setattr, serve, "Server", default_server),
    "unread": partial(setattr, serve, "limit_unread_responses", nothing),
    "parent": partial(setattr, serve, "end_with_parent", nothing),
    "searches": unbounded_searches,
    "readers": partial(setattr, body, "READERS", sys.maxsize),
    # `nothing` is false: no idle connection answers.
    "idle-probe": partial(setattr, DatabasePool, "_probe_idle_connection", nothing),
}


def without(protection: str, *, when: bool) -> Sequence[str | Path]:
    """Return the command that serves without it, or the usual one."""
    return (ROOT / "bin" / "python", "-m", "faults.unprotected", protection) if when else SERVE


if __name__ == "__main__":
    # granian's workers import the module that is changed here.
    PROTECTIONS[sys.argv[1]]()
    serve.main()

"""The drills in which the service itself, or what it leans on besides Postgres, has a bad day."""

from functools import partial

from faults.collector_away import collector_away
from faults.drill import Drill
from faults.handover import handover
from faults.keys_away import keys_away
from faults.log_unwritable import log_unwritable
from faults.overload import overload
from faults.restored import restored
from faults.worker_killed import worker_killed

DRILLS = [
    Drill(
        "overload",
        "ten times the connections that the peak is reached with, for 30 s",
        "the service has a connection to Postgres for each of its threads",
        partial(overload, 30),
        run_short=partial(overload, 5),
    ),
    Drill(
        "handover",
        "SIGTERM under load, 20 times, behind a balancer that asks for /readyz five times a second, and that has a "
        "second instance to send new connections to",
        "DRAIN_SECONDS: the service goes on for 5 s while /readyz says 503",
        # bin/serve's own default; and for the short form what still is several of the balancer's questions.
        partial(handover, 20, "5"),
        is_short=True,
        run_short=partial(handover, 2, "1"),
    ),
    Drill(
        "worker-killed",
        "one of the service's processes killed (-9) under 16 clients",
        "the first process, which starts another in its place (it is stopped)",
        worker_killed,
        is_short=True,
    ),
    Drill(
        "keys-away",
        "Cognito's keys unreachable for 65 s: packets to them get no answer",
        "the keys that are known are kept (here none ever was)",
        partial(keys_away, 65),
        is_short=True,
        run_short=partial(keys_away, 4),
    ),
    Drill(
        "collector-away",
        "the collector of traces down (connections refused), and hanging (accepted, and not answered)",
        "the bound of the queue of spans, OTEL_BSP_MAX_QUEUE_SIZE",
        collector_away,
    ),
    Drill(
        "log-unwritable",
        "8 readers for 10 s with a log that goes to a full device, to a pipe whose reader is gone, and to a pipe "
        "that is not read; then SIGTERM",
        "the bounded queue between requests and the log (here granian's own access log has none)",
        partial(log_unwritable, 10),
        is_short=True,
        run_short=partial(log_unwritable, 2),
    ),
    Drill(
        "backup-restored",
        "bin/db-backup of one server, under writers and at rest; bin/db-restore of both into another that is empty",
        "that nothing changes after the backup (here a row does)",
        restored,
        is_short=True,
    ),
]

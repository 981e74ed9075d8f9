"""The drills in which what surrounds the service changes: files that it may open, the clock, names, certificates."""

from functools import partial

from faults.address_change import address_change
from faults.certificate_expired import certificate_expired
from faults.clock_back import clock_back
from faults.drill import Drill
from faults.open_files import open_files

DRILLS = [
    Drill(
        "open-files",
        "600 connections that send nothing, to a service whose processes may open 256 files",
        "IDLE_TIMEOUT_SECONDS, which closes them (here granian's defaults)",
        open_files,
    ),
    Drill(
        "clock-back",
        "the service's clock set back by an hour, under 8 readers and 2 writers",
        "deadlines and caches that go by the monotonic clock (here that is set back too)",
        partial(clock_back, 8),
        run_short=partial(clock_back, 3),
    ),
    Drill(
        "address-change",
        "Postgres moved to another address, and 3 s later its name",
        "the name, which is resolved for each new connection (here hostaddr in the URL pins the address)",
        partial(address_change, 3),
        run_short=partial(address_change, 1),
    ),
    Drill(
        "certificate-expired",
        "Postgres' certificate replaced by one that has expired, every session ended, and 5 s later a renewed one",
        "sslmode=verify-full (here require, which verifies nothing)",
        partial(certificate_expired, 5),
        run_short=partial(certificate_expired, 2),
    ),
]

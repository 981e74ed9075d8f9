"""The database's name gets another address, and nothing listens on the old one any more."""

import time
from collections.abc import Iterator
from pathlib import Path

from psycopg.conninfo import make_conninfo

from faults.drill import Figure, at_most, none_of
from harness.environment import ground, serving
from harness.load import getting, load, not_ok, wait_for_ok
from harness.postgres import HOST, folder
from lib.command_errors import CommandError

NAME = "database.test"
OLD, NEW = "127.0.0.2", "127.0.0.3"
READERS, PAUSE = 4, 0.01
PATIENCE, WELL_SECONDS = 20.0, 2.0
# Each process finds out by itself.
PROBE_SECONDS = 0.5


def nss_wrapper() -> Path:
    """Return the library that answers for the hosts file. Raises `CommandError` where there is none."""
    found = sorted(Path("/usr/lib").glob("**/libnss_wrapper.so"))
    if not found:
        raise CommandError("needs nss_wrapper, such as Debian's package libnss-wrapper")
    return found[0]


def address_change(seconds: float, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Move Postgres to another address, and only so many seconds later its name."""
    library = nss_wrapper()
    with folder() as own, ground(options={"listen_addresses": f"{HOST},{OLD}"}) as postgres:
        hosts = own / "hosts"
        hosts.write_text(f"{OLD} {NAME}\n")
        settings = {"LD_PRELOAD": str(library), "NSS_WRAPPER_HOSTS": str(hosts)}
        pinned = {"hostaddr": OLD} if broken else {}
        url = make_conninfo(postgres.url, host=NAME, **pinned)
        with serving(url, **settings) as service:
            page = f"/api/activities/@{postgres.people[0].handle}"
            with load(service.url, READERS, getting(page), pause=PAUSE) as answers:
                time.sleep(0.5)
                postgres.cluster.stop()
                postgres.cluster.options["listen_addresses"] = f"{HOST},{NEW}"
                postgres.cluster.start()
                time.sleep(seconds)
                away = not answers[-1].is_ok
                hosts.write_text(f"{NEW} {NAME}\n")
                changed = time.monotonic()
                first = wait_for_ok(answers, changed, patience=PATIENCE)
                time.sleep(WELL_SECONDS)
            later = [answer for answer in answers if answer.sent > first.ended + PROBE_SECONDS]
    yield none_of("answers by way of the old address", int(not away))
    yield at_most("first 200 after the change of the name", 5, first.ended - changed, "s")
    yield none_of(f"failed of {len(later):,} requests from {PROBE_SECONDS} s after that on", not_ok(later))

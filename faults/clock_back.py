"""The service's clock, set back by an hour: by libfaketime, for the service's processes alone."""

import time
from collections.abc import Iterator
from pathlib import Path

from faults.drill import Figure, at_least, at_most, none_of
from faults.writers import PATH, Writers
from harness.environment import FIRST_PAGE, Person, ground, serving
from harness.load import NEVER, Client, ended_within, getting, load, not_ok, slowest, wait_for_ok
from harness.postgres import folder
from lib.command_errors import CommandError

READERS, WRITERS, PAUSE = 4, 2, 0.01
BEFORE_SECONDS, STALE_SECONDS, PATIENCE = 1.0, 2.0, 10.0
TURNS = 10


def libfaketime() -> Path:
    """Return the library for processes with threads. Raises `CommandError` where there is none."""
    found = sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))
    if not found:
        raise CommandError("needs libfaketime, such as Debian's package faketime")
    return found[0]


def clock_back(seconds: float, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Set the clock back under readers, writers and readers of the cached page, and go on for so many seconds."""
    library = libfaketime()
    with folder() as own, ground() as postgres:
        clock = own / "clock"
        clock.write_text("+0\n")
        settings = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "0" if broken else "1",
        }
        writers = Writers(postgres.people)
        with serving(postgres.url, **settings) as service:
            page = f"/api/activities/@{postgres.people[0].handle}"
            with (
                load(service.url, READERS, getting(page), pause=PAUSE) as readers,
                load(service.url, READERS, getting(FIRST_PAGE), pause=PAUSE) as cached,
                load(service.url, WRITERS, writers.write, pause=PAUSE) as written,
            ):
                time.sleep(BEFORE_SECONDS)
                clock.write_text("-1h\n")
                back = time.monotonic()
                time.sleep(seconds)
                first = wait_for_ok(readers, back, patience=PATIENCE)
            missing = is_missing(service.url, postgres.people[0])
            alive = [Client(service.url, timeout=2).get("/livez") for _ in range(TURNS)]
    answers = [answer for each in (readers, cached, written) for answer in ended_within(each, back, NEVER)]
    yield at_least("requests after that", 1, len(answers), "of them")
    yield none_of(f"failed of {len(answers):,} requests after that", not_ok(answers))
    yield at_most("slowest of them", 2.5, slowest(answers), "s")
    yield at_most("first 200 after that", 2, first.ended - back, "s")
    yield none_of("activities not on the cached first page after 2 s", int(missing))
    yield none_of(f"/livez not 200, of {len(alive)}", not_ok(alive))


def is_missing(url: str, author: Person) -> bool:
    """Return whether a new activity is not on the cached first page after 2 s."""
    uuid = Client(url).post(PATH, author.token, {"message": "after the clock", "ttl": "1-day"}).json()["uuid"]
    time.sleep(STALE_SECONDS)
    page = Client(url).get(FIRST_PAGE)
    return not page.is_ok or uuid not in {activity["uuid"] for activity in page.json()}

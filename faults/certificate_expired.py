"""The certificate of Postgres expires, and is renewed later: Postgres' own TLS, verified by libpq."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from psycopg.conninfo import make_conninfo

from faults.drill import Figure, at_least, at_most, none_of
from harness.certificates import DAY, Identity, signed
from harness.environment import Ground, fill, serving
from harness.load import ended_within, getting, load, not_ok, wait_for_ok
from harness.postgres import HOST, Cluster, folder
from lib.command_errors import CommandError

NAME = "database.test"
READERS, PAUSE = 4, 0.01
# Until connections of requests under way have been noticed as lost.
NOTICE_SECONDS, WELL_SECONDS, PATIENCE = 1.0, 2.0, 20.0
VALID, EXPIRED = DAY, timedelta(minutes=-1)
TERMINATE = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'cruddur_service'"


def tls_programs() -> Path:
    """Return the folder of a Postgres with TLS: the embedded one has none. Raises `CommandError` where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        raise CommandError("needs a Postgres with TLS, such as Debian's package postgresql")
    return found[-1]


def install(cluster: Cluster, ca: Identity, expires_in: timedelta) -> None:
    """Give the server a new certificate. It is read at the start, and by a reload."""
    server = signed(NAME, ca, expires_in=expires_in)
    (cluster.data / "server.pem").write_bytes(server.pem() + server.key_pem())


def certificate_expired(seconds: float, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Have the certificate be an expired one for so many seconds, and every session end meanwhile."""
    options = {"ssl": "on", "ssl_cert_file": "server.pem", "ssl_key_file": "server.pem"}
    with folder() as own:
        cluster = Cluster(own, options=options, bin_folder=tls_programs())
        cluster.make()
        ca = signed("The drill's CA")
        (own / "ca.pem").write_bytes(ca.pem())
        (cluster.data / "server.pem").touch(mode=0o600)
        install(cluster, ca, VALID)
        try:
            cluster.start()
            yield from expire(Ground(cluster, fill(cluster)), ca, seconds, broken=broken)
        finally:
            cluster.end()


def expire(postgres: Ground, ca: Identity, seconds: float, *, broken: bool) -> Iterator[Figure]:
    """Let the certificate expire under readers, and renew it."""
    cluster = postgres.cluster
    words = (
        {"sslmode": "require"}
        if broken
        else {"sslmode": "verify-full", "sslrootcert": str(cluster.log.parent / "ca.pem")}
    )
    url = make_conninfo(postgres.url, host=NAME, hostaddr=HOST, **words)
    with serving(url) as service:
        page = f"/api/activities/@{postgres.people[0].handle}"
        with load(service.url, READERS, getting(page), pause=PAUSE) as answers:
            install(cluster, ca, EXPIRED)
            postgres.rows("SELECT pg_reload_conf()")
            begun = time.monotonic()
            time.sleep(NOTICE_SECONDS)
            before = ended_within(answers, begun, time.monotonic())
            postgres.rows(TERMINATE)
            ended = time.monotonic()
            time.sleep(seconds)
            expired = [answer for answer in ended_within(answers, ended, time.monotonic()) if answer.sent > ended]
            install(cluster, ca, VALID)
            postgres.rows("SELECT pg_reload_conf()")
            renewed = time.monotonic()
            first = wait_for_ok(answers, renewed, patience=PATIENCE)
            time.sleep(WELL_SECONDS)
        later = [answer for answer in answers if answer.sent > first.ended]
        said = service.log.read_text().count("certificate verify failed")
    yield none_of(f"failed of {len(before):,} requests, the certificate expired and connections there", not_ok(before))
    yield none_of(f"answered 200 of {len(expired):,}, every session ended", len(expired) - not_ok(expired))
    yield at_least("lines of the log that name the cause", 1, said, "lines")
    yield at_most("first 200 after the renewal", 5, first.ended - renewed, "s")
    yield none_of(f"failed of {len(later):,} requests after that", not_ok(later))

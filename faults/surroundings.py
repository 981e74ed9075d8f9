"""Drills of the service's surroundings: open files, the clock, host names, certificates."""

import time
from contextlib import ExitStack
from datetime import timedelta

from psycopg.conninfo import make_conninfo

from faults.drill import Figures, at_least, at_most, drill, none_of
from faults.unprotected import without
from faults.writers import PATH, Writers
from harness.certificates import signed
from harness.environment import HOME_FEED, Postgres, environment, fill, postgres, serving
from harness.load import Answer, Answers, Client, fresh, getting, load
from harness.ports import HOST
from harness.postgres import TLS_HOST, folder, running, tls_cluster
from harness.processes import library, tree
from harness.raw_clients import raw_clients
from harness.waiting import sleep

PAUSE = 0.01
# The least that the service starts with.
FILES, CONNECTIONS, FILES_PATIENCE = 256, 600, 30
STALE_SECONDS = 2.0
OLD, NEW = "127.0.0.2", "127.0.0.3"
# Each process resolves the name by itself.
PROBE_SECONDS = 0.5
EXPIRED = timedelta(minutes=-1)


@drill("open-files", "IDLE_TIMEOUT_SECONDS, which closes idle connections (here granian's defaults)")
def open_files(*, broken: bool) -> Figures:
    """Open 600 connections that send nothing, to a service whose processes may open 256 files."""
    command = ("prlimit", f"--nofile={FILES}:{FILES}", *without("server", when=broken))
    with environment(command=command) as env:
        before = tree(env.service.pid)
        with raw_clients(env.url, CONNECTIONS):
            opened = time.monotonic()
            meanwhile = ask_until_ok(env.url, 8 if broken else FILES_PATIENCE)
        closed = time.monotonic()
        after = ask_until_ok(env.url, FILES_PATIENCE)
        with load(env.url, 4, getting(env.page), pause=PAUSE) as answers:
            time.sleep(2)
        ended = set(before) - set(tree(env.service.pid))
    yield at_most(f"first 200 while {CONNECTIONS} connections are open", FILES_PATIENCE, meanwhile.ended - opened, "s")
    yield at_most("first 200 after they were closed", 2, after.ended - closed, "s")
    yield none_of(f"failed of {len(answers):,} requests after that", answers.failed)
    yield none_of(f"of {len(before)} processes ended", len(ended))


def ask_until_ok(url: str, patience: float) -> Answer:
    """Return the first 200 of /livez, each time on a new connection, or the answer that never comes."""
    with load(url, 1, fresh(getting("/livez")), pause=0.05, timeout=1) as answers:
        return answers.wait_for_ok(time.monotonic(), patience=patience)


@drill("clock-back", "deadlines and caches on the monotonic clock (here that clock is set back too)", seconds=3)
def clock_back(*, broken: bool, seconds: float = 8) -> Figures:
    """Set the service's clock back by an hour, under 8 readers and 2 writers."""
    faketime = library("**/faketime/libfaketimeMT.so.1", "faketime")
    with folder() as own, ExitStack() as stack:
        clock = own / "clock"
        clock.write_text("+0\n")
        settings = {
            "LD_PRELOAD": str(faketime),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "0" if broken else "1",
        }
        env = stack.enter_context(environment(settings=settings))
        with (
            load(env.url, 4, getting(env.page), pause=PAUSE) as readers,
            load(env.url, 4, getting(HOME_FEED), pause=PAUSE) as cached,
            load(env.url, 2, Writers(env.people).write, pause=PAUSE) as written,
        ):
            time.sleep(1)
            clock.write_text("-1h\n")
            back = time.monotonic()
            time.sleep(seconds)
            first = readers.wait_for_ok(back, patience=10)
        message = {"message": "after the clock", "ttl": "1-day"}
        uuid = Client(env.url).post(PATH, env.people[0].token, message).json()["uuid"]
        time.sleep(STALE_SECONDS)
        page = Client(env.url).get(HOME_FEED)
        missing = not page.is_ok or uuid not in {activity["uuid"] for activity in page.json()}
        alive = Answers(Client(env.url, timeout=2).get("/livez") for _ in range(10))
    later = Answers(answer for each in (readers, cached, written) for answer in each.within(back))
    yield at_least("requests after that", 1, len(later), "of them")
    yield none_of(f"failed of {len(later):,} requests after that", later.failed)
    yield at_most("slowest of them", 2.5, later.slowest, "s")
    yield at_most("first 200 after that", 2, first.ended - back, "s")
    yield none_of("activities not on the cached first page after 2 s", int(missing))
    yield none_of(f"/livez not 200, of {len(alive)}", alive.failed)


@drill("address-change", "resolution of the name for each new connection (here hostaddr pins the address)", seconds=1)
def address_change(*, broken: bool, seconds: float = 3) -> Figures:
    """Move Postgres to another address, and 3 s later its name."""
    nss_wrapper = library("**/libnss_wrapper.so", "libnss-wrapper")
    with folder() as own, postgres(options={"listen_addresses": f"{HOST},{OLD}"}) as database:
        hosts = own / "hosts"
        hosts.write_text(f"{OLD} {TLS_HOST}\n")
        settings = {"LD_PRELOAD": str(nss_wrapper), "NSS_WRAPPER_HOSTS": str(hosts)}
        pinned = {"hostaddr": OLD} if broken else {}
        with (
            serving(make_conninfo(database.database_url, host=TLS_HOST, **pinned), **settings) as service,
            load(service.url, 4, getting(database.page), pause=PAUSE) as answers,
        ):
            time.sleep(0.5)
            database.cluster.stop()
            database.cluster.options["listen_addresses"] = f"{HOST},{NEW}"
            database.cluster.start()
            time.sleep(seconds)
            away = not answers[-1].is_ok
            hosts.write_text(f"{NEW} {TLS_HOST}\n")
            changed = time.monotonic()
            first = answers.wait_for_ok(changed, patience=20)
            time.sleep(2)
    later = answers.sent_after(first.ended + PROBE_SECONDS)
    yield none_of("answers by way of the old address", int(not away))
    yield at_most("first 200 after the change of the name", 5, first.ended - changed, "s")
    yield none_of(f"failed of {len(later):,} requests from {PROBE_SECONDS} s after that on", later.failed)


@drill("certificate-expired", "sslmode=verify-full (here `require`, which verifies no certificate)", seconds=2)
def certificate_expired(*, broken: bool, seconds: float = 5) -> Figures:
    """Replace Postgres' certificate by one that has expired, end every session, and 5 s later renew it."""
    with folder() as own:
        ca = signed("The drill's CA")
        cluster = tls_cluster(own, ca)
        words = {"sslmode": "require"} if broken else {"sslmode": "verify-full", "sslrootcert": str(own / "ca.pem")}
        with running(cluster):
            database = Postgres(cluster, fill(cluster))
            url = make_conninfo(database.database_url, host=TLS_HOST, hostaddr=HOST, **words)
            with serving(url) as service, load(service.url, 4, getting(database.page), pause=PAUSE) as answers:
                cluster.install_certificate(ca, EXPIRED)
                # Until connections that are lost under a request have been noticed.
                before = answers.within(*sleep(1))
                database.terminate_sessions()
                ended, renewal = sleep(seconds)
                expired = answers.within(ended, renewal).sent_after(ended)
                cluster.install_certificate(ca)
                renewed = time.monotonic()
                first = answers.wait_for_ok(renewed, patience=20)
                time.sleep(2)
            lines = service.log.read_text().count("certificate verify failed")
    later = answers.sent_after(first.ended)
    yield none_of(f"failed of {len(before):,} requests, the certificate expired and connections there", before.failed)
    yield none_of(f"answered 200 of {len(expired):,}, every session ended", len(expired) - expired.failed)
    yield at_least("lines of the log that name the cause", 1, lines, "lines")
    yield at_most("first 200 after the renewal", 5, first.ended - renewed, "s")
    yield none_of(f"failed of {len(later):,} requests after that", later.failed)

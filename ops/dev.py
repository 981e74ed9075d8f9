"""Serve the seeded feed on this machine, with the embedded Postgres unless CONNECTION_URL is set."""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection
from types import FrameType

from psycopg.conninfo import make_conninfo

from lib.checks import SCHEMA, check_port
from lib.config import Config
from ops import dev_keys
from ops.command import ROOT, Database, env_text, open_database, run
from ops.create_database import ROLE, create
from ops.migrate import migrate
from ops.schema_load import load_schema, schema_revision
from ops.seed import load_seed

# <linux/prctl.h>
PR_SET_PDEATHSIG = 1
STDOUT = 1
FRONTEND_URL = "http://localhost:3000"


def prepare(database: Database, service_url: str) -> None:
    """Create, load and seed the database where it is new; take it forward where it is old. Raises `CommandError`."""
    create(database, service_url=service_url)
    with database.connect() as connection:
        found = schema_revision(connection)
        if found is None:
            database.confirm("puts the seed into", connection)
            step(f"Loading the schema and the seed into the database {database.name}")
            # Both or neither: an interruption in between would leave a feed that is empty for ever.
            with connection.transaction():
                load_schema(connection)
                load_seed(connection)
    if found is not None and found < SCHEMA:
        step(f"Migrating the database {database.name} from schema {found} to {SCHEMA}")
        migrate(database)


def add_settings() -> None:
    """Add our defaults to what the environment leaves open, and our key pair where it names no pool."""
    # Nobody is to be told to go elsewhere: there is nobody else.
    for name, value in {"FRONTEND_URL": FRONTEND_URL, "DRAIN_SECONDS": "0"}.items():
        os.environ[name] = os.environ.get(name) or value
    if not dev_keys.configured_pool_settings():
        os.environ.update(dev_keys.settings())


def serve(environ: dict[str, str], config: Config, url: str) -> int:
    """Run bin/serve until it ends or a signal ends it. Returns its exit status, as a shell has it."""
    server = subprocess.Popen(
        [ROOT / "bin" / "serve"],
        env=environ,
        preexec_fn=end_with_parent,
        # Of its own, so that Ctrl-C reaches it once, by us, and not each of its processes too.
        process_group=0,
    )

    def pass_on(number: int, _: FrameType | None) -> None:
        server.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    if answers(config, server):
        say(f"Cruddur serves its feed at {url}/api/activities/home")
        say(f"{url}/docs documents the API, and {url}/ links to both")
        if not dev_keys.configured_pool_settings():
            say("bin/dev-token andrewbrown prints a token to sign in with")
    status = server.wait()
    return status if status >= 0 else 128 - status


def step(line: str) -> None:
    """Tell a terminal what is done next: the first start takes some seconds."""
    if os.isatty(STDOUT):
        say(f"{line} ...")


def say(line: str) -> None:
    """Print a line, unless that would fail or wait: the service runs, whether or not its output is read."""
    with suppress(OSError):
        if select.select([], [STDOUT], [], 0)[1]:
            os.write(STDOUT, f"{line}\n".encode())


def answers(config: Config, server: "subprocess.Popen[bytes]") -> bool:
    """Wait until the service answers. False when `server` ends before."""
    while server.poll() is None:
        try:
            with closing(HTTPConnection(config.host, config.port, timeout=1)) as connection:
                connection.request("HEAD", "/api/health-check")
                return connection.getresponse().status == HTTPStatus.OK
        except OSError:
            time.sleep(0.05)
    return False


def end_with_parent() -> None:
    """Have the kernel stop this process when the one that started it is killed. On Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> int:
    """Run the command."""
    ArgumentParser(prog="bin/dev", description=__doc__).parse_args()
    # Until the server runs, SIGTERM is Ctrl-C: what was begun is put back in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    add_settings()
    # Before a Postgres is started for nothing. Its URL is not known yet.
    config = Config.load(connection_url=os.environ.get("CONNECTION_URL") or "dbname=cruddur")
    url = (env_text("BACKEND_URL", "a URL", "http://localhost:4567") or f"http://localhost:{config.port}").rstrip("/")
    check_port(config)
    if not dev_keys.configured_pool_settings():
        dev_keys.load_or_create()
    step("Starting Postgres" if not os.environ.get("CONNECTION_URL") else "Connecting to Postgres")
    with open_database() as db:
        environ = {**os.environ, "CONNECTION_URL": db.url}
        if db.is_embedded:
            environ["SERVICE_CONNECTION_URL"] = make_conninfo(db.url, user=ROLE)
        prepare(db, environ.get("SERVICE_CONNECTION_URL", ""))
        step("Starting the service")
        return serve(environ, config, url)


if __name__ == "__main__":
    run(main)

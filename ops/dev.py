"""Serve Cruddur with the seed on this machine. Without CONNECTION_URL, start the embedded Postgres."""

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
from ops.dev_token import create_access_token
from ops.migrate import migrate
from ops.schema_load import load_schema, schema_revision
from ops.seed import load_seed

# <linux/prctl.h>
PR_SET_PDEATHSIG = 1
STDOUT = 1
# The users of db/seed.sql, which has a fixed uuid for each.
FIND_SEEDED_USERS = """
    SELECT users.handle, users.cognito_user_id
    FROM users
    WHERE
        users.uuid BETWEEN '5eed0000-0000-4000-8000-000000000001' AND '5eed0000-0000-4000-8000-000000000005'
        AND users.cognito_user_id IS NOT NULL
    ORDER BY users.uuid
"""
FRONTEND_URL = "http://localhost:3000"


def prepare_database(database: Database, service_url: str) -> None:
    """Create, load and seed a new database; migrate an old one. Raises `CommandError`."""
    create(database, service_url=service_url)
    with database.connect() as connection:
        revision = schema_revision(connection)
        if revision is None:
            database.confirm("puts the seed into", connection)
            print_step(f"Loading the schema and the seed into the database {database.name}")
            # In one transaction: an interruption in between would leave an empty feed for ever.
            with connection.transaction():
                load_schema(connection)
                load_seed(connection)
    if revision is not None and revision < SCHEMA:
        print_step(f"Migrating the database {database.name} from schema {revision} to {SCHEMA}")
        migrate(database)


def set_default_settings() -> None:
    """Set the missing environment variables: the defaults for development, and without a pool the key pair's."""
    # No drain on this machine: there is no other instance for new requests.
    for name, value in {"FRONTEND_URL": FRONTEND_URL, "DRAIN_SECONDS": "0"}.items():
        os.environ[name] = os.environ.get(name) or value
    if not dev_keys.configured_pool_settings():
        os.environ.update(dev_keys.settings())


def welcome(database: Database, url: str) -> list[str]:
    """Return the lines about the running service. With the development key pair each seeded user has a link.

    The link signs in on the page. Browsers send no fragment to a server, so no server's log contains the token.
    """
    lines = [
        f"Cruddur is at {url}/",
        f"{url}/docs documents the API, and {url}/api/activities/home is the home feed",
    ]
    if dev_keys.configured_pool_settings():
        return lines
    with database.connect() as connection:
        users = connection.execute(FIND_SEEDED_USERS).fetchall()
    key = dev_keys.load_or_create()
    links = [f"Sign in as {handle}: {url}/#token={create_access_token(key, sub)}" for handle, sub in users]
    return [*lines, "bin/dev-token andrewbrown prints a token for requests to the API", *links]


def serve(environ: dict[str, str], config: Config, lines: list[str]) -> int:
    """Run bin/serve until it exits, and stop it on a signal. Returns its exit status, as a shell reports it.

    Print the lines as soon as the service responds.
    """
    server = subprocess.Popen(
        [ROOT / "bin" / "serve"],
        env=environ,
        preexec_fn=set_parent_death_signal,
        # In a process group of its own, the service gets no Ctrl-C, and one signal from the handler below.
        process_group=0,
    )

    def stop(_number: int, _frame: FrameType | None) -> None:
        # SIGTERM for Ctrl-C too: before it becomes the service, the process is bash, which may lose SIGINT.
        server.terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if wait_until_ready(config, server):
        for line in lines:
            print_line(line)
    status = server.wait()
    return status if status >= 0 else 128 - status


def print_step(line: str) -> None:
    """Print the next step on a terminal: the first start takes some seconds."""
    if os.isatty(STDOUT):
        print_line(f"{line} ...")


def print_line(line: str) -> None:
    """Print a line, unless the write would fail or block. The service does not depend on a reader of its output."""
    with suppress(OSError):
        if select.select([], [STDOUT], [], 0)[1]:
            os.write(STDOUT, f"{line}\n".encode())


def wait_until_ready(config: Config, server: "subprocess.Popen[bytes]") -> bool:
    """Wait until the service responds. Returns False if `server` exits before that."""
    while server.poll() is None:
        try:
            with closing(HTTPConnection(config.host, config.port, timeout=1)) as connection:
                connection.request("HEAD", "/api/health-check")
                return connection.getresponse().status == HTTPStatus.OK
        except OSError:
            time.sleep(0.05)
    return False


def set_parent_death_signal() -> None:
    """Ask the kernel to send SIGTERM to this process when its parent ends. Only Linux has this."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> int:
    """Run the command."""
    ArgumentParser(prog="bin/dev", description=__doc__).parse_args()
    # Until the server runs, SIGTERM cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    set_default_settings()
    # Check the settings before Postgres starts. The embedded server's URL is not known yet.
    config = Config.load(connection_url=os.environ.get("CONNECTION_URL") or "dbname=cruddur")
    url = (env_text("BACKEND_URL", "a URL", "http://localhost:4567") or f"http://localhost:{config.port}").rstrip("/")
    check_port(config)
    if not dev_keys.configured_pool_settings():
        dev_keys.load_or_create()
    print_step("Starting Postgres" if not os.environ.get("CONNECTION_URL") else "Connecting to Postgres")
    with open_database() as db:
        environ = {**os.environ, "CONNECTION_URL": db.url}
        if db.is_embedded:
            environ["SERVICE_CONNECTION_URL"] = make_conninfo(db.url, user=ROLE)
        prepare_database(db, environ.get("SERVICE_CONNECTION_URL", ""))
        lines = welcome(db, url)
        print_step("Starting the service")
        return serve(environ, config, lines)


if __name__ == "__main__":
    run(main)

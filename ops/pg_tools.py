"""PostgreSQL's client programs: find one that suits a server, and run it on a database."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lib.command_errors import CommandError
from lib.conninfo import conninfo
from ops import embedded

# The parameters that select one of several servers. An open connection has settled the choice.
HOST_SELECTION = {"target_session_attrs", "load_balance_hosts", "hostaddr"}


class Program(NamedTuple):
    """A program's path and its major version."""

    path: str
    version: int


def find_program(name: str, server: int) -> Program:
    """Return a program of major version `server` or newer. Raises `CommandError`.

    The machine's own comes first, because it speaks TLS; then the wheel's.
    """
    programs = list(installed_programs(name))
    suitable = next((program for program in programs if program.version >= server), None)
    if suitable is None:
        installed = ", ".join(f"{program.path} of version {program.version}" for program in programs) or "none"
        raise CommandError(
            f"the server is Postgres {server}, and {name} refuses one newer than itself; there is {installed}: "
            f"install the PostgreSQL client, version {server} or newer"
        )
    return suitable


def installed_programs(name: str) -> Iterator[Program]:
    """Yield the programs with this name: the one on the PATH, then the one in the wheel."""
    folders: list[str | None] = [None]
    with suppress(CommandError):
        folders.append(str(embedded.bin_dir()))
    for path in filter(None, (shutil.which(name, path=folder) for folder in folders)):
        output = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"\(PostgreSQL\) (\d+)", output)
        if version:
            yield Program(path, int(version[1]))


def connection_args(params: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return a connection string without the password, and environment variables with it.

    Every user of the machine can read a command line.
    """
    password = {"PGPASSWORD": str(params["password"])} if params.get("password") else {}
    return make_conninfo("", **params | {"password": None}), {"PGAPPNAME": "cruddur", **password}


def reached_server_params(url: str, connection: Connection) -> dict[str, Any]:
    """Return the parameters of `url`, with the one server that `connection` has reached."""
    info = connection.info
    params = {name: value for name, value in conninfo_to_dict(conninfo(url)).items() if name not in HOST_SELECTION}
    address = {"hostaddr": info.hostaddr} if info.hostaddr else {}
    return params | {"host": info.host, "port": info.port} | address


def run_program(program: Program, url: str, connection: Connection, *options: str) -> None:
    """Run a program on the database of `url`, on the server of `connection`. Raises `CommandError`."""
    database, environ = connection_args(reached_server_params(url, connection))
    process = subprocess.run(
        [program.path, "--no-password", "--dbname", database, *options],
        # The search for an error below expects English messages.
        env={**os.environ, "LC_ALL": "C", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if process.returncode:
        # The lines after the first error are details, and may quote a row.
        errors = (line for line in process.stderr.splitlines() if ": error: " in line)
        raise CommandError(next(errors, f"{program.path} ended with status {process.returncode}"))

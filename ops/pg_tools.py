"""PostgreSQL's own programs: which one suits a server, and how it is told of the database."""

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

# Which of several servers is meant. Once there is a connection, that is settled.
CHOOSING = {"target_session_attrs", "load_balance_hosts", "hostaddr"}


class Program(NamedTuple):
    """A program, and its major version."""

    path: str
    version: int


def program(name: str, server: int) -> Program:
    """The machine's `name`, which speaks TLS, or else the wheel's: one that is as new as `server`. Raises `CommandError`."""
    found = list(installed(name))
    suited = next((each for each in found if each.version >= server), None)
    if suited is None:
        there = ", ".join(f"{each.path} of version {each.version}" for each in found) or "none"
        raise CommandError(
            f"the server is Postgres {server}, and {name} refuses one newer than itself; there is {there}: "
            f"install the PostgreSQL client, version {server} or newer"
        )
    return suited


def installed(name: str) -> Iterator[Program]:
    """The programs of that name: the one on the PATH, and the one in the wheel."""
    folders: list[str | None] = [None]
    with suppress(CommandError):
        folders.append(str(embedded.bin_dir()))
    for path in filter(None, (shutil.which(name, path=folder) for folder in folders)):
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"\(PostgreSQL\) (\d+)", said)
        if version:
            yield Program(path, int(version[1]))


def told(parts: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """A connection's parts as a program gets them: a connection string, and by the environment the password.

    Everybody on the machine can read a command line.
    """
    password = {"PGPASSWORD": str(parts["password"])} if parts.get("password") else {}
    return make_conninfo("", **parts | {"password": None}), {"PGAPPNAME": "cruddur", **password}


def same_server(url: str, connection: Connection) -> dict[str, Any]:
    """The parts of `url`, where it names several servers for the one that `connection` has reached."""
    reached = connection.info
    parts = {name: value for name, value in conninfo_to_dict(conninfo(url)).items() if name not in CHOOSING}
    address = {"hostaddr": reached.hostaddr} if reached.hostaddr else {}
    return parts | {"host": reached.host, "port": reached.port} | address


def call(program: Program, url: str, connection: Connection, *options: str) -> None:
    """Run a program on the database of `url`, on the server of `connection`. Raises `CommandError`."""
    database, environ = told(same_server(url, connection))
    done = subprocess.run(
        [program.path, "--no-password", "--dbname", database, *options],
        # Its words are looked through below, so they are to be English.
        env={**os.environ, "LC_ALL": "C", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        # The lines after the first error are details, and may quote a row.
        said = (line for line in done.stderr.splitlines() if ": error: " in line)
        raise CommandError(next(said, f"{program.path} ended with status {done.returncode}"))

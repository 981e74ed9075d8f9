"""bin/dev: one command that serves the seeded feed from its own Postgres."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness.ports import free_port
from harness.processes import CLEAN
from harness.waiting import SECONDS, wait_until
from ops import dev
from ops.command import ROOT, Database
from ops.seed import load_seed
from tests.conftest import SERVICE_PASSWORD, WORKER
from tests.dev_tokens import ask
from tests.factories import Make
from tests.processes import STOP_SECONDS, UNWRITABLE, running, runs, script, started, unwritable
from tests.service import get, serving

pytestmark = pytest.mark.slow

HOME_FEED = "/api/activities/home"
# The users of db/seed.sql.
SEEDED = ["andrewbrown", "bayko", "giulia_ferri", "kofi", "LinYue"]
LINK = r"Sign in as (?P<handle>\w+): http://localhost:(?P<port>\d+)/#token=(?P<token>[\w.-]+)\n"


def feed(dev: "subprocess.Popen[str]", port: str) -> list[str]:
    """Check bin/dev's first lines, and return the messages of the feed that it serves."""
    assert dev.stdout is not None
    url = f"http://localhost:{port}"
    assert dev.stdout.readline() == f"Cruddur is at {url}/\n"
    assert dev.stdout.readline() == f"{url}/docs documents the API, and {url}{HOME_FEED} is the home feed\n"
    assert [get(port, path)[0] for path in ("/docs", "/")] == [200, 200]
    status, body = get(port, HOME_FEED)
    assert status == 200
    return [activity["message"] for activity in json.loads(body)]


def is_served(port: str) -> bool:
    """Return whether a server listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def test_dev_serves_the_seed_and_keeps_changes(home: Path) -> None:
    port = free_port()
    settings = {"PORT": port, "CRUDDUR_DATA_DIR": str(home)}

    with running("dev", **settings) as dev:
        assert "This was imported as seed data!" in feed(dev, port)
        # The scripts connect to the same server.
        deleted = script("db-connect", "-XAtc", "DELETE FROM activities RETURNING 1", CRUDDUR_DATA_DIR=str(home))
        # 15 activities, of which one has expired and may have been purged.
        assert deleted.stdout.splitlines().count("1") in {14, 15}
        dev.send_signal(signal.SIGTERM)
        assert dev.wait(30) == 0
        assert not runs(home)

    with running("dev", **settings) as dev:
        assert feed(dev, port) == []
        dev.send_signal(signal.SIGINT)
        assert dev.wait(30) == 0
        assert not runs(home)


def test_dev_prints_a_link_for_each_seeded_user(home: Path) -> None:
    port = free_port()
    with running("dev", PORT=port, CRUDDUR_DATA_DIR=str(home)) as dev:
        feed(dev, port)
        assert dev.stdout is not None
        assert dev.stdout.readline() == "bin/dev-token andrewbrown prints a token for requests to the API\n"
        links = [re.fullmatch(LINK, dev.stdout.readline()) for _ in SEEDED]
        found = {link["handle"]: link["token"] for link in links if link and link["port"] == port}
        assert list(found) == SEEDED
        users = [ask(port, "/api/users/me", token) for token in found.values()]
        assert [(status, user["handle"]) for status, user in users] == [(200, handle) for handle in SEEDED]
        assert b'data-sign-in="development"' in get(port, "/")[1]
        dev.send_signal(signal.SIGTERM)
        out, log = dev.communicate(timeout=STOP_SECONDS)

    assert (out, "/api/users/me" in log) == ("", True)
    assert [handle for handle, token in found.items() if token in log] == []


def test_links_are_for_users_in_the_database_and_the_development_keys(
    owner: psycopg.Connection,
    owner_url: str,
    monkeypatch: pytest.MonkeyPatch,
    make: Make,
    at_home: None,  # noqa: ARG001
) -> None:
    url, database = "http://localhost:4567", Database("CONNECTION_URL", owner_url)

    def handles() -> list[str]:
        return [line.split(":")[0].removeprefix("Sign in as ") for line in dev.welcome(database, url) if "#" in line]

    make.user("andrewbrown")
    assert handles() == []
    owner.execute("UPDATE users SET uuid = '5eed0000-0000-4000-8000-000000000001'")
    assert handles() == ["andrewbrown"]
    owner.execute("DELETE FROM users")
    load_seed(owner)
    make.user("another")
    assert handles() == SEEDED
    monkeypatch.setenv("AWS_COGNITO_USER_POOL_ID", "eu-west-1_AbCdEfGhI")
    assert handles() == []
    assert dev.welcome(database, url)[0] == f"Cruddur is at {url}/"


def test_readme_examples_print_the_documented_output(home: Path) -> None:
    examples = re.findall(r"^\$ (curl .*)\n(.*)\n", (ROOT / "README.md").read_text(), re.MULTILINE)
    port = free_port()
    settings = {"PORT": port, "CRUDDUR_DATA_DIR": str(home)}

    with running("dev", **settings) as dev:
        feed(dev, port)
        for command, expected in examples:
            shell = ["bash", "-c", command.replace("4567", port)]
            environ = CLEAN | settings | {"no_proxy": "*"}
            result = subprocess.run(shell, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
            assert without_times(result.stdout) == without_times(expected)

    assert len(examples) == 2


def without_times(text: str) -> str:
    """Replace each time in a text by `T`."""
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+", "T", text)


def test_dev_serves_as_the_service_role(home: Path) -> None:
    port = free_port()
    with running("dev", PORT=port, CRUDDUR_DATA_DIR=str(home)) as dev:
        feed(dev, port)
        sessions = script("db-sessions", CRUDDUR_DATA_DIR=str(home)).stdout

    assert "cruddur_service | cruddur" in sessions


def test_two_instances_run_with_separate_data(tmp_path: Path) -> None:
    one, other = free_port(), free_port()
    with (
        running("dev", PORT=one, CRUDDUR_DATA_DIR=str(tmp_path / "one")) as first,
        running("dev", PORT=other, CRUDDUR_DATA_DIR=str(tmp_path / "other")) as second,
    ):
        assert feed(first, one) == feed(second, other)
        script("db-connect", "-Xc", "DELETE FROM activities", CRUDDUR_DATA_DIR=str(tmp_path / "one"))
        # The cached first page of the anonymous home feed may be a second old.
        assert get(one, f"{HOME_FEED}?limit=100") == (200, b"[]")
        assert get(other, f"{HOME_FEED}?limit=100") != (200, b"[]")


def test_script_starts_the_server_and_stops_it_again(home: Path) -> None:
    assert script("db-setup", CRUDDUR_DATA_DIR=str(home)).returncode == 0
    assert not runs(home)
    assert script("db-connect", "-XAtc", "SELECT count(*) FROM users", CRUDDUR_DATA_DIR=str(home)).stdout == "5\n"
    assert not runs(home)


def test_killed_dev_leaves_no_process(home: Path) -> None:
    port = free_port()
    with running("dev", PORT=port, CRUDDUR_DATA_DIR=str(home)) as dev:
        feed(dev, port)
        dev.kill()
        dev.wait()

        wait_until(lambda: not runs(home))
        wait_until(lambda: not is_served(port))


def test_ctrl_c_after_start_stops_all_processes(home: Path) -> None:
    port = free_port()
    with running("dev", PORT=port, CRUDDUR_DATA_DIR=str(home), PYTHONUNBUFFERED="1") as dev:
        assert dev.stdout is not None
        dev.stdout.readline()
        # A terminal signals all processes in the foreground.
        os.killpg(dev.pid, signal.SIGINT)
        assert dev.wait(STOP_SECONDS) == 0
        assert not runs(home)


@pytest.mark.parametrize("way", UNWRITABLE)
def test_unwritable_output_does_not_stop_dev(home: Path, way: str) -> None:
    port = free_port()
    with (
        unwritable(way) as output,
        started([ROOT / "bin" / "dev"], output, output, PORT=port, CRUDDUR_DATA_DIR=str(home)) as dev,
    ):
        wait_until(lambda: is_served(port))
        assert get(port, HOME_FEED)[0] == 200
        dev.send_signal(signal.SIGTERM)
        assert dev.wait(STOP_SECONDS) == 0
        assert not runs(home)


@pytest.mark.parametrize("way", UNWRITABLE)
def test_unwritable_output_does_not_block_or_fail_its_lines(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    failures: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    with unwritable(way) as output:
        monkeypatch.setattr(dev, "STDOUT", output)
        thread = threading.Thread(target=dev.print_line, args=["Cruddur is at"], daemon=True)
        thread.start()
        thread.join(timeout=10)

        assert not thread.is_alive()
    assert failures == []


def test_port_in_use_is_reported_before_any_start(home: Path, service_url: str) -> None:
    with serving(service_url) as port:
        result = script("dev", PORT=port, CRUDDUR_DATA_DIR=str(home))

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"cruddur: can't listen on 127.0.0.1:{port}")
    assert not home.exists()


def test_unknown_argument_is_refused_with_usage(home: Path) -> None:
    result = script("dev", "production", CRUDDUR_DATA_DIR=str(home))

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: bin/dev ")
    assert not home.exists()


def test_invalid_setting_is_reported_before_any_start(home: Path) -> None:
    result = script("dev", PORT="abc", FRONTEND_URL="", CRUDDUR_DATA_DIR=str(home))

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "cruddur: PORT is malformed: it is not made of the digits 0 to 9 alone; "
        "PORT is a whole number from 1 to 65535, such as PORT=4567\n"
    )
    assert not home.exists()


def test_developers_settings_are_used_and_all_faults_reported(home: Path) -> None:
    result = script("dev", FRONTEND_URL="http://a/", DRAIN_SECONDS="11", CONNECTION_URL="x", CRUDDUR_DATA_DIR=str(home))

    assert (result.returncode, result.stdout) == (1, "")
    assert [line.partition(" is ")[0] for line in result.stderr.splitlines()] == [
        "cruddur: CONNECTION_URL",
        "cruddur: FRONTEND_URL",
        "cruddur: DRAIN_SECONDS",
    ]
    assert not home.exists()


def test_terminal_shows_each_step_of_a_start(home: Path) -> None:
    port = free_port()
    for steps in (
        ["Starting Postgres ...", "Loading the schema and the seed into the database cruddur ..."],
        ["Starting Postgres ..."],
    ):
        reader, terminal = os.openpty()
        with (
            started([ROOT / "bin" / "dev"], terminal, subprocess.PIPE, PORT=port, CRUDDUR_DATA_DIR=str(home)),
            os.fdopen(reader) as screen,
        ):
            os.close(terminal)
            lines = [screen.readline().rstrip() for _ in range(len(steps) + 2)]

        assert lines == [
            *steps,
            "Starting the service ...",
            f"Cruddur is at http://localhost:{port}/",
        ]


def test_interrupted_first_start_is_repaired(home: Path) -> None:
    for step in ("db-create", "dev"):
        port = free_port()
        if step == "db-create":
            assert script(step, CRUDDUR_DATA_DIR=str(home)).returncode == 0
        else:
            with running(step, PORT=port, CRUDDUR_DATA_DIR=str(home)) as dev:
                assert "This was imported as seed data!" in feed(dev, port)


def test_connection_url_selects_an_external_server(server_url: str, home: Path) -> None:
    name = f"tests{WORKER}_dev"
    url = make_conninfo(server_url, dbname=name)
    service = make_conninfo(url, user="cruddur_service", password=SERVICE_PASSWORD)
    port = free_port()
    settings = {"PORT": port, "CONNECTION_URL": url, "SERVICE_CONNECTION_URL": service, "CRUDDUR_DATA_DIR": str(home)}
    try:
        with running("dev", **settings) as dev:
            assert "This was imported as seed data!" in feed(dev, port)
        assert not (home / "postgres").exists()
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


# SIOCSIFFLAGS with IFF_UP, from linux/sockios.h and linux/if.h: some machines have no ip(8).
LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket() as probe:
    fcntl.ioctl(probe, 0x8914, struct.pack("16sh14x", b"lo", 1))
os.execv(sys.argv[1], sys.argv[1:])
"""
ALONE = ["unshare", "--user", "--map-root-user", "--net"]


def test_network_namespace_needs_its_loopback_up(home: Path) -> None:
    port = free_port()
    settings = {"PORT": port, "CRUDDUR_DATA_DIR": str(home)}
    with started([*ALONE, ROOT / "bin" / "dev"], **settings) as down:
        out, err = down.communicate(timeout=SECONDS)
    assert (down.returncode, out) == (1, "")
    assert err == (
        f"cruddur: can't listen on 127.0.0.1:{port} (Network is unreachable): set HOST to an address of this "
        "machine whose interface is up (ip link set lo up)\n"
    )
    assert not home.exists()

    command: list[str | Path] = [*ALONE, sys.executable, "-c", LOOPBACK_UP, ROOT / "bin" / "dev"]
    with started(command, **settings) as dev:
        assert dev.stdout is not None
        assert dev.stdout.readline() == f"Cruddur is at http://localhost:{port}/\n"
        dev.send_signal(signal.SIGTERM)
        assert dev.wait(STOP_SECONDS) == 0
    assert not runs(home)


INTERRUPTED = "cruddur: interrupted; run this again to go on\n"


def is_traceback_of_start(err: str) -> bool:
    """Return whether `err` is the traceback of an interrupt before our code has disabled Python's handler.

    For some milliseconds of each start, Python imports modules of its own, and nothing of ours can run earlier.
    """
    frames = re.findall(rf'File "{re.escape(str(ROOT / "ops"))}/(\S+)", line (\d+)', err)
    interrupted = err.removesuffix(INTERRUPTED).endswith("KeyboardInterrupt\n")
    return interrupted and all(int(line) <= disabling_line(file) for file, line in frames)


def disabling_line(file: str) -> int:
    """Return the number of the line in `ops/` that disables Python's handler, 0 in a file without one."""
    lines = (ROOT / "ops" / file).read_text().splitlines()
    return next((n for n, line in enumerate(lines, 1) if "signal.SIG_DFL" in line), 0)


@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.3, 0.6, 0.9, 1.2, 1.6, 2.0, 2.5])
def test_ctrl_c_during_start_stops_all_processes_without_a_traceback(home: Path, seconds: float) -> None:
    with started([ROOT / "bin" / "dev"], PORT=free_port(), CRUDDUR_DATA_DIR=str(home)) as dev:
        time.sleep(seconds)
        # A terminal signals all processes in the foreground.
        os.killpg(dev.pid, signal.SIGINT)
        _, err = dev.communicate(timeout=SECONDS)

    if not is_traceback_of_start(err):
        assert err in {"", INTERRUPTED}
        assert dev.returncode in {0, 130, 128 + signal.SIGTERM, -signal.SIGINT}
    wait_until(lambda: not runs(home))


def test_env_file_with_windows_line_ends_is_reported_per_setting(tmp_path: Path, home: Path) -> None:
    lines = [
        f"CRUDDUR_DATA_DIR='{home}'",
        "CONNECTION_URL=postgresql://h/cruddur",
        "PORT=4567",
        "FRONTEND_URL=http://a",
    ]
    (tmp_path / ".env").write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    load = "set -a; . ./.env; exec "
    lines_by_name: dict[str, list[str]] = {}
    for name in ("dev", "serve", "db-create", "dev-token"):
        command: list[str | Path] = [
            "bash",
            "-c",
            f'cd "$0"; {load}"$@"',
            tmp_path,
            ROOT / "bin" / name,
            *(["a"] * (name == "dev-token")),
        ]
        with started(command) as program:
            out, err = program.communicate(timeout=SECONDS)
        assert (program.returncode, out) == (1, "")
        lines_by_name[name] = [line.partition(";")[0] for line in err.splitlines()]

    reason = "is malformed: it ends in a control character (U+000D)"
    assert lines_by_name["dev"] == [f"cruddur: CRUDDUR_DATA_DIR {reason}"]
    assert lines_by_name["db-create"] == [f"cruddur: CONNECTION_URL {reason}"]
    assert [line for line in lines_by_name["serve"] if reason in line] == [
        f"cruddur: {name} {reason}" for name in ("CONNECTION_URL", "FRONTEND_URL", "PORT")
    ]
    assert [line for line in lines_by_name["dev-token"] if reason in line] != []
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


@pytest.mark.parametrize("name", ["CRUDDUR_DATA_DIR", "CRUDDUR_HOME", "BACKEND_URL"])
@pytest.mark.parametrize(("value", "reason"), [("/x\x1b[2J", "holds a control"), ("'/x'", "is in quotes")])
def test_devs_own_settings_are_validated_like_the_services(home: Path, name: str, value: str, reason: str) -> None:
    result = script("dev", **{"CRUDDUR_DATA_DIR": str(home), "PORT": free_port(), name: value})

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"cruddur: {name} is malformed: it {reason}")
    assert not home.exists()

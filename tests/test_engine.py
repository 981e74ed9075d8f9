"""docker-compose.yml on a Docker Engine, as a new user sees it. .ci/compose starts the engine and runs this module."""

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient
from docker.models.containers import Container
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from harness.load import BY_STANDBY
from harness.ports import free_port
from harness.processes import CLEAN, launch
from harness.waiting import wait_until
from lib.checks import SCHEMA
from ops.command import ROOT
from tests.ecs_task import PORT, Task, definitions, nginx_image

ENGINE = os.environ.get("TEST_DOCKER_HOST", "")
pytestmark = pytest.mark.skipif(not ENGINE, reason="needs the Docker Engine that .ci/compose starts")

PROJECT = "cruddur-tests"
HOME = "/api/activities/home"
SEED = b"This was imported as seed data!"
SERVING = ["db", "backend", "nginx"]
# So many reads reach each process of the service.
READS = 100
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Stack:
    """The containers that `docker compose up` has started."""

    client: DockerClient
    settings: dict[str, str]
    token: str = ""
    project: str = PROJECT

    @property
    def port(self) -> str:
        """The port that nginx is published on."""
        return self.settings["PORT"]

    def start(self, *words: str, **settings: str) -> "subprocess.Popen[str]":
        """Start compose with the unchanged file, without the developer's settings."""
        options = ["--project-name", self.project, "--env-file", os.devnull]
        environ = {name: CLEAN[name] for name in ("PATH", "HOME")} | self.settings | settings
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        program = ROOT / ".venv" / "bin" / "docker-compose"
        return launch([program, *options, *words], env=environ, text=True, **pipes)

    def compose(self, *words: str, **settings: str) -> str:
        """Run compose to a successful end, and return its output."""
        with self.start(*words, **settings) as process:
            out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err[-5000:]
        return out

    def up(self, *options: str, **settings: str) -> None:
        """Start all services, and wait until nginx responds from the backend."""
        self.compose(*options, "up", "--detach", "--pull", "never", **settings)
        wait_until(lambda: self.status("/readyz") == 200)

    def container(self, name: str) -> Container:
        """Return the current container of a service."""
        labels = [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={name}"]
        (container,) = self.client.containers.list(all=True, filters={"label": labels})
        return container

    def health(self, name: str) -> str:
        """Return the status of a service's health check."""
        return str(self.container(name).attrs["State"]["Health"]["Status"])

    def ask(self, path: str, message: str | None = None, host: str = "127.0.0.1") -> Answer:
        """Return status, headers and body of a GET, or of a POST of a message by andrewbrown."""
        port = int(self.port) if host == "127.0.0.1" else 4567
        with closing(HTTPConnection(host, port, timeout=10)) as connection:
            if message is None:
                connection.request("GET", path)
            else:
                body = json.dumps({"message": message, "ttl": "7-days"})
                connection.request("POST", path, body, self.headers(message))
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def headers(self, message: str) -> dict[str, str]:
        """Return the headers of andrewbrown's POST of a message, which can be repeated until a response arrives."""
        return {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Idempotency-Key": message.replace(" ", "-"),
        }

    def status(self, path: str, message: str | None = None) -> int:
        """Return the status alone, or 0 without a response."""
        try:
            return self.ask(path, message)[0]
        except (OSError, HTTPException):
            return 0

    def feed(self) -> list[dict[str, Any]]:
        """Return the home feed as andrewbrown reads it: each process caches the anonymous feed for a second."""
        with closing(HTTPConnection("127.0.0.1", int(self.port), timeout=10)) as connection:
            connection.request("GET", HOME, headers={"Authorization": f"Bearer {self.token}"})
            return list(json.loads(connection.getresponse().read()))

    def written(self) -> list[dict[str, Any]]:
        """Return the home feed without the seed, which each `up` renews."""
        return [activity for activity in self.feed() if not activity["uuid"].startswith("5eed")]

    def posted(self, message: str) -> bool:
        """Return whether the home feed has a message exactly once."""
        return [activity["message"] for activity in self.feed()].count(message) == 1


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Start all services as the README says, on free ports."""
    settings = {"DOCKER_HOST": ENGINE, "DOCKER_BUILDKIT": "0", "PORT": free_port(), "POSTGRES_PORT": free_port()}
    with closing(DockerClient(base_url=ENGINE, version="auto")) as client:
        stack = Stack(client, settings)
        try:
            stack.up()
            # The token is on the last line: the engine's own builder prints its steps first.
            stack.token = stack.compose("run", "--rm", "--no-TTY", "dev-token", "andrewbrown").split()[-1]
            yield stack
        finally:
            stack.compose("--profile", "*", "down", "--volumes")


def run(container: Container, *command: str) -> tuple[int, str]:
    """Return status and output of a command in a container."""
    status, output = container.exec_run(list(command))
    return status, output.decode()


def kill(container: Container) -> None:
    """Kill a container's first process. The engine treats that as a crash, and `docker kill` as a request."""
    os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)


def test_new_user_reads_the_feed_and_posts_with_a_dev_token(stack: Stack) -> None:
    before = stack.feed()
    assert SEED in stack.ask(HOME)[2]

    assert stack.status("/api/activities", "A first crud") == 200

    created, *others = stack.feed()
    assert created["message"] == "A first crud"
    assert [activity["uuid"] for activity in others] == [activity["uuid"] for activity in before]


def test_containers_are_healthy_and_only_nginx_is_published(stack: Stack) -> None:
    wait_until(lambda: [stack.health(name) for name in SERVING] == ["healthy"] * 3)

    assert stack.container("nginx").ports["4567/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": stack.port}]
    assert stack.container("backend").ports == {"4567/tcp": None}


@pytest.mark.parametrize(("name", "user"), [("backend", "10001"), ("nginx", "101")])
def test_network_facing_containers_are_unprivileged_and_read_only(stack: Stack, name: str, user: str) -> None:
    container = stack.container(name)

    assert run(container, "id", "-u") == (0, f"{user}\n")
    status = dict(line.split(":\t") for line in run(container, "cat", "/proc/1/status")[1].splitlines())
    assert status["Uid"].split() == [user] * 4
    assert {int(status[kind], 16) for kind in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert status["NoNewPrivs"] == "1"
    for path in ("/srv/file", "/etc/file", "/usr/file"):
        status_code, output = run(container, "cp", "/etc/hostname", path)
        assert (status_code, "Read-only file system" in output) == (1, True)
    assert run(container, "mktemp")[0] == 0


@pytest.mark.parametrize("name", SERVING)
def test_killed_container_is_restarted(stack: Stack, name: str) -> None:
    killed = stack.container(name)
    restarts = killed.attrs["RestartCount"]

    kill(killed)

    wait_until(lambda: stack.container(name).attrs["RestartCount"] == restarts + 1)
    wait_until(lambda: stack.status("/readyz") == 200)
    message = f"Written after a kill of {name}"
    wait_until(lambda: stack.status("/api/activities", message) == 200)
    assert stack.posted(message)


def test_nginx_responds_with_the_api_error_while_the_backend_is_stopped(stack: Stack) -> None:
    stack.compose("stop", "backend")

    status, headers, body = stack.ask(HOME)

    stack.compose("start", "backend")
    assert (status, body, headers["Retry-After"]) == (503, b'["service_unavailable"]', "2")
    assert headers["Content-Type"] == "application/json"
    wait_until(lambda: stack.status(HOME) == 200)


@contextmanager
def half_sent(stack: Stack, host: str, port: int, message: str) -> Iterator[Callable[[], int]]:
    """Send the beginning of andrewbrown's POST. Yields the call that sends the rest and returns the status."""
    body = json.dumps({"message": message, "ttl": "7-days"}).encode()

    def finish() -> int:
        writer.send(body[10:])
        return writer.getresponse().status

    with closing(HTTPConnection(host, port, timeout=30)) as writer:
        writer.putrequest("POST", "/api/activities")
        for header, value in {**stack.headers(message), "Content-Length": str(len(body))}.items():
            writer.putheader(header, value)
        writer.endheaders(body[:10])
        yield finish


def test_graceful_shutdown_finishes_open_requests(stack: Stack) -> None:
    nginx = stack.container("nginx")
    (network,) = nginx.attrs["NetworkSettings"]["Networks"].values()
    # On the published port, the engine's own proxy accepts connections for a stopped container.
    address = network["IPAddress"]
    statuses: list[int] = []

    def read() -> None:
        """Send requests until no connection is accepted."""
        while True:
            try:
                statuses.append(stack.ask(HOME, host=address)[0])
            except OSError:
                return

    readers = [threading.Thread(target=read) for _ in range(4)]
    message = "Half sent at the stop"
    with half_sent(stack, address, 4567, message) as finish:
        for reader in readers:
            reader.start()
        wait_until(lambda: len(statuses) > 20)
        with stack.start("stop") as stopping:
            for reader in readers:
                reader.join()
            assert stopping.poll() is None
            assert finish() == 200
            out, err = stopping.communicate(timeout=60)

    assert stopping.returncode == 0, (out, err)
    assert set(statuses) == {200}
    assert [stack.container(name).attrs["State"]["ExitCode"] for name in SERVING] == [0, 0, 0]
    stack.up()
    assert stack.posted(message)


def test_password_that_breaks_urls_starts_nothing_and_can_be_corrected(stack: Stack) -> None:
    other = Stack(stack.client, stack.settings | {"PORT": free_port(), "POSTGRES_PORT": free_port()}, project="refused")
    try:
        with other.start("up", "--pull", "never", POSTGRES_PASSWORD="s3%41cret") as process:
            out, err = process.communicate(timeout=300)
        assert process.returncode != 0
        assert "cruddur: POSTGRES_PASSWORD is malformed: it holds a space or one of @ / ? # [ ] %" in out + err
        assert "s3%41cret" not in out + err
        assert other.container("passwords").attrs["State"]["ExitCode"] == 1
        assert {other.container(name).attrs["State"]["Status"] for name in SERVING} == {"created"}

        other.up(POSTGRES_PASSWORD="s3:!cret", SERVICE_PASSWORD="s3;cret")
        assert SEED in other.ask(HOME)[2]
    finally:
        other.compose("down", "--volumes")


def test_down_and_up_keep_data_and_keys(stack: Stack) -> None:
    assert stack.status("/api/activities", "Written before down") == 200
    assert stack.posted("Written before down")
    before = stack.written()

    stack.compose("down")
    stack.up()

    assert stack.written() == before
    # The token is still valid.
    assert stack.status("/api/activities", "Written after up") == 200


def test_standby_serves_reads(stack: Stack) -> None:
    url = "postgresql://cruddur_service:password@standby:5432/cruddur"
    stack.up(*("--profile", "standby"), READ_CONNECTION_URL=url)
    message = "Read on the standby"
    # The first page may be the primary's, kept for a second.
    path = "/api/activities/@andrewbrown?limit=19"
    assert stack.status("/api/activities", message) == 200

    def is_by_standby() -> bool:
        _, headers, body = stack.ask(path)
        timings = {name.lower(): value for name, value in headers.items()}["server-timing"]
        return BY_STANDBY.search(timings) is not None and message.encode() in body

    wait_until(is_by_standby)
    assert run(stack.container("standby"), "id", "-un") == (0, "postgres\n")
    stack.compose("--profile", "standby", "stop", "standby")
    assert stack.container("standby").attrs["State"]["ExitCode"] == 0
    # The primary answers all reads.
    assert not any(is_by_standby() for _ in range(READS))
    assert message.encode() in stack.ask(path)[2]
    # The standby goes on where it was.
    stack.compose("--profile", "standby", "start", "standby")
    wait_until(is_by_standby)
    stack.up()
    assert stack.posted(message)


def test_pooler_is_between_backend_and_database(stack: Stack) -> None:
    stack.up(*("--profile", "pooler"), DATABASE_SERVER="pgbouncer:6432")

    assert stack.status("/api/activities", "Written by way of the pooler") == 200
    assert stack.posted("Written by way of the pooler")
    assert run(stack.container("pgbouncer"), "id", "-u") == (0, "70\n")
    stack.compose("--profile", "pooler", "stop", "pgbouncer")
    assert stack.container("pgbouncer").attrs["State"]["ExitCode"] == 0
    wait_until(lambda: stack.status("/readyz") == 503)
    stack.up()
    assert stack.posted("Written by way of the pooler")


def test_viewer_receives_the_traces(stack: Stack) -> None:
    stack.up(*("--profile", "observe"), OTEL_EXPORTER_OTLP_ENDPOINT="http://viewer:4318", OTEL_METRICS_EXPORTER="none")

    assert stack.status("/api/activities", "A traced crud") == 200

    def spans() -> set[str]:
        """Return the names of the exported spans."""
        with closing(HTTPConnection("127.0.0.1", 16686, timeout=5)) as connection:
            connection.request("GET", "/")
            request = ExportTraceServiceRequest.FromString(connection.getresponse().read())
        return {span.name for each in request.resource_spans for scope in each.scope_spans for span in scope.spans}

    wait_until(lambda: "POST /api/activities" in spans())


def deployment(env: str, port: str) -> list[str]:
    """Return the README's commands for the image, with the test's settings and a free port."""
    section = (ROOT / "README.md").read_text().split("## Deployment\n")[1]
    block = re.findall(r"^```\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)[0].replace("\\\n", "")
    commands = re.sub(r"(\w+\.env)", rf"{env}/\1", block).replace("127.0.0.1:4567:4567", f"127.0.0.1:{port}:4567")
    assert [line.split()[:2] for line in commands.splitlines()] == [
        ["docker", word] for word in ("build", "run", "run")
    ]
    return commands.splitlines()


def test_readmes_commands_build_migrate_and_run_the_image(stack: Stack, tmp_path: Path) -> None:
    # A database of its own on compose's server, which the container reaches by its published port.
    (network,) = stack.container("db").attrs["NetworkSettings"]["Networks"].values()
    address = f"{network['IPAddress']}:5432/readme"
    service = f"postgresql://cruddur_service:password@{address}"
    pool = {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_COGNITO_USER_POOL_ID": "eu-west-1_AbCdEfGhI"}
    pool["AWS_COGNITO_USER_POOL_CLIENT_ID"] = "1h57kf5cpq17m0eml12EXAMPLE"
    files = {
        "owner": {"CONNECTION_URL": f"postgresql://postgres:password@{address}", "SERVICE_CONNECTION_URL": service},
        "cruddur": {"CONNECTION_URL": service, "FRONTEND_URL": "https://cruddur.example", **pool},
    }
    for name, settings in files.items():
        (tmp_path / f"{name}.env").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    port = free_port()
    environ = CLEAN | {"DOCKER_HOST": ENGINE, "DOCKER_BUILDKIT": "0"}
    # Only containers of the same network reach each other by their addresses.
    joined = f"--network {PROJECT}_default --env-file"
    try:
        for line in deployment(str(tmp_path), port):
            command = line.replace("--env-file", joined)
            done = subprocess.run(
                ["bash", "-c", command], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
        wait_until(lambda: response_status(port, "/readyz") == 200)
        assert response_status(port, HOME) == 200
        container = stack.client.containers.get("cruddur")
        assert run(container, "id", "-u") == (0, "10001\n")
        assert run(container, "touch", "/srv/cruddur/file")[0] == 1
        assert run(container, "touch", "/srv/cruddur/.local/ledger/file")[0] == 0
        container.stop()
        container.reload()
        assert container.attrs["State"]["ExitCode"] == 0
    finally:
        for container in stack.client.containers.list(all=True, filters={"name": "^cruddur$"}):
            container.remove(force=True, v=True)
        for volume in stack.client.volumes.list(filters={"name": "cruddur-ledger"}):
            volume.remove()


def response_status(port: str, path: str) -> int:
    """Return the status of a GET at a published port, or 0 without a response."""
    try:
        with closing(HTTPConnection("127.0.0.1", int(port), timeout=10)) as connection:
            connection.request("GET", path)
            return connection.getresponse().status
    except (OSError, HTTPException):
        return 0


@pytest.fixture(scope="module")
def task_images(stack: Stack) -> Iterator[dict[str, str]]:
    """Return the images of a task: compose's of the backend, and nginx with its configuration."""
    with nginx_image(stack.client, f"{PROJECT}-task-nginx") as nginx:
        backend = stack.container("backend").image.id
        yield {"backend": backend, "migration": backend, "nginx": nginx}


def ecs_task(stack: Stack, images: dict[str, str], **variables: dict[str, str]) -> Task:
    """Return a task that can reach compose's database. `variables` are by container."""
    network = f"{stack.project}_default"
    keys = {f"{stack.project}_keys": {"bind": "/srv/cruddur/.local/keys", "mode": "ro"}}
    return Task(stack.client, images, network, variables, {"backend": keys})


def pool(stack: Stack) -> dict[str, str]:
    """Return the settings for the development key pair."""
    output = run(stack.container("backend"), "bin/python", "-m", "ops.dev_keys")[1]
    return dict(line.split("=", 1) for line in output.splitlines())


def by_load_balancer(address: str, client: str, claimed: str) -> tuple[int, int]:
    """Send a read as AWS's load balancer does: it appends the client's address. Return status and remaining quota."""
    with closing(HTTPConnection(address, PORT, timeout=10)) as connection:
        connection.request("GET", HOME, headers={"X-Forwarded-For": f"{claimed}, {client}"})
        response = connection.getresponse()
        response.read()
        (remaining,) = re.findall(r'^"anonymous-reads";r=(\d+);', response.headers["RateLimit"])
        return response.status, int(remaining)


def test_task_of_ecs_serves_counts_clients_and_stops_without_a_failure(
    stack: Stack, task_images: dict[str, str]
) -> None:
    settings = pool(stack)
    containers = definitions(
        "Task",
        UserPoolId=settings["AWS_COGNITO_USER_POOL_ID"],
        UserPoolClientId=settings["AWS_COGNITO_USER_POOL_CLIENT_ID"],
    )
    url = "postgresql://cruddur_service:password@db:5432/cruddur"
    backend = {"SERVICE_CONNECTION_URL": url, "DATABASE_AUTH": "password"} | settings

    with ecs_task(stack, task_images, backend=backend, nginx={}).started(containers) as task:
        assert list(task.containers) == ["backend", "nginx"]
        task.wait_until_healthy("nginx")
        for name, user in (("backend", "10001"), ("nginx", "101")):
            assert run(task.containers[name], "id", "-u") == (0, f"{user}\n")
            assert run(task.containers[name], "cp", "/etc/hostname", "/etc/file")[0] == 1

        # A client that claims other addresses keeps its quota in each process, and another client has its own.
        reads = [by_load_balancer(task.address, "203.0.113.7", f"198.51.100.{number}") for number in range(40)]
        remaining = [quota for _, quota in reads]
        assert {status for status, _ in reads} == {200}
        assert remaining.count(1199) <= 2
        assert min(remaining) <= 1180
        assert by_load_balancer(task.address, "203.0.113.8", "203.0.113.7") == (200, 1199)

        outage_replaces_nothing(stack, task)
        stop_fails_no_request(stack, task)


def outage_replaces_nothing(stack: Stack, task: Task) -> None:
    """Check that the health checks of a task succeed while the database is away."""
    stack.compose("stop", "db")
    try:
        with closing(HTTPConnection(task.address, PORT, timeout=10)) as connection:
            statuses = {}
            for path in ("/livez", "/readyz"):
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                statuses[path] = response.status
        assert statuses == {"/livez": 200, "/readyz": 503}
        for each in definitions("Task"):
            assert run(task.containers[each["Name"]], *each["HealthCheck"]["Command"][1:])[0] == 0
    finally:
        stack.compose("start", "db")
    # The reads reach both processes, each with a circuit breaker of its own.
    wait_until(lambda: {by_load_balancer(task.address, "203.0.113.9", "-")[0] for _ in range(20)} == {200})
    wait_until(lambda: stack.status("/readyz") == 200)


def stop_fails_no_request(stack: Stack, task: Task) -> None:
    """Check that a stop in the order of ECS ends no request, and kills no container."""
    statuses: list[int] = []

    def read() -> None:
        """Send requests until no connection is accepted."""
        while True:
            try:
                statuses.append(by_load_balancer(task.address, "203.0.113.10", "-")[0])
            except OSError:
                return

    readers = [threading.Thread(target=read) for _ in range(4)]
    ended: list[dict[str, tuple[int, float]]] = []
    stopping = threading.Thread(target=lambda: ended.append(task.stop()))
    message = "Half sent at the stop of a task"
    with half_sent(stack, task.address, PORT, message) as finish:
        for reader in readers:
            reader.start()
        wait_until(lambda: len(statuses) > 20)
        stopping.start()
        for reader in readers:
            reader.join()
        # nginx waits for the request, and the backend for nginx.
        assert task.health("backend") == "healthy"
        assert finish() == 200
    stopping.join()

    (ends,) = ended
    assert set(statuses) == {200}
    assert list(ends) == ["nginx", "backend"]
    assert {status for status, _ in ends.values()} == {0}
    assert all(seconds < task.stop_timeouts[name] for name, (_, seconds) in ends.items())
    assert stack.posted(message)


def test_task_of_ecs_with_a_wrong_database_never_becomes_healthy(stack: Stack, task_images: dict[str, str]) -> None:
    containers = definitions("Task")
    url = "postgresql://cruddur_service:wrong@db:5432/cruddur"
    backend = {"SERVICE_CONNECTION_URL": url, "DATABASE_AUTH": "password"}
    alone = [each for each in containers if each["Name"] == "backend"]

    with ecs_task(stack, task_images, backend=backend).started(alone) as task:
        assert task.status("backend") == 1
        assert task.health("backend") != "healthy"
        assert task.log("backend").startswith("cruddur: SERVICE_CONNECTION_URL: ")


def test_migration_of_ecs_runs_as_the_owner(stack: Stack, task_images: dict[str, str]) -> None:
    # RDS's own role.
    assert run(stack.container("db"), "psql", "-U", "postgres", "-h", "127.0.0.1", "-c", "CREATE ROLE rds_iam")[0] == 0
    (migration,) = definitions("MigrationTask")
    (secret,) = migration["Secrets"]
    variables = {"PROD_CONNECTION_URL": "postgresql://postgres@db:5432/cruddur", secret["Name"]: "password"}

    with ecs_task(stack, task_images, migration=variables).started([migration]) as task:
        assert task.status("migration") == 0, task.log("migration")
        assert task.log("migration").splitlines() == [
            "database cruddur: existed already, with the role cruddur_service",
            f"database cruddur: schema {SCHEMA} is the newest",
        ]
    assert stack.status("/readyz") == 200

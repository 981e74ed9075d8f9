"""docker-compose.yml as compose itself reads it: defaults, hardening, settings and passwords."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from harness.nginx import TEMPLATE
from harness.pgbouncer import INI
from harness.ports import free_port
from lib.conninfo import check_connection_url
from ops.command import ROOT
from serve import STOP_SECONDS
from tests import tokens
from tests.compose import command, config
from tests.dev_tokens import ANDREW, NOTIFICATIONS, ask
from tests.processes import started, succeeds
from tests.service import get
from tests.settings import NAMES

OURS = ("migrate", "backend", "dev-token")
# Settings that differ per machine, each with a value that no machine has by default.
OVERRIDDEN = {
    "READ_CONNECTION_URL": "postgresql://cruddur_service:services@standby:5432/cruddur",
    "AWS_DEFAULT_REGION": "ap-south-1",
    "DATABASE_PREPARE": "off",
    "DATABASE_SERVER": "pgbouncer:6432",
    "DATABASE_TIMEOUT_SECONDS": "17",
    "BACKUP_RETENTION_DAYS": "14",
    "DELETION_LEDGER": "/srv/cruddur/.local/ledger/deletions.ledger",
    "DRAIN_SECONDS": "3",
    "ACCESS_LOG": "off",
    "LOG_LEVEL": "warning",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://metrics:4318",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces:4318",
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_TRACES_SAMPLER": "traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.25",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x=traces",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "x=metrics",
    "OTEL_BSP_MAX_QUEUE_SIZE": "100",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10",
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
    "OTEL_METRIC_EXPORT_INTERVAL": "2000",
    "OTEL_METRICS_EXEMPLAR_FILTER": "always_off",
    "AWS_COGNITO_USER_POOL_ID": "ap-south-1_AbCdEfGhI",
    "AWS_COGNITO_USER_POOL_CLIENT_ID": "1h57kf5cpq17m0eml12EXAMPLE",
    "AWS_COGNITO_DOMAIN": "https://cruddur.auth.ap-south-1.amazoncognito.com",
    "AWS_COGNITO_JWKS_URL": "file:///srv/cruddur/jwks.json",
    "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": "http://pool:5000",
    "FRONTEND_URL": "https://cruddur.example",
    "LOG_MAX_SIZE": "5m",
    "LOG_MAX_FILES": "2",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://viewer:4318",
    "OTEL_EXPORTER_OTLP_HEADERS": "x-key=theirs",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_SERVICE_NAME": "theirs",
    "PORT": "8080",
    "POSTGRES_PASSWORD": "owners",
    "POSTGRES_PORT": "5433",
    "RATE_LIMIT_ANONYMOUS_READS": "1201",
    "RATE_LIMIT_USER_READS": "601",
    "RATE_LIMIT_USER_WRITES": "121",
    "RATE_LIMIT_SEARCHES": "61",
    "RATE_LIMIT_REJECTED_TOKENS": "62",
    "RATE_LIMIT_STORAGE_URL": "redis://counter:6379/0",
    "SERVICE_PASSWORD": "services",
    "WEB_CONCURRENCY": "7",
}
# Settings that compose fixes: the database is always `db`, reached with a password, and nginx is the proxy.
DECIDED = {"HOST", "PORT", "TRUSTED_PROXIES", "IDLE_TIMEOUT_SECONDS", "DATABASE_AUTH"}
DECIDED |= {"CONNECTION_URL", "SERVICE_CONNECTION_URL"}
# Settings that no service of compose's reads.
UNREAD = {"LAMBDA_CONNECTION_URL", "PROD_CONNECTION_URL", "TEST_CONNECTION_URL", "CRUDDUR_DATA_DIR", "BACKEND_URL"}
UNREAD |= {"DB_SG_ID", "DB_SG_RULE_ID", "GITPOD_IP"}


@pytest.fixture(scope="module")
def services() -> Any:
    """Return compose's services on a machine without settings."""
    return config()["services"]


def published(service: Any) -> list[tuple[str, str, int]]:
    """Return a service's ports: address and port on the machine, and port in the container."""
    return [(port["host_ip"], port["published"], port["target"]) for port in service["ports"]]


@pytest.mark.parametrize("name", ["db", "backend", "nginx", "viewer", "pgbouncer", "standby"])
def test_services_restart_unless_stopped(services: Any, name: str) -> None:
    assert services[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize(
    ("settings", "options"),
    [({}, {"max-size": "10m", "max-file": "3"}), (OVERRIDDEN, {"max-size": "5m", "max-file": "2"})],
)
def test_log_of_each_container_is_bounded(settings: dict[str, str], options: dict[str, str]) -> None:
    logging = {name: service["logging"] for name, service in config(**settings)["services"].items()}

    assert set(logging) >= {"nginx", "backend", "db", "migrate"}
    assert all(each == {"driver": "json-file", "options": options} for each in logging.values())


def test_nginx_is_the_one_trusted_proxy(services: Any) -> None:
    nginx, backend = services["nginx"], services["backend"]["environment"]
    upstream = int(re.findall(r"keepalive_timeout (\d+)s", TEMPLATE.read_text())[0])

    assert (nginx["environment"]["BACKEND"], nginx["environment"]["FRONTEND_URL"]) == (
        "backend:4567",
        backend["FRONTEND_URL"],
    )
    assert (nginx["read_only"], nginx["cap_drop"], nginx["user"]) == (True, ["ALL"], "101:101")
    assert backend["TRUSTED_PROXIES"] == "1"
    # With a shorter timeout, nginx may send a request on a connection that the backend is closing.
    assert int(backend["IDLE_TIMEOUT_SECONDS"]) > upstream


def test_default_is_a_seeded_backend_on_postgres_18(services: Any) -> None:
    assert services["db"]["image"].startswith("postgres:18.")
    assert services["migrate"]["depends_on"]["db"]["condition"] == "service_healthy"
    assert services["backend"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["migrate"]["environment"]["CONNECTION_URL"] == "postgresql://postgres:password@db:5432/cruddur"
    (volume,) = (volume for volume in services["db"]["volumes"] if volume["type"] == "volume")
    # The data folder of the image of 18: https://github.com/docker-library/postgres/pull/1259
    assert (volume["type"], volume["source"], volume["target"]) == ("volume", "db", "/var/lib/postgresql")
    # The probe uses TCP, because the server that initialises the volume listens on its socket only.
    assert services["db"]["healthcheck"]["test"][1:4] == ["pg_isready", "-h", "127.0.0.1"]


def test_ports_are_published_on_loopback_only(services: Any) -> None:
    assert published(services["nginx"]) == [("127.0.0.1", "4567", 4567)]
    assert published(services["db"]) == [("127.0.0.1", "5432", 5432)]
    assert published(services["viewer"]) == [("127.0.0.1", "16686", 16686)]
    assert [name for name in OURS if "ports" in services[name]] == []


@pytest.mark.parametrize("name", OURS)
def test_containers_are_read_only_and_without_capabilities(services: Any, name: str) -> None:
    service = services[name]

    assert (service["read_only"], service["init"]) == (True, True)
    assert [Path(place).name for place in service["tmpfs"]] == ["tmp"]
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert "user" not in service
    assert service["build"]["dockerfile"] == "backend-flask/Dockerfile"


def test_network_facing_containers_have_no_owner_password_and_read_only_keys(services: Any) -> None:
    for name in ("backend", "dev-token"):
        url = services[name]["environment"]["CONNECTION_URL"]
        assert url == "postgresql://cruddur_service:password@db:5432/cruddur"
        assert "postgres:password" not in str(services[name]["environment"])
    keys, ledger = services["backend"]["volumes"]
    assert keys["read_only"]
    assert not ledger.get("read_only")


def test_ledger_has_a_volume_that_the_image_gives_to_its_user(services: Any) -> None:
    ledger = services["backend"]["volumes"][-1]
    assert (ledger["type"], ledger["source"], ledger["target"]) == ("volume", "ledger", "/srv/cruddur/.local/ledger")
    assert "ledger" in config()["volumes"]
    # Docker copies owner and mode of the image's folder to a new volume.
    (line,) = re.findall("^RUN install .*$", (ROOT / "backend-flask" / "Dockerfile").read_text(), re.MULTILINE)
    assert line.startswith("RUN install -d -o cruddur -g cruddur -m 700 ")
    assert ledger["target"].removeprefix("/srv/cruddur/") in line.split()
    assert str(Path(OVERRIDDEN["DELETION_LEDGER"]).parent) == ledger["target"]
    assert not services["backend"]["environment"].get("DELETION_LEDGER")


def test_standby_follows_the_database_unprivileged_and_only_by_its_profile(services: Any) -> None:
    standby, backend, db = services["standby"], services["backend"], services["db"]

    assert standby["image"] == db["image"]
    assert (standby["read_only"], standby["cap_drop"], standby["user"]) == (True, ["ALL"], "postgres")
    assert standby["security_opt"] == ["no-new-privileges:true"]
    assert "ports" not in standby
    # A fast shutdown. On SIGTERM Postgres waits for all sessions to end.
    assert standby["stop_signal"] == "SIGINT"
    assert backend["depends_on"]["standby"] == {"condition": "service_healthy", "required": False}
    assert config(profile="standby")["services"].keys() - config(profile="none")["services"].keys() == {"standby"}
    # Both servers take their rules from our file: the rules that an image writes differ, and a copy has those of db.
    for server in (db, standby):
        (rules,) = (volume for volume in server["volumes"] if volume["type"] == "bind")
        assert f"hba_file={rules['target']}" in " ".join(server["command"]).split()
        assert (Path(rules["source"]), rules["read_only"]) == (ROOT / "db" / "pg_hba.conf", True)
    # Replication needs a line of its own: `all` names no replication.
    lines = [line.split() for line in (ROOT / "db" / "pg_hba.conf").read_text().splitlines() if line[0] != "#"]
    assert [line for line in lines if line[-1] != "scram-sha-256"] == [
        ["local", "all", "all", "trust"],
        ["host", "all", "all", "127.0.0.1/32", "trust"],
        ["host", "all", "all", "::1/128", "trust"],
    ]
    assert [line for line in lines if line[1] == "replication"] == [
        ["host", "replication", "postgres", "samenet", "scram-sha-256"]
    ]


def test_pooler_runs_our_ini_unprivileged_and_only_by_its_profile(services: Any) -> None:
    pgbouncer, backend = services["pgbouncer"], services["backend"]
    (ini,) = pgbouncer["volumes"]

    assert re.fullmatch(r"edoburu/pgbouncer:v\d+\.\d+\.\d+-p\d+", pgbouncer["image"])
    assert (Path(ini["source"]), ini["target"], ini["read_only"]) == (INI, "/etc/pgbouncer/pgbouncer.ini", True)
    assert (pgbouncer["read_only"], pgbouncer["cap_drop"], pgbouncer["user"]) == (True, ["ALL"], "70:70")
    assert pgbouncer["security_opt"] == ["no-new-privileges:true"]
    # On SIGTERM PgBouncer would wait for all clients to leave.
    assert pgbouncer["stop_signal"] == "SIGINT"
    assert "ports" not in pgbouncer
    assert backend["depends_on"]["pgbouncer"] == {"condition": "service_healthy", "required": False}
    # The ini's own addresses.
    text = INI.read_text()
    (port,) = re.findall(r"^listen_port = (\d+)$", text, re.MULTILINE)
    assert re.findall(r"^cruddur = (.*)$", text, re.MULTILINE) == ["host=db port=5432"]
    assert OVERRIDDEN["DATABASE_SERVER"] == f"pgbouncer:{port}"
    assert pgbouncer["healthcheck"]["test"][4:6] == ["-p", port]
    assert config(profile="pooler")["services"].keys() - config(profile="none")["services"].keys() == {"pgbouncer"}


@pytest.mark.parametrize(("password", "line"), [("password", "password"), ('p"\\%s$x\'"', 'p""\\%s$x\'""')])
def test_pooler_s_file_of_users_holds_any_password(password: str, line: str, tmp_path: Path) -> None:
    service = config(SERVICE_PASSWORD=password)["services"]["pgbouncer"]
    (auth_file,) = re.findall(r"^auth_file = (.*)$", INI.read_text(), re.MULTILINE)
    (program := tmp_path / "pgbouncer").write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    script = command(service)[0]
    assert script.count(auth_file) == 1
    # As in the command, compose writes `$$` for a `$`.
    settings = {name: value.replace("$$", "$") for name, value in service["environment"].items()}

    result = subprocess.run(
        [*command(service, "entrypoint"), script.replace(auth_file, str(tmp_path / "users"))],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **settings},
        capture_output=True,
        text=True,
        check=True,
    )

    assert (result.stdout, result.stderr) == ("/etc/pgbouncer/pgbouncer.ini\n", "")
    assert (tmp_path / "users").read_text() == f'"cruddur_service" "{line}"\n'
    assert (tmp_path / "users").stat().st_mode & 0o777 == 0o600


def test_stop_grace_period_covers_a_graceful_shutdown(services: Any) -> None:
    seconds = int(services["backend"]["stop_grace_period"].removesuffix("s"))

    # The last second is for the export of pending spans.
    assert seconds > STOP_SECONDS + 1


def test_up_starts_neither_dev_token_nor_viewer() -> None:
    assert config(profile="none")["services"].keys() == {"passwords", "db", "migrate", "backend", "nginx"}


def test_only_machine_specific_settings_can_be_overridden() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    variables = re.findall(r"\$\{(\w+)", text) + re.findall(r"^ +([A-Z_]+):$", text, re.MULTILINE)
    assert set(variables) == OVERRIDDEN.keys()
    # No variable is required: each has a default.
    assert re.findall(r"\$\{\w+(?!:-)\W", text) == []

    services = config(**OVERRIDDEN)["services"]

    seen = str(services)
    assert [name for name, value in OVERRIDDEN.items() if value not in seen] == []
    assert services["backend"]["environment"]["CONNECTION_URL"] == (
        "postgresql://cruddur_service:services@pgbouncer:6432/cruddur"
    )
    assert services["dev-token"]["environment"]["CONNECTION_URL"] == (
        "postgresql://cruddur_service:services@db:5432/cruddur"
    )
    assert services["migrate"]["environment"]["SERVICE_CONNECTION_URL"] == (
        "postgresql://cruddur_service:services@db:5432/cruddur"
    )
    assert services["migrate"]["environment"]["CONNECTION_URL"] == "postgresql://postgres:owners@db:5432/cruddur"
    assert published(services["nginx"]) == [("127.0.0.1", "8080", 4567)]
    assert published(services["db"]) == [("127.0.0.1", "5433", 5432)]


def test_backend_gets_every_setting_of_the_example_that_it_reads(tmp_path: Path) -> None:
    example = set(re.findall(r"^#?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    read = (set(NAMES) | example) - DECIDED - UNREAD
    # The settings of the other services.
    read -= {
        "POSTGRES_PASSWORD",
        "POSTGRES_PORT",
        "SERVICE_PASSWORD",
        "LOG_MAX_SIZE",
        "LOG_MAX_FILES",
        "DATABASE_SERVER",
    }
    environ = {name: f"that of {name}" for name in read}
    dot_env = tmp_path / ".env"
    dot_env.write_text("".join(f"{name}='{value}'\n" for name, value in environ.items()))

    for services in (config(**environ)["services"], config(env_file=str(dot_env))["services"]):
        assert services["backend"]["environment"].items() >= environ.items()
    decided = dict.fromkeys(DECIDED - {"PORT"}, "1")
    assert config(**decided) == config()


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "SERVICE_PASSWORD"])
@pytest.mark.parametrize("password", [*(f"s3cr3t{sign}" for sign in "@/?#[]% \t"), "@", "s3%41cr3t"])
def test_password_that_breaks_a_url_is_refused_first(name: str, password: str) -> None:
    result = run_password_check(**{name: password})

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"cruddur: {name} is malformed: it holds a space or one of @ / ? # [ ] %; ")
    assert result.stderr.count("\n") == 1
    assert "s3" not in result.stderr


def test_both_passwords_are_refused_at_once_and_any_other_is_accepted(services: Any) -> None:
    assert run_password_check(POSTGRES_PASSWORD="a@b", SERVICE_PASSWORD="a/b").stderr.count("\n") == 2
    for password in ("password", "p:!&'()*+,;=-._~\"<>\\^`{|}é"):
        result = run_password_check(POSTGRES_PASSWORD=password, SERVICE_PASSWORD=password)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        url = config(POSTGRES_PASSWORD=password)["services"]["migrate"]["environment"]["CONNECTION_URL"]
        assert conninfo_to_dict(check_connection_url(url))["password"] == password
    assert services["db"]["depends_on"]["passwords"]["condition"] == "service_completed_successfully"
    assert services["passwords"]["image"] == services["db"]["image"]
    assert services["passwords"]["network_mode"] == "none"


def run_password_check(**settings: str) -> "subprocess.CompletedProcess[str]":
    """Run compose's check of the passwords with these settings."""
    service = config(**settings)["services"]["passwords"]
    words = [*command(service, "entrypoint"), *command(service)]
    environ = {"PATH": os.environ["PATH"], **service["environment"]}
    return subprocess.run(words, env=environ, capture_output=True, text=True, check=False)


def test_example_env_file_equals_the_defaults_and_its_lines_take_effect(tmp_path: Path) -> None:
    example = ROOT / ".env.example"
    assert config(env_file=str(example)) == config()

    dot_env = tmp_path / ".env"
    dot_env.write_text(example.read_text().replace("\nPORT=4567\n", "\nPORT=8080\n"))
    assert published(config(env_file=str(dot_env))["services"]["nginx"]) == [("127.0.0.1", "8080", 4567)]


def test_each_service_builds_an_image_of_its_own() -> None:
    # With one name for simultaneous builds, the second build fails. And an existing image would run as it is.
    building = [service for service in config()["services"].values() if "build" in service]

    assert len(building) == 3
    assert [service.get("image") for service in building] == [None] * 3
    assert {service["pull_policy"] for service in building} == {"build"}


@pytest.mark.slow
def test_configured_user_pool_is_trusted_without_dev_keys(home: Path, new_url: str, pool: dict[str, str]) -> None:
    # tests/test_image.py covers a start without a configured pool.
    succeeds("db-setup", CONNECTION_URL=new_url)
    backend = config(**pool)["services"]["backend"]
    settings = {"PORT": free_port(), "CONNECTION_URL": new_url, "CRUDDUR_DATA_DIR": str(home)}

    with started(command(backend), **(backend["environment"] | pool | settings)):
        assert get(settings["PORT"], "/api/health-check")[0] == 200
        assert not home.exists()
        assert ask(settings["PORT"], NOTIFICATIONS, tokens.token(ANDREW))[0] == 200


def test_readme_runs_the_image_with_composes_protection(services: Any) -> None:
    section = (ROOT / "README.md").read_text().split("## Deployment\n")[1]
    block = section.split("```\n")[1].replace("\\\n", "")
    migrate, serve = (line.split() for line in block.splitlines() if line.startswith("docker run "))
    backend = services["backend"]

    for words in (migrate, serve):
        text = " ".join(words)
        assert {"--init", "--read-only"} <= set(words)
        assert f"--tmpfs {' '.join(backend['tmpfs'])} --cap-drop ALL --security-opt no-new-privileges:true" in text
    text = " ".join(serve)
    assert f"--restart {backend['restart']}" in text
    assert f"--stop-timeout {backend['stop_grace_period'].removesuffix('s')} " in text
    for name, value in backend["logging"]["options"].items():
        assert f"--log-opt {name}={value}" in text
    assert f"--volume cruddur-ledger:{backend['volumes'][-1]['target']}" in text
    # Published on loopback only, as compose's nginx.
    assert "--publish 127.0.0.1:4567:4567" in text

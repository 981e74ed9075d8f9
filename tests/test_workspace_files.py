"""The files that Gitpod and the devcontainer read: what their references allow, and what the rest of us says."""

from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from ops.command import ROOT
from ops.create_database import ROLE
from tests.compose import config
from tests.workspace_files import DEVCONTAINER, GITPOD

DEVCONTAINER_FILES = ("docker-compose.yml", ".devcontainer/docker-compose.yml")


def those(properties: dict[str, Any], *needed: str) -> dict[str, Any]:
    """The schema of an object with these properties and no others."""
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def many(kind: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list of one kind."""
    return {"type": "array", "items": kind}


def named(kind: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object whose names are its writer's."""
    return {"type": "object", "additionalProperties": kind}


TEXT, TRUTH, OBJECT = {"type": "string"}, {"type": "boolean"}, {"type": "object"}
COMMAND = {"anyOf": [TEXT, many(TEXT), named({"anyOf": [TEXT, many(TEXT)]})]}
# No package brings the published schemas, so these are the names that the references have, less what is deprecated:
# https://www.gitpod.io/docs/classic/user/references/gitpod-yml
GITPOD_TASK = {
    **dict.fromkeys(("name", "before", "init", "command"), TEXT),
    "env": named(TEXT),
    "openIn": {"enum": ["bottom", "main", "left", "right"]},
    "openMode": {"enum": ["split-left", "split-right", "tab-before", "tab-after"]},
}
GITPOD_PORT = {
    "port": {"type": "integer"},
    "name": TEXT,
    "description": TEXT,
    "onOpen": {"enum": ["open-browser", "open-preview", "notify", "ignore"]},
    "visibility": {"enum": ["private", "public"]},
}
GITPOD_SCHEMA = those(
    {
        **dict.fromkeys(("image", "checkoutLocation", "workspaceLocation", "mainRepository"), TEXT),
        **dict.fromkeys(("gitConfig", "github", "jetbrains", "vscode"), OBJECT),
        "tasks": many(those(GITPOD_TASK)),
        "ports": many(those(GITPOD_PORT, "port")),
    }
)
# https://containers.dev/implementors/json_reference/
DEVCONTAINER_PORT = {
    "label": TEXT,
    "protocol": {"enum": ["http", "https"]},
    "onAutoForward": {"enum": ["notify", "openBrowser", "openBrowserOnce", "openPreview", "silent", "ignore"]},
    "requireLocalPort": TRUTH,
    "elevateIfNeeded": TRUTH,
}
DEVCONTAINER_SCHEMA = those(
    {
        **dict.fromkeys(("name", "service", "workspaceFolder", "remoteUser", "containerUser"), TEXT),
        **dict.fromkeys(("initializeCommand", "onCreateCommand", "updateContentCommand"), COMMAND),
        **dict.fromkeys(("postCreateCommand", "postStartCommand", "postAttachCommand"), COMMAND),
        **dict.fromkeys(("containerEnv", "remoteEnv"), named(TEXT)),
        **dict.fromkeys(("features", "customizations", "hostRequirements"), OBJECT),
        "dockerComposeFile": many(TEXT),
        "runServices": many(TEXT),
        "shutdownAction": {"enum": ["none", "stopCompose"]},
        "forwardPorts": many({"type": ["integer", "string"]}),
        "portsAttributes": named(those(DEVCONTAINER_PORT)),
        "secrets": named(those({"description": TEXT, "documentationUrl": TEXT})),
    },
    *("dockerComposeFile", "service", "workspaceFolder"),
)


@pytest.mark.parametrize(("file", "schema"), [(GITPOD, GITPOD_SCHEMA), (DEVCONTAINER, DEVCONTAINER_SCHEMA)])
def test_a_file_has_the_names_and_values_that_its_reference_has(file: Any, schema: Any) -> None:
    Draft202012Validator(schema).validate(file)


def test_both_have_the_ports_of_the_service_and_of_postgres() -> None:
    ports = {port["port"]: port for port in GITPOD["ports"]}

    assert ports.keys() >= {4567, 5432}
    assert ports[5432]["visibility"] == "private"
    assert DEVCONTAINER["forwardPorts"] == [4567, 5432]


def test_gitpods_database_is_the_one_that_compose_publishes() -> None:
    (published,) = config()["services"]["db"]["ports"]
    for task in GITPOD["tasks"]:
        assert task["env"] == {
            "CONNECTION_URL": f"postgresql://postgres:password@localhost:{published['published']}/cruddur",
            "SERVICE_CONNECTION_URL": f"postgresql://{ROLE}:password@localhost:{published['published']}/cruddur",
        }


def test_the_devcontainers_database_is_composes_at_localhost() -> None:
    services = config(*DEVCONTAINER_FILES)["services"]
    folder = ROOT / ".devcontainer"
    assert [(folder / name).resolve() for name in DEVCONTAINER["dockerComposeFile"]] == [
        ROOT / name for name in DEVCONTAINER_FILES
    ]

    workspace, db = services[DEVCONTAINER["service"]], services["db"]
    assert workspace["network_mode"] == "service:db"
    assert workspace["depends_on"]["db"]["condition"] == "service_healthy"
    assert [(mount["source"], mount["target"]) for mount in workspace["volumes"]] == [
        (str(ROOT), DEVCONTAINER["workspaceFolder"])
    ]
    assert workspace["environment"] == GITPOD["tasks"][0]["env"]
    # Forwarded, not published: it may run beside a Postgres of the machine's.
    assert "ports" not in db
    assert (db["image"], db["healthcheck"]) == (
        config()["services"]["db"]["image"],
        config()["services"]["db"]["healthcheck"],
    )

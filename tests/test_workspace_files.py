"""The files of Gitpod and the devcontainer, compared with their references and with compose's file."""

from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from ops.command import ROOT
from ops.create_database import ROLE
from tests.compose import config
from tests.workspace_files import DEVCONTAINER, GITPOD

DEVCONTAINER_FILES = ("docker-compose.yml", ".devcontainer/docker-compose.yml")


def object_of(properties: dict[str, Any], *needed: str) -> dict[str, Any]:
    """Return the schema of an object with these properties and no others."""
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def list_of(kind: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a list of one kind."""
    return {"type": "array", "items": kind}


def map_of(kind: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with arbitrary names."""
    return {"type": "object", "additionalProperties": kind}


TEXT, TRUTH, OBJECT = {"type": "string"}, {"type": "boolean"}, {"type": "object"}
COMMAND = {"anyOf": [TEXT, list_of(TEXT), map_of({"anyOf": [TEXT, list_of(TEXT)]})]}
# No package contains the published schemas. These names come from the references, without deprecated ones:
# https://www.gitpod.io/docs/classic/user/references/gitpod-yml
GITPOD_TASK = {
    **dict.fromkeys(("name", "before", "init", "command"), TEXT),
    "env": map_of(TEXT),
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
GITPOD_SCHEMA = object_of(
    {
        **dict.fromkeys(("image", "checkoutLocation", "workspaceLocation", "mainRepository"), TEXT),
        **dict.fromkeys(("gitConfig", "github", "jetbrains", "vscode"), OBJECT),
        "tasks": list_of(object_of(GITPOD_TASK)),
        "ports": list_of(object_of(GITPOD_PORT, "port")),
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
DEVCONTAINER_SCHEMA = object_of(
    {
        **dict.fromkeys(("name", "service", "workspaceFolder", "remoteUser", "containerUser"), TEXT),
        **dict.fromkeys(("initializeCommand", "onCreateCommand", "updateContentCommand"), COMMAND),
        **dict.fromkeys(("postCreateCommand", "postStartCommand", "postAttachCommand"), COMMAND),
        **dict.fromkeys(("containerEnv", "remoteEnv"), map_of(TEXT)),
        **dict.fromkeys(("features", "customizations", "hostRequirements"), OBJECT),
        "dockerComposeFile": list_of(TEXT),
        "runServices": list_of(TEXT),
        "shutdownAction": {"enum": ["none", "stopCompose"]},
        "forwardPorts": list_of({"type": ["integer", "string"]}),
        "portsAttributes": map_of(object_of(DEVCONTAINER_PORT)),
        "secrets": map_of(object_of({"description": TEXT, "documentationUrl": TEXT})),
    },
    *("dockerComposeFile", "service", "workspaceFolder"),
)


@pytest.mark.parametrize(("file", "schema"), [(GITPOD, GITPOD_SCHEMA), (DEVCONTAINER, DEVCONTAINER_SCHEMA)])
def test_file_conforms_to_its_reference(file: Any, schema: Any) -> None:
    Draft202012Validator(schema).validate(file)


def test_files_forward_the_ports_of_service_and_postgres() -> None:
    ports = {port["port"]: port for port in GITPOD["ports"]}

    assert ports.keys() >= {4567, 5432}
    assert ports[5432]["visibility"] == "private"
    assert DEVCONTAINER["forwardPorts"] == [4567, 5432]


def test_gitpods_database_is_composes() -> None:
    (published,) = config()["services"]["db"]["ports"]
    for task in GITPOD["tasks"]:
        assert task["env"] == {
            "CONNECTION_URL": f"postgresql://postgres:password@localhost:{published['published']}/cruddur",
            "SERVICE_CONNECTION_URL": f"postgresql://{ROLE}:password@localhost:{published['published']}/cruddur",
        }


def test_devcontainers_database_is_composes_on_localhost() -> None:
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
    # The port is forwarded, not published, so that another Postgres may run on the machine.
    assert "ports" not in db
    assert (db["image"], db["healthcheck"]) == (
        config()["services"]["db"]["image"],
        config()["services"]["db"]["healthcheck"],
    )

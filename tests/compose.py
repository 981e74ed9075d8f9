"""The configuration that docker compose reads from its files, without an engine."""

import json
import os
import subprocess
from typing import Any

from harness.processes import CLEAN
from ops.command import ROOT


def config(*files: str, env_file: str = os.devnull, profile: str = "*", **settings: str) -> Any:
    """Return the files as compose reads them, with the services of a profile, in an environment of `settings`.

    With no developer's .env, but with the file that is given in its place.
    """
    named = [word for file in files or ("docker-compose.yml",) for word in ("--file", str(ROOT / file))]
    options = ["--env-file", env_file, "--profile", profile, *named]
    compose = [str(ROOT / ".venv" / "bin" / "docker-compose"), *options, "config", "--format=json"]
    # Compose takes its variables from wherever it can.
    environ = {name: value for name, value in CLEAN.items() if name in {"PATH", "HOME"}} | settings
    told = json.loads(subprocess.run(compose, env=environ, capture_output=True, check=True).stdout)
    for service in told["services"].values():
        # A container gets no variable that compose shows without a value.
        found = service.get("environment", {})
        service["environment"] = {name: value for name, value in found.items() if value is not None}
    return told


def command(service: Any, name: str = "command") -> list[str]:
    """Return a service's command as it runs: compose writes `$$` for a `$` of the command's own."""
    return [word.replace("$$", "$") for word in service[name]]

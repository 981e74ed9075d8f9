"""What docker compose makes of its files. It needs no engine for that."""

import json
import os
import subprocess
from typing import Any

from ops.command import ROOT
from tests.running import CLEAN


def config(*files: str, **settings: str) -> Any:
    """The files as compose reads them, each service of each profile, in an environment of `settings`.

    Not with what a developer's .env says.
    """
    named = [word for file in files or ("docker-compose.yml",) for word in ("--file", str(ROOT / file))]
    compose = [str(ROOT / ".venv" / "bin" / "docker-compose"), "--env-file", os.devnull, "--profile", "*", *named]
    shown = subprocess.run([*compose, "config", "--format=json"], env=CLEAN | settings, capture_output=True, check=True)
    return json.loads(shown.stdout)


def command(service: Any, name: str = "command") -> list[str]:
    """A service's command, in the way that it runs: compose writes `$$` for what is not one of its own variables."""
    return [word.replace("$$", "$") for word in service[name]]

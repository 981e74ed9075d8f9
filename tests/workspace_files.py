"""The files that Gitpod and the devcontainer read."""

import json
import re

import yaml

from ops.command import ROOT

GITPOD = yaml.safe_load((ROOT / ".gitpod.yml").read_text())
# JSON with comments, each in a line of its own.
DEVCONTAINER = json.loads(re.sub(r"(?m)^\s*//.*", "", (ROOT / ".devcontainer" / "devcontainer.json").read_text()))

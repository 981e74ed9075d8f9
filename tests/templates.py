"""CloudFormation's templates as the tests see them: parsed, and with faults planted."""

import json
from copy import deepcopy
from functools import cache
from typing import Any

from cfnlint.decode import cfn_yaml

from ops import rds
from ops.command import ROOT

TEMPLATES = ROOT / "aws" / "cloudformation"
# The scripts' are the templates' too.
REGIONS = set(rds.REGIONS)
NAMES = sorted(path.name for path in TEMPLATES.iterdir())

Template = dict[str, Any]


@cache
def template(name: str) -> Template:
    """Return the template, its short forms (!Ref) written out. Callers must not change the result."""
    parsed: Template = json.loads(json.dumps(cfn_yaml.load(str(TEMPLATES / name))))
    return parsed


def properties(of: Template, resource: str) -> dict[str, Any]:
    """Return a resource's properties."""
    found: dict[str, Any] = of["Resources"][resource]["Properties"]
    return found


def resources(of: Template, kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all resources of a kind, by their names."""
    return {name: found["Properties"] for name, found in of["Resources"].items() if found["Type"] == kind}


def planted(sound: Template, path: str, value: Any) -> Template:
    """Return the template with another value at a path (`Database.Properties.Port`), or with None without it."""
    faulty = deepcopy(sound)
    *way, last = (int(step) if step.isdigit() else step for step in path.split("."))
    inner: Any = faulty["Resources"]
    for step in way:
        inner = inner[step]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return faulty

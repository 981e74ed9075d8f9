"""CloudFormation's templates as the tests see them: parsed, and with faults planted."""

import json
import re
from copy import deepcopy
from functools import cache
from typing import Any, NamedTuple

from cfnlint.decode import cfn_yaml

from ops import rds
from ops.command import ROOT

TEMPLATES = ROOT / "aws" / "cloudformation"
# The scripts' are the templates' too.
REGIONS = set(rds.REGIONS)
NAMES = sorted(path.name for path in TEMPLATES.iterdir())

Template = dict[str, Any]

# Parameters of service.yaml: those without a default, and the optional ones.
DATABASE_HOST = "db.abc.eu-west-1.rds.amazonaws.com"
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:honeycomb-AbCdEf"
GIVEN: dict[str, Any] = {
    "MigrationVersion": "1.2.0",
    "Version": "1.2.0",
    "ServiceConnectionUrl": f"postgresql://cruddur_service@{DATABASE_HOST}:5432/cruddur?sslmode=verify-full",
    "ProdConnectionUrl": f"postgresql://cruddur_owner@{DATABASE_HOST}:5432/cruddur?sslmode=verify-full",
    "OwnerSecretArn": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:rds!db-0a1b-AbCdEf",
    "OwnerKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/0a1b2c3d",
    "ServicePolicyArn": "arn:aws:iam::123456789012:policy/cruddur-database-ServicePolicy-1A2B",
    "CertificateArn": "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d-0000",
    "UserPoolId": "eu-west-1_AbCdEfGhI",
    "UserPoolClientId": "1h57kf5cpq17m0eml12EXAMPLE",
    "Domain": "https://cruddur.auth.eu-west-1.amazoncognito.com",
    "FrontendUrl": "https://cruddur.example",
    "VpcId": "vpc-0a1b2c3d",
    "ServiceSecurityGroupId": "sg-0a1b2c3d",
    "PublicSubnetIds": ["subnet-1", "subnet-2"],
    "PrivateSubnetIds": ["subnet-3", "subnet-4"],
}
OPTIONAL = {
    "ReadConnectionUrl": GIVEN["ServiceConnectionUrl"].replace("@db.", "@replica."),
    "RedisHost": "redis.example",
    "RedisSecurityGroupId": "sg-4e5f6a7b",
    "HoneycombSecretArn": SECRET,
    "CollectorVersion": "0.140.0",
}


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


PSEUDO = {
    "AWS::Region": "eu-west-1",
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
}
NO_VALUE = {"Ref": "AWS::NoValue"}


def resolved(of: Template, **values: Any) -> Template:
    """Return the template as CloudFormation reads it with these parameters: no function and no condition is left.

    A reference to a resource becomes the resource's name, and an attribute `Resource.Attribute`.
    """
    defaults = {name: parameter["Default"] for name, parameter in of["Parameters"].items() if "Default" in parameter}
    names = {name: name for name in of["Resources"]} | defaults | PSEUDO | values
    holds: dict[str, bool] = {}
    reader = Reader(of["Mappings"], names, holds)
    for name, condition in of["Conditions"].items():
        holds[name] = bool(reader.read(condition))
    kept = {name: each for name, each in of["Resources"].items() if holds.get(each.get("Condition", ""), True)}
    return {**of, "Resources": {name: reader.read(each) for name, each in kept.items()}}


class Reader(NamedTuple):
    """The values by which CloudFormation's functions are read."""

    mappings: dict[str, Any]
    names: dict[str, Any]
    conditions: dict[str, bool]

    def read(self, part: Any) -> Any:
        """Return a part of a template without functions."""
        if isinstance(part, list):
            return [self.read(each) for each in map(self.decide, part) if each != NO_VALUE]
        part = self.decide(part)
        if not isinstance(part, dict):
            return part
        if len(part) == 1:
            ((function, argument),) = part.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self.call(function, argument)
        return {name: self.read(each) for name, each in part.items() if self.decide(each) != NO_VALUE}

    def decide(self, part: Any) -> Any:
        """Return the chosen branch of an `Fn::If`, or another part as it is."""
        while isinstance(part, dict) and part.keys() == {"Fn::If"}:
            condition, then, otherwise = part["Fn::If"]
            part = then if self.conditions[condition] else otherwise
        return part

    def call(self, function: str, argument: Any) -> Any:
        """Return the value of a function."""
        match function:
            case "Ref":
                return self.names[argument]
            case "Fn::GetAtt":
                return ".".join(argument)
            case "Fn::Sub":
                text = re.sub(r"\$\{([\w:]+)\}", lambda name: str(self.names[name[1]]), self.attributes(argument))
                return text.replace("${!", "${")
            case "Fn::Equals" | "Fn::Not":
                return self.holds(function, argument)
            case "Fn::Join":
                return argument[0].join(self.read(argument[1]))
            case "Fn::FindInMap":
                first, *keys = (self.read(each) for each in argument)
                return self.mappings[first][keys[0]][keys[1]]
        raise AssertionError(f"{function} is not read here")

    def holds(self, function: str, argument: Any) -> bool:
        """Return whether a condition holds."""
        if function == "Fn::Not":
            return not self.read(argument[0])
        return len({str(self.read(each)) for each in argument}) == 1

    @staticmethod
    def attributes(text: str) -> str:
        """Return a text of `Fn::Sub` with its attributes of resources."""
        return re.sub(r"\$\{(\w+\.\w+)\}", r"\1", text)

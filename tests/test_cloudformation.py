"""The CloudFormation templates, checked by AWS's tools: cfn-lint, and cfn-guard with the rules of Control Tower."""

import json
import platform
import re
import shutil
import subprocess
import tarfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from ops.command import ROOT
from tests.templates import GIVEN, NAMES, OPTIONAL, REGIONS, TEMPLATES, Template, planted, resolved, template

pytestmark = pytest.mark.slow

DOCUMENT = (ROOT / "docs" / "aws.md").read_text()
README = (ROOT / "README.md").read_text()
SYSTEMS = {"Linux": "ubuntu", "Darwin": "macos"}
MACHINES = {"arm64": "aarch64"}
# cfn-guard's exit status for a broken rule.
BROKEN = 19


FAULTS: list[tuple[str, str, Any, str]] = [
    ("database", "Database.Properties.PubliclyAccessible", True, "CT.RDS.PR.23"),
    ("database", "Database.Properties.StorageEncrypted", False, "CT.RDS.PR.24"),
    ("database", "Database.Properties.KmsKeyId", None, "CT.RDS.PR.30"),
    ("database", "Database.Properties.EnableIAMDatabaseAuthentication", False, "CT.RDS.PR.7"),
    ("database", "Database.Properties.DeletionProtection", False, "CT.RDS.PR.13"),
    ("database", "Database.Properties.MasterUsername", "postgres", "CT.RDS.PR.22"),
    ("database", "Database.Properties.EnableCloudwatchLogsExports", ["upgrade"], "CT.RDS.PR.14"),
    ("database", "ParameterGroup.Properties.Parameters", {"rds.force_ssl": "0"}, "CT.RDS.PR.28"),
    ("database", "OperatorRule.Properties.CidrIp", "0.0.0.0/0", "CT.EC2.PR.4"),
    ("database", "Key.Properties.EnableKeyRotation", False, "CT.KMS.PR.1"),
    ("database", "Key.Properties.KeyPolicy.Statement.1", None, "CT.KMS.PR.3"),
    ("database", "PostgresLog.Properties.KmsKeyId", None, "CT.CLOUDWATCH.PR.3"),
    ("database", "ServicePolicy.Properties.PolicyDocument.Statement.0.Action", "rds:*", "CT.IAM.PR.3"),
    ("sign-in", "Permission.Properties.SourceArn", None, "CT.LAMBDA.PR.2"),
    ("sign-in", "Role.Properties.Policies.0.PolicyDocument.Statement.0.Action", "rds:*", "CT.IAM.PR.5"),
    ("service", "Service.Properties.PlatformVersion", "1.3.0", "CT.ECS.PR.1"),
    ("service", "Cluster.Properties.ClusterSettings", [], "CT.ECS.PR.2"),
    ("service", "Task.Properties.ContainerDefinitions.1.User", "0:0", "CT.ECS.PR.3"),
    ("service", "Task.Properties.NetworkMode", "bridge", "CT.ECS.PR.4"),
    ("service", "Task.Properties.ContainerDefinitions.2.LogConfiguration", None, "CT.ECS.PR.5"),
    ("service", "Task.Properties.ContainerDefinitions.0.ReadonlyRootFilesystem", False, "CT.ECS.PR.6"),
    ("service", "MigrationTask.Properties.ContainerDefinitions.0.Memory", None, "CT.ECS.PR.7"),
    (
        "service",
        "Service.Properties.NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp",
        "ENABLED",
        "CT.ECS.PR.9",
    ),
    ("service", "Task.Properties.ContainerDefinitions.1.Privileged", True, "CT.ECS.PR.11"),
    (
        "service",
        "Task.Properties.ContainerDefinitions.1.Environment.0.Name",
        "AWS_SECRET_ACCESS_KEY",
        "CT.ECS.PR.12",
    ),
    ("service", "HttpListener.Properties.DefaultActions.0.Type", "forward", "CT.ELASTICLOADBALANCING.PR.1"),
    ("service", "HttpsListener.Properties.Certificates", None, "CT.ELASTICLOADBALANCING.PR.2"),
    ("service", "LoadBalancer.Properties.LoadBalancerAttributes.2.Value", "monitor", "CT.ELASTICLOADBALANCING.PR.3"),
    ("service", "LoadBalancer.Properties.LoadBalancerAttributes.1.Value", "false", "CT.ELASTICLOADBALANCING.PR.4"),
    ("service", "LoadBalancer.Properties.LoadBalancerAttributes.0.Value", "false", "CT.ELASTICLOADBALANCING.PR.5"),
    ("service", "LoadBalancerSecurityGroup.Properties.SecurityGroupIngress.0.FromPort", 22, "CT.EC2.PR.3"),
    ("service", "Log.Properties.KmsKeyId", None, "CT.CLOUDWATCH.PR.3"),
    ("service", "Latency.Properties.AlarmActions", None, "CT.CLOUDWATCH.PR.1"),
    ("service", "Key.Properties.EnableKeyRotation", False, "CT.KMS.PR.1"),
    ("service", "ExecutionRole.Properties.Policies.0.PolicyDocument.Statement.1.Action", "ecr:*", "CT.IAM.PR.5"),
    ("guardrails", "Trail.Properties.KMSKeyId", None, "CT.CLOUDTRAIL.PR.1"),
    ("guardrails", "Trail.Properties.EnableLogFileValidation", False, "CT.CLOUDTRAIL.PR.2"),
    ("guardrails", "Bucket.Properties.PublicAccessBlockConfiguration.BlockPublicPolicy", False, "CT.S3.PR.1"),
    ("guardrails", "BucketPolicy.Properties.PolicyDocument.Statement.2", None, "CT.S3.PR.8"),
    ("guardrails", "Bucket.Properties.ObjectLockEnabled", False, "CT.S3.PR.9"),
]


# The rules see neither through a condition nor through a parameter. These findings go away where both are read.
UNSEEN = {
    ("CT.ECS.PR.3", "Task"),
    ("CT.ECS.PR.5", "Task"),
    ("CT.ECS.PR.6", "Task"),
    ("CT.ELASTICLOADBALANCING.PR.2", "HttpsListener"),
}


def readable(name: str) -> Template:
    """Return a template, service.yaml with all of its conditions and functions read."""
    return resolved(template("service.yaml"), **(GIVEN | OPTIONAL)) if name == "service" else template(f"{name}.yaml")


# By template file: each broken rule with the resource that breaks it.
Broken = dict[str, set[tuple[str, str]]]


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Broken:
    """Run cfn-guard over the templates and over one copy per planted fault, broken_rules by the fault's number."""
    tools, data = tmp_path_factory.mktemp("guard"), tmp_path_factory.mktemp("templates")
    for name in NAMES:
        shutil.copy(TEMPLATES / name, data)
    (data / "service.json").write_text(json.dumps(readable("service")))
    for number, (name, path, value, _) in enumerate(FAULTS):
        (data / f"{number}.json").write_text(json.dumps(planted(readable(name), path, value)))
    options = ["--output-format", "json", "--structured", "--show-summary", "none"]
    command = [unpack_cfn_guard(tools), "validate", "--rules", tools / "package" / "rules", "--data", data, *options]
    # One run for all files: reading the rules takes longer than checking a template.
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert result.returncode == BROKEN, result.stderr
    return {
        Path(report["name"]).name: {
            finding for rule in report["not_compliant"] for finding in broken_rules(json.dumps(rule))
        }
        for report in json.loads(result.stdout)
    }


def unpack_cfn_guard(folder: Path) -> Path:
    """Unpack cfn-guard and its rules from the package that bundles both for the CDK."""
    package = distribution("cdklabs.cdk-validator-cfnguard")
    (archive,) = (file for file in package.files or () if file.name.endswith(".tgz"))
    machine = MACHINES.get(platform.machine(), platform.machine())
    program = f"package/bin/{SYSTEMS[platform.system()]}/{machine}/cfn-guard"
    with tarfile.open(str(package.locate_file(archive))) as tar:
        for member in tar:
            if member.name == program or member.name.endswith(".guard"):
                (folder / member.name).parent.mkdir(parents=True, exist_ok=True)
                (folder / member.name).write_bytes(tar.extractfile(member).read())
    (folder / program).chmod(0o755)
    return folder / program


def broken_rules(report: str) -> set[tuple[str, str]]:
    """Return the rule of a report with each resource that the report names."""
    rule = re.findall(r"\[(CT\.\w+\.PR\.\d+)\]", report)[0]
    return {(rule, resource) for resource in re.findall(r"/Resources/(\w+)/", report)}


def table(heading: str) -> list[list[str]]:
    """Return the rows of the document's table under a heading."""
    section = DOCUMENT.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def lint(file: Path) -> list[str]:
    """Return cfn-lint's findings for a template in all of our regions, hints included."""
    options = ["--include-checks", "I", "--format", "json", "--regions", *sorted(REGIONS)]
    command = [str(ROOT / ".venv" / "bin" / "cfn-lint"), str(file), *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return [f"{each['Rule']['Id']} {each['Message']}" for each in json.loads(result.stdout)]


@pytest.mark.parametrize("name", NAMES)
def test_cfn_lint_passes(name: str) -> None:
    assert lint(TEMPLATES / name) == []


def test_cfn_lint_detects_a_planted_fault(tmp_path: Path) -> None:
    faulty = planted(template("database.yaml"), "Database.Properties.BackupRetentionPeriod", 36)

    (tmp_path / "faulty.json").write_text(json.dumps(faulty))

    assert any("36" in finding for finding in lint(tmp_path / "faulty.json"))


def accepted(name: str) -> set[tuple[str, str]]:
    """Return the documented exceptions of a template: each rule with the resource."""
    return {
        (rule, resource)
        for template, rule, resources, _ in table("Accepted findings")
        for resource in re.findall(r"\w+", resources)
        if template == f"`{name}`"
    }


@pytest.mark.parametrize("name", NAMES)
def test_control_tower_rules_pass_but_for_documented_exceptions(name: str, broken: Broken) -> None:
    assert broken[name] == accepted(name)


def test_rules_pass_where_conditions_and_parameters_are_read(broken: Broken) -> None:
    assert broken["service.json"] == accepted("service.yaml") - UNSEEN


def test_each_documented_exception_has_a_template_and_a_reason() -> None:
    for file, *_, reason in table("Accepted findings"):
        assert file.strip("`") in NAMES
        assert reason


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=lambda number: "-".join(FAULTS[number][3:0:-2]))
def test_planted_fault_breaks_its_rule(number: int, broken: Broken) -> None:
    _, path, _, rule = FAULTS[number]

    assert (rule, path.partition(".")[0]) in broken[f"{number}.json"]


@pytest.mark.parametrize("name", NAMES)
def test_stacks_are_limited_to_regions_of_the_union(name: str) -> None:
    (assertion,) = template(name)["Rules"]["InTheUnion"]["Assertions"]

    allowed, region = assertion["Assert"]["Fn::Contains"]
    assert set(allowed) == REGIONS
    assert region == {"Ref": "AWS::Region"}


def test_documented_practices_name_existing_checks() -> None:
    checks = "".join(row[2] for row in table("Good practices"))
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))

    assert set(re.findall(r"CT\.\w+\.PR\.\d+", checks)) <= {fault[3] for fault in FAULTS}
    assert [name for name in re.findall(r"test_\w+", checks) if f"def {name}(" not in tests] == []


def test_documented_commands_pass_every_required_parameter() -> None:
    commands = re.findall(r"--template-file aws/cloudformation/(\S+) \\\n(.*?)\n(?=aws |```)", DOCUMENT, re.DOTALL)
    outputs = template("database.yaml")["Outputs"].keys() | template("sign-in.yaml")["Outputs"].keys()

    assert sorted({name for name, _ in commands}) == NAMES
    for name, rest in commands:
        parameters = template(name)["Parameters"]
        arguments = dict(re.findall(r"\b([A-Z]\w+)=([^\s,]+)", rest))
        from_outputs = {output for output in outputs if output.startswith("Database") and "'Database'" in rest}
        # Names of outputs of another stack, which have the names of our parameters.
        from_outputs |= {output for output in outputs if re.search(rf"[ ']{output}\b(?!=)", rest)}
        assert arguments.keys() | from_outputs <= parameters.keys()
        assert {
            parameter for parameter in parameters if "Default" not in parameters[parameter]
        } <= arguments.keys() | from_outputs
        for parameter, value in arguments.items():
            assert re.fullmatch(parameters[parameter].get("AllowedPattern", ".*"), value)


@pytest.mark.parametrize("name", NAMES)
def test_setting_named_in_an_output_is_in_the_readme(name: str) -> None:
    for output in template(name)["Outputs"].values():
        for setting in re.findall(r"^[A-Z]\w+_[A-Z_]+", output["Description"]):
            assert f"`{setting}`" in README

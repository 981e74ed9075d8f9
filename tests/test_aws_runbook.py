"""docs/aws.md: each `aws` and `bin/rds-*` command of the runbook runs against moto, in the page's order.

A command of the table under "Commands that moto cannot run" must fail, so that the table stays true.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.command import ROOT
from tests.aws import NAME, REGION, Aws, group
from tests.in_process import script
from tests.templates import GIVEN, template

CLI = shutil.which("aws", path="/usr/bin")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CLI, reason="needs the AWS CLI: apt-get install awscli")]

DOCUMENT = (ROOT / "docs" / "aws.md").read_text()
# The links by which the commands find the project's files.
FOLDERS = ("aws", "bin", "ops", "backend-flask")
ZIP = "dist/lambda/cruddur-post-confirmation-aarch64.zip"
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
EMPTY_ZIP = b"PK\x05\x06" + bytes(18)
# What database.yaml's stack has for the other stacks.
OUTPUTS = {"DatabaseHost": f"{NAME}.abc.{REGION}.rds.amazonaws.com", "DatabaseResourceId": "db-ABCDEFGHIJKL"}


def commands(document: str) -> Iterator[tuple[str, str]]:
    """Yield each `aws` and `bin/rds-*` command of the document's blocks, on one line, with the heading above it."""
    heading = ""
    for part in re.findall(r"^#+ [^\n]*$|^```\w*\n.*?^```", document, re.DOTALL | re.MULTILINE):
        if part.startswith("#"):
            heading = part.strip("# ")
            continue
        for line in re.sub(r"\s+\\\n\s+|(?<=\|)\n\s+", " ", part).splitlines():
            if re.match(r"(export \w+=\$\(|until )?(aws|bin/rds-[a-z-]+)( |$)", line):
                yield heading, line


COMMANDS = list(commands(DOCUMENT))
UNKNOWN = re.findall(r"^\| `([^`]+)` \|", DOCUMENT.split("## Commands that moto cannot run")[1], re.MULTILINE)


def is_unknown(line: str) -> bool:
    """Return whether the page lists a command as one that moto cannot run. An ellipsis stands for other words."""
    return any(all(part in line for part in name.split(" ... ")) for name in UNKNOWN)


def nothing(_: Aws) -> None:
    """Leave the account as it is."""


def journal_instance(aws: Aws) -> None:
    """Create the instance as the journal did."""
    aws.client("rds").create_db_instance(
        DBInstanceIdentifier=NAME,
        DBInstanceClass="db.t3.micro",
        Engine="postgres",
        EngineVersion="14.6",
        MasterUsername="root",
        MasterUserPassword="password",
        AllocatedStorage=20,
        PubliclyAccessible=True,
    )


def our_instance(aws: Aws) -> None:
    """Create the instance as the template does."""
    script("rds-create", **aws.settings, DB_SG_ID=group(aws))


def database_stack(aws: Aws) -> None:
    """Create a stack with the outputs of database.yaml."""
    outputs = {name: {"Value": value} for name, value in OUTPUTS.items()}
    outputs["DatabaseSecurityGroupId"] = {"Value": group(aws)}
    topic = {"Topic": {"Type": "AWS::SNS::Topic"}}
    body = json.dumps({"Resources": topic, "Outputs": outputs})
    aws.client("cloudformation").create_stack(StackName="cruddur-database", TemplateBody=body)


def function(aws: Aws) -> None:
    """Create the log group of the Lambda."""
    aws.client("logs").create_log_group(logGroupName="/aws/lambda/cruddur-post-confirmation")


def both_stacks(aws: Aws) -> None:
    """Create stacks with the outputs of database.yaml and sign-in.yaml that the service's stack takes."""
    statement = {"Effect": "Allow", "Action": "rds-db:connect", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    found = {name: value for name, value in GIVEN.items() if isinstance(value, str)}
    found["ServicePolicyArn"] = aws.client("iam").create_policy(PolicyName="p", PolicyDocument=policy)["Policy"]["Arn"]
    found["ServiceSecurityGroupId"] = group(aws)
    topic = {"Topic": {"Type": "AWS::SNS::Topic"}}
    for stack, file in (("cruddur-database", "database.yaml"), ("cruddur-sign-in", "sign-in.yaml")):
        outputs = {name: {"Value": found[name]} for name in template(file)["Outputs"] if name in found}
        body = json.dumps({"Resources": topic, "Outputs": outputs})
        aws.client("cloudformation").create_stack(StackName=stack, TemplateBody=body)


# What is there before the commands of a section.
BEFORE: dict[str, Callable[[Aws], None]] = {
    "3. Database": our_instance,
    "A new instance": journal_instance,
    "In place": journal_instance,
    "4. User pool": database_stack,
    "A pool that exists": database_stack,
    "5. Lambda": function,
    "The backend on ECS": both_stacks,
    "Costs": our_instance,
}


def account(aws: Aws) -> dict[str, str]:
    """Create what the page's examples name. Return the names that AWS gave them, by those of the page."""
    ec2, rds = aws.client("ec2"), aws.client("rds")
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]]
    rds.create_db_subnet_group(DBSubnetGroupName="private", DBSubnetGroupDescription="a test's", SubnetIds=subnets)
    aws.client("s3").create_bucket(Bucket="our-zips", CreateBucketConfiguration={"LocationConstraint": REGION})
    aws.client("secretsmanager").create_secret(Name="cruddur-owner", SecretString='{"password": "secret"}')
    certificate = aws.client("acm").request_certificate(DomainName="cruddur.example")["CertificateArn"]
    zone = aws.client("route53").create_hosted_zone(Name="cruddur.example", CallerReference="a test's")["HostedZone"]
    pool = aws.client("cognito-idp").create_user_pool(PoolName="a test's")["UserPool"]["Id"]
    return {
        "vpc-0a1b2c3d": ec2.describe_vpcs()["Vpcs"][0]["VpcId"],
        "subnet-0a1b2c3d": subnets[0],
        "subnet-4e5f6a7b": subnets[1],
        "subnet-1a2b3c4d": subnets[0],
        "subnet-5e6f7a8b": subnets[1],
        CERTIFICATE: certificate,
        "Z0123456789ABCDEFGHIJ": zone["Id"].removeprefix("/hostedzone/"),
        "sg-0123456789abcdef0": group(aws, "203.0.113.7/32"),
        "eu-west-1_aB3xYz012": pool,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the project's files, a zip, and an AWS CLI that calls moto."""
    for name in FOLDERS:
        (tmp_path / name).symlink_to(ROOT / name)
    for name, content, mode in (
        (ZIP, EMPTY_ZIP, 0o644),
        ("cli/aws", f'#!/bin/sh\nexec {CLI} --endpoint-url "$AWS_ENDPOINT_URL" "$@"\n'.encode(), 0o755),
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(mode)
    return tmp_path


@pytest.mark.parametrize("section", dict.fromkeys(heading for heading, _ in COMMANDS))
def test_commands_run_in_the_order_of_the_page(aws: Aws, folder: Path, section: str) -> None:
    names = account(aws)
    BEFORE.get(section, nothing)(aws)
    path = f"{folder / 'cli'}:{os.environ['PATH']}"
    settings = {**aws.settings, "PATH": path, "HOME": str(folder), "DB_SG_ID": names["sg-0123456789abcdef0"]}
    for heading, line in COMMANDS:
        if heading != section:
            continue
        command = re.sub("|".join(names), lambda found: names[found[0]], line)
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=folder,
            env=settings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (result.returncode != 0) is is_unknown(line), f"{line}: {result.stdout[-300:]}{result.stderr[-1000:]}"


def test_list_names_commands_of_the_page() -> None:
    lines = [line for _, line in COMMANDS]
    for name in UNKNOWN:
        assert any(all(part in line for part in name.split(" ... ")) for line in lines), name
    assert BEFORE.keys() <= {heading for heading, _ in COMMANDS}

"""bin/ecs-deploy: the order of migration and service, and what a failure leaves, on moto's ECS and CloudFormation."""

import json
import re
from argparse import ArgumentTypeError
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import pytest
from botocore.exceptions import ClientError, WaiterError

from harness.stubs import StubRequest, StubResponse, http_stub
from lib.command_errors import CommandError
from ops import ecs_deploy
from tests.aws import ALONE, KEYS, REGION, Aws
from tests.in_process import fails, succeeds
from tests.templates import GIVEN, TEMPLATES, template

pytestmark = pytest.mark.slow

STACK = "cruddur-service"
POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "rds-db:connect", "Resource": "*"}]}'


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once."""
    monkeypatch.setattr(ecs_deploy, "WAITING", {"Delay": 0, "MaxAttempts": 20})


@pytest.fixture
def stack(aws: Aws) -> Aws:
    """Create the stack as docs/aws.md does, without a version that serves."""
    ec2 = aws.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = ",".join(each["SubnetId"] for each in ec2.describe_subnets()["Subnets"])
    group = ec2.create_security_group(GroupName="database", Description="a test's", VpcId=vpc)["GroupId"]
    given = GIVEN | {
        "VpcId": vpc,
        "PublicSubnetIds": subnets,
        "PrivateSubnetIds": subnets,
        "ServiceSecurityGroupId": group,
        "CertificateArn": aws.client("acm").request_certificate(DomainName="cruddur.example")["CertificateArn"],
        "ServicePolicyArn": aws.client("iam").create_policy(PolicyName="p", PolicyDocument=POLICY)["Policy"]["Arn"],
        "MigrationVersion": "1.0.0",
        "Version": "",
    }
    # moto knows no previous value of a parameter that has its default.
    parameters = template("service.yaml")["Parameters"]
    defaults = {name: str(each["Default"]) for name, each in parameters.items() if "Default" in each}
    aws.client("cloudformation").create_stack(
        StackName=STACK,
        TemplateBody=(TEMPLATES / "service.yaml").read_text(),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in (defaults | given).items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    return aws


def versions(aws: Aws) -> dict[str, str]:
    """Return the stack's parameters that name a version."""
    (stack,) = aws.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    found = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
    return {name: found[name] for name in ("MigrationVersion", "Version")}


def steps(aws: Aws) -> list[str]:
    """Return what was asked of AWS, in order: the parameters that an update of the stack sets, and runs of a task."""
    found = []
    for body in aws.bodies():
        call = dict(parse_qsl(body))
        if '"launchType"' in body:
            found.append("run")
        elif call.get("Action") == "UpdateStack":
            numbers = re.findall(r"Parameters\.member\.(\d+)\.ParameterValue", body)
            found += [call[f"Parameters.member.{number}.ParameterKey"] for number in numbers]
    return found


def test_database_is_migrated_before_the_version_serves(stack: Aws) -> None:
    assert versions(stack) == {"MigrationVersion": "1.0.0", "Version": ""}

    output = succeeds("ecs-deploy", "1.0.0", **stack.settings)

    assert output.splitlines() == [
        f"{STACK}: the database has the schema of 1.0.0",
        f"{STACK}: 1.0.0 serves",
    ]
    assert versions(stack) == {"MigrationVersion": "1.0.0", "Version": "1.0.0"}
    succeeds("ecs-deploy", "1.1.0", **stack.settings)
    # A repetition migrates again, and changes nothing.
    succeeds("ecs-deploy", "1.1.0", **stack.settings)
    assert versions(stack) == {"MigrationVersion": "1.1.0", "Version": "1.1.0"}
    # The way back: the version before has no migration for the newer schema.
    succeeds("ecs-deploy", "1.0.0", "--no-migration", **stack.settings)
    assert versions(stack) == {"MigrationVersion": "1.1.0", "Version": "1.0.0"}
    assert steps(stack) == [*["MigrationVersion", "run", "Version"] * 3, "Version"]


def test_migration_runs_in_private_subnets_with_the_groups_of_the_tasks(stack: Aws) -> None:
    succeeds("ecs-deploy", "1.1.0", **stack.settings)

    (body,) = (
        json.loads(body) for body in stack.bodies() if '"awsvpcConfiguration"' in body and '"launchType"' in body
    )
    network = body["networkConfiguration"]["awsvpcConfiguration"]
    assert (body["launchType"], network["assignPublicIp"]) == ("FARGATE", "DISABLED")
    assert len(network["subnets"]) >= 2
    assert len(network["securityGroups"]) == 2
    # botocore's own, by which ECS recognises a repeated request.
    assert UUID(body["clientToken"])


def test_missing_stack_is_named(aws: Aws) -> None:
    assert fails("ecs-deploy", "1.0.0", "--stack", "other", **aws.settings) == (
        f"cruddur: no stack other in {REGION}: docs/aws.md has the command that creates it"
    )


@pytest.mark.parametrize("version", ["", "-", "1:2", "a" * 65])
def test_malformed_version_is_refused(version: str) -> None:
    with pytest.raises(ArgumentTypeError):
        ecs_deploy.version_name(version)
    assert ecs_deploy.version_name("a" * 64) == "a" * 64


class Ecs:
    """An ECS of fixed responses, because moto's tasks always succeed."""

    def __init__(self, container: dict[str, Any], failures: tuple[dict[str, str], ...] = ()) -> None:
        self.container, self.failures = container, failures
        self.asked: list[str] = []

    def __call__(self, request: StubRequest) -> StubResponse:
        """Respond to a request by its action."""
        action = request.headers["X-Amz-Target"].rpartition(".")[2]
        self.asked.append(action)
        # GuardDuty adds a container, by an account's setting.
        containers = [{"name": "aws-guardduty-agent", "exitCode": 137}, {"name": "migration", **self.container}]
        task = {"taskArn": "arn:task", "lastStatus": "STOPPED", "containers": containers}
        body = {"tasks": [] if self.failures else [task], "failures": list(self.failures)}
        return StubResponse(body=json.dumps(body).encode())


@pytest.fixture
def settings(stack: Aws) -> dict[str, str]:
    """Return the settings for moto's CloudFormation, beside which a test sets the endpoint of its own ECS."""
    return {**KEYS, **ALONE, "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": stack.url}


@pytest.mark.parametrize(
    ("container", "failures", "reason"),
    [
        ({"exitCode": 1}, (), "the migration of 2.0.0 failed (its log has the reason)"),
        ({"exitCode": 137, "reason": "OutOfMemoryError"}, (), "the migration of 2.0.0 failed (OutOfMemoryError)"),
        # The image could not be pulled.
        ({"reason": "CannotPullContainerError"}, (), "the migration of 2.0.0 failed (CannotPullContainerError)"),
        ({}, ({"reason": "Capacity is unavailable"},), "the migration of 2.0.0 did not start: Capacity is unavailable"),
    ],
)
def test_failed_migration_leaves_the_version_that_serves(
    stack: Aws,
    settings: dict[str, str],
    container: dict[str, Any],
    failures: tuple[dict[str, str], ...],
    reason: str,
) -> None:
    succeeds("ecs-deploy", "1.0.0", **stack.settings)

    with http_stub(ecs := Ecs(container, failures)) as url:
        error = fails("ecs-deploy", "2.0.0", **settings, AWS_ENDPOINT_URL_ECS=url)

    assert reason in error
    assert versions(stack) == {"MigrationVersion": "2.0.0", "Version": "1.0.0"}
    assert ecs.asked[0] == "RunTask"
    succeeds("ecs-deploy", "2.0.0", **stack.settings)
    assert versions(stack)["Version"] == "2.0.0"


def test_container_of_guardduty_is_not_the_migrations(stack: Aws, settings: dict[str, str]) -> None:
    with http_stub(Ecs({"exitCode": 0})) as url:
        succeeds("ecs-deploy", "1.0.0", **settings, AWS_ENDPOINT_URL_ECS=url)

    assert versions(stack)["Version"] == "1.0.0"


def test_migration_that_is_no_longer_observed_is_not_called_failed(
    stack: Aws, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Expired(Ecs):
        """An ECS whose task runs for longer than the command waits."""

        def __call__(self, request: StubRequest) -> StubResponse:
            """Respond with a running task."""
            response = super().__call__(request)
            return response._replace(body=response.body.replace(b"STOPPED", b"RUNNING"))

    monkeypatch.setattr(ecs_deploy, "WAITING", {"Delay": 0, "MaxAttempts": 2})
    with http_stub(Expired({})) as url:
        error = fails("ecs-deploy", "2.0.0", **settings, AWS_ENDPOINT_URL_ECS=url)

    assert error.startswith("cruddur: the migration of 2.0.0 may still go on, and this command waits no longer (")
    assert error.endswith("): run this command again, which waits for that migration")
    assert versions(stack) == {"MigrationVersion": "2.0.0", "Version": ""}


class CloudFormation:
    """A CloudFormation that refuses an update, or goes back from it: moto does neither."""

    def __init__(self, refusal: str = "", status: str = "UPDATE_ROLLBACK_COMPLETE") -> None:
        self.refusal, self.status = refusal, status
        self.waited = 0

    def describe_stacks(self, **_: str) -> dict[str, Any]:
        """Return a stack with two parameters."""
        return {"Stacks": [{"Parameters": [{"ParameterKey": "Version"}, {"ParameterKey": "VpcId"}]}]}

    def update_stack(self, *, Parameters: list[dict[str, Any]], **_: Any) -> None:  # noqa: N803 - as botocore calls it
        """Refuse the update, if there is a refusal."""
        assert Parameters == [
            {"ParameterKey": "Version", "ParameterValue": "2.0.0"},
            {"ParameterKey": "VpcId", "UsePreviousValue": True},
        ]
        if self.refusal:
            raise ClientError({"Error": {"Code": "ValidationError", "Message": self.refusal}}, "UpdateStack")

    def get_waiter(self, name: str) -> "CloudFormation":
        """Return this object as the waiter."""
        assert name == "stack_update_complete"
        return self

    def wait(self, **_: Any) -> None:
        """Fail, as a waiter does when the stack has gone back, or when its time is over."""
        self.waited += 1
        raise WaiterError("StackUpdateComplete", "a reason", {"Stacks": [{"StackStatus": self.status}]})

    def describe_stack_events(self, **_: str) -> dict[str, Any]:
        """Return the failure of the service."""
        failed = {
            "LogicalResourceId": "Service",
            "ResourceStatus": "UPDATE_FAILED",
            "ResourceStatusReason": "ill",
        }
        return {"StackEvents": [failed]}


def test_update_without_a_change_is_done_at_once() -> None:
    stack = CloudFormation("No updates are to be performed.")

    ecs_deploy.update(stack, STACK, Version="2.0.0")

    assert stack.waited == 0
    with pytest.raises(ClientError, match="in progress"):
        ecs_deploy.update(CloudFormation("an update is in progress"), STACK, Version="2.0.0")


def test_deployment_that_goes_back_has_its_reason() -> None:
    with pytest.raises(CommandError, match=r"^cruddur-service was not updated, and went back: Service: ill$"):
        ecs_deploy.update(CloudFormation(), STACK, Version="2.0.0")


def test_deployment_that_is_no_longer_observed_did_not_go_back() -> None:
    with pytest.raises(
        CommandError, match=r"^the update of cruddur-service may still go on, and this command waits no"
    ):
        ecs_deploy.update(CloudFormation(status="UPDATE_IN_PROGRESS"), STACK, Version="2.0.0")


def test_reason_of_a_failed_deployment_is_its_first_failure() -> None:
    events = [
        (STACK, "UPDATE_ROLLBACK_COMPLETE", ""),
        (STACK, "UPDATE_ROLLBACK_IN_PROGRESS", "the following resource failed: [Service]"),
        ("Tasks", "UPDATE_FAILED", "Resource update cancelled"),
        ("Service", "UPDATE_FAILED", "ECS Deployment Circuit Breaker was triggered"),
        (STACK, "UPDATE_IN_PROGRESS", "User Initiated"),
        ("Service", "UPDATE_FAILED", "of an earlier update"),
    ]

    class Events:
        """The events of a stack, newest first."""

        def describe_stack_events(self, **_: str) -> dict[str, Any]:
            """Return them."""
            names = ("LogicalResourceId", "ResourceStatus", "ResourceStatusReason")
            return {"StackEvents": [dict(zip(names, event, strict=True)) for event in events]}

    assert ecs_deploy.failure(Events(), STACK) == "Service: ECS Deployment Circuit Breaker was triggered"
    del events[2:4]
    assert ecs_deploy.failure(Events(), STACK) == "its events have the reason"

"""Deploy a version on ECS: migrate the database by its image, and only then let it serve.

A failed migration leaves the previous version in service. So does a version whose tasks do not become healthy: ECS and
CloudFormation go back.
"""

import re
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any, NamedTuple

from botocore.exceptions import ClientError, WaiterError

from lib.command_errors import CommandError
from ops.command import run
from ops.rds import Response, client, translate_aws_errors

STACK = "cruddur-service"
# The log group of aws/cloudformation/service.yaml.
LOG = "/cruddur/service"
# The container of its migration's task.
CONTAINER = "migration"
# Seconds between two looks, and their number: an index of a large table takes hours.
WAITING = {"Delay": 5, "MaxAttempts": 8640}


class Clients(NamedTuple):
    """The clients of the two services of AWS's."""

    cloudformation: Any
    ecs: Any


def deploy(clients: Clients, stack: str, version: str, *, migrates: bool) -> None:
    """Migrate the database, unless this is a way back, and let the version serve. Raises `CommandError`."""
    if migrates:
        update(clients.cloudformation, stack, MigrationVersion=version)
        migrate(clients.ecs, outputs(clients.cloudformation, stack), version)
        print(f"{stack}: the database has the schema of {version}")
    update(clients.cloudformation, stack, Version=version)
    print(f"{stack}: {version} serves")


def describe_stack(cloudformation: Any, name: str) -> Response:
    """Return the stack with this name. Raises `CommandError` if it does not exist."""
    try:
        (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
        raise CommandError(
            f"no stack {name} in {cloudformation.meta.region_name}: docs/aws.md has the command that creates it"
        ) from error
    return dict(stack)


def outputs(cloudformation: Any, stack: str) -> dict[str, str]:
    """Return the stack's outputs."""
    return {each["OutputKey"]: each["OutputValue"] for each in describe_stack(cloudformation, stack)["Outputs"]}


def update(cloudformation: Any, name: str, **changes: str) -> None:
    """Change parameters of the stack, leave all others, and wait for the end. Raises `CommandError`."""
    names = [each["ParameterKey"] for each in describe_stack(cloudformation, name)["Parameters"]]
    parameters = [
        {"ParameterKey": each, "ParameterValue": changes[each]}
        if each in changes
        else {"ParameterKey": each, "UsePreviousValue": True}
        for each in names
    ]
    try:
        cloudformation.update_stack(
            StackName=name, UsePreviousTemplate=True, Parameters=parameters, Capabilities=["CAPABILITY_IAM"]
        )
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            return
        raise
    try:
        cloudformation.get_waiter("stack_update_complete").wait(StackName=name, WaiterConfig=WAITING)
    except WaiterError as error:
        if not is_rolled_back(error):
            raise CommandError(
                f"the update of {name} may still go on, and this command waits no longer ({error}): when AWS's console "
                "shows its end, run this command again"
            ) from error
        raise CommandError(f"{name} was not updated, and went back: {failure(cloudformation, name)}") from error


def is_rolled_back(error: WaiterError) -> bool:
    """Return whether a wait for an update has ended because CloudFormation went back."""
    stacks = error.last_response.get("Stacks", [])
    return any("ROLLBACK" in stack["StackStatus"] or "FAILED" in stack["StackStatus"] for stack in stacks)


def failure(cloudformation: Any, name: str) -> str:
    """Return the reason of the last update's failure, by the first resource that failed."""
    reasons = []
    # Newest first.
    for event in cloudformation.describe_stack_events(StackName=name)["StackEvents"]:
        if event["ResourceStatus"].endswith("_FAILED"):
            reasons.append(f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason is known')}")
        if event["ResourceStatus"] == "UPDATE_IN_PROGRESS" and event["LogicalResourceId"] == name:
            break
    return reasons[-1] if reasons else "its events have the reason"


def migrate(ecs: Any, stack: dict[str, str], version: str) -> None:
    """Run the migration's task to its end. Raises `CommandError` unless it succeeds."""
    cluster = stack["ClusterName"]
    started = ecs.run_task(
        cluster=cluster,
        taskDefinition=stack["MigrationTaskArn"],
        launchType="FARGATE",
        networkConfiguration={
            "awsvpcConfiguration": {
                "subnets": stack["TaskSubnetIds"].split(","),
                "securityGroups": stack["TaskSecurityGroupIds"].split(","),
                "assignPublicIp": "DISABLED",
            }
        },
    )
    if not started["tasks"]:
        reasons = ", ".join(str(each.get("reason")) for each in started["failures"])
        raise CommandError(f"the migration of {version} did not start: {reasons}")
    (task,) = started["tasks"]
    try:
        ecs.get_waiter("tasks_stopped").wait(cluster=cluster, tasks=[task["taskArn"]], WaiterConfig=WAITING)
    except WaiterError as error:
        raise CommandError(
            f"the migration of {version} may still go on, and this command waits no longer ({error}): run this command "
            "again, which waits for that migration"
        ) from error
    (stopped,) = ecs.describe_tasks(cluster=cluster, tasks=[task["taskArn"]])["tasks"]
    # GuardDuty can add a container of its own.
    container = next(each for each in stopped["containers"] if each["name"] == CONTAINER)
    # A container that never ran has no exit code.
    if container.get("exitCode") != 0:
        reason = container.get("reason") or stopped.get("stoppedReason") or "its log has the reason"
        raise CommandError(
            f"the migration of {version} failed ({reason}), and the previous version still serves: aws logs tail {LOG} "
            "--log-stream-name-prefix migration"
        )


def version_name(text: str) -> str:
    """Return `text` if it is a version, as the template's parameters have it. Raises `ArgumentTypeError`."""
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise ArgumentTypeError(
            f"{text!r} is not a version: letters, digits, dots, hyphens and underscores, 64 at most"
        )
    return text


@translate_aws_errors()
def main() -> None:
    """Run the command."""
    parser = ArgumentParser(prog="bin/ecs-deploy", description=__doc__)
    parser.add_argument("version", type=version_name, help="of the images backend-<version> and nginx-<version>")
    parser.add_argument("--stack", default=STACK, help=f"by default {STACK}")
    parser.add_argument(
        "--no-migration",
        action="store_true",
        help="the way back: a previous version serves with the newer schema, and has no migration for it",
    )
    args = parser.parse_args()
    clients = Clients(client("cloudformation"), client("ecs"))
    deploy(clients, args.stack, args.version, migrates=not args.no_migration)


if __name__ == "__main__":
    run(main)

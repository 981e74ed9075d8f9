"""Create the database's instance on Amazon RDS, with all safeguards. This takes some minutes."""

import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from lib.command_errors import CommandError
from ops.command import run
from ops.rds import (
    LOGS,
    PORT,
    SAFEGUARDS,
    Response,
    argument_parser,
    client,
    client_error_message,
    one_line,
    open_rules,
    required_setting,
    translate_aws_errors,
)

# Newest first. AWS has standard support for all of them.
VERSIONS = ("18", "17", "16", "15")
# The days that CloudWatch accepts, up to the longest ttl of an activity.
LOG_DAYS = (1, 3, 5, 7, 14, 30)
# The days for which RDS can keep automated backups. Without any, there is no point-in-time recovery.
BACKUP_DAYS = range(1, 36)
# CreateDBInstance's parameters that are neither arguments nor safeguards.
FIXED_PARAMETERS = {
    "DBName": "cruddur",
    "Engine": "postgres",
    # The owner, in PROD_CONNECTION_URL. The service has a role of its own.
    "MasterUsername": "cruddur_owner",
    "Port": PORT,
    "StorageType": "gp3",
    # In GiB. The storage grows by itself up to the maximum.
    "AllocatedStorage": 20,
    "MaxAllocatedStorage": 100,
    "AutoMinorVersionUpgrade": True,
    "CopyTagsToSnapshot": True,
    # Days. Only this period is free of charge.
    "PerformanceInsightsRetentionPeriod": 7,
    # AWS rejects a version without standard support, instead of charging for extended support by the hour.
    "EngineLifecycleSupport": "open-source-rds-extended-support-disabled",
}


class Made(NamedTuple):
    """A resource that this run has created, and the call that removes the resource."""

    name: str
    remove: Callable[[], object]


def create(rds: Any, ec2: Any, logs: Any, args: Namespace, group: str) -> None:
    """Create the instance. When a step fails, remove what the earlier steps have made.

    Raises `CommandError` when the instance exists, or the security group `group` is missing or open.
    """
    refuse_existing(rds, args.name)
    refuse_missing_group(ec2, group)
    open_rule_ids = open_rules(ec2, [group])
    if open_rule_ids:
        raise CommandError(f"DB_SG_ID: {group} lets everyone in by {', '.join(open_rule_ids)}: remove that rule first")
    backups = {} if args.backup_days is None else {"BackupRetentionPeriod": args.backup_days}
    made: list[Made] = []
    with removed_on_failure(rds, args.name, made):
        set_log_retention(logs, args.name, args.log_days, made)
        rds.create_db_instance(
            **FIXED_PARAMETERS,
            **safeguard_parameters(dev=args.dev) | backups,
            **network_parameters(args, group),
            DBInstanceIdentifier=args.name,
            DBInstanceClass=args.instance_class,
            EngineVersion=args.postgres,
            DBParameterGroupName=create_parameter_group(rds, args.postgres, made),
        )


@contextmanager
def removed_on_failure(rds: Any, name: str, made: list[Made]) -> Iterator[None]:
    """Remove what is in `made` when AWS refuses a call within the block. The instance `name` keeps what it uses.

    After any other failure, such as a lost response, AWS may be creating the instance: then nothing is removed.
    """
    try:
        yield
    except BaseException as error:
        if is_refusal(error) and not may_exist(rds, name):
            for resource in reversed(made):
                remove(resource)
        else:
            for resource in reversed(made):
                print(f"cruddur: {resource.name} remains: bin/rds-create goes on with it", file=sys.stderr)
        raise


def is_refusal(error: BaseException) -> bool:
    """Return whether AWS has refused a call. After a failure of AWS's own the call may have had its effect."""
    if not isinstance(error, ClientError):
        return False
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) < HTTPStatus.INTERNAL_SERVER_ERROR


def may_exist(rds: Any, name: str) -> bool:
    """Return whether the instance exists now, as after a repeated request whose first response was lost."""
    try:
        rds.describe_db_instances(DBInstanceIdentifier=name)
    except rds.exceptions.DBInstanceNotFoundFault:
        return False
    except (ClientError, BotoCoreError):
        # Nothing proves that it does not.
        return True
    print(f"cruddur: {name} exists now: bin/rds-status shows it", file=sys.stderr)
    return True


def remove(resource: Made) -> None:
    """Remove a resource, and report the outcome. A failure is no reason to keep the others."""
    try:
        resource.remove()
    except ClientError as error:
        print(f"cruddur: {resource.name} remains: {client_error_message(error)}", file=sys.stderr)
    except BotoCoreError as error:
        print(f"cruddur: {resource.name} remains: {one_line(str(error))}", file=sys.stderr)
    else:
        print(f"cruddur: {resource.name} is removed again", file=sys.stderr)


def refuse_existing(rds: Any, name: str) -> None:
    """Refuse a name that is taken, by a `CommandError`."""
    with suppress(rds.exceptions.DBInstanceNotFoundFault):
        rds.describe_db_instances(DBInstanceIdentifier=name)
        raise CommandError(f"instance {name} exists already, and nothing was done: bin/rds-status shows it")


def refuse_missing_group(ec2: Any, group: str) -> None:
    """Refuse a security group that does not exist, by a `CommandError`."""
    try:
        ec2.describe_security_groups(GroupIds=[group])
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"InvalidGroup.NotFound", "InvalidGroupId.Malformed"}:
            raise
        region = ec2.meta.region_name
        raise CommandError(f"DB_SG_ID: no security group {group} in {region}, and nothing was done") from error


def set_log_retention(logs: Any, name: str, days: int, made: list[Made]) -> None:
    """Create the instance's log groups, with a retention of so many days. Add the new ones to `made`.

    By default RDS keeps its logs for ever, and a failed statement is logged with the text of its activity.
    """
    for kind in LOGS:
        group = f"/aws/rds/instance/{name}/{kind}"
        with suppress(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_group(logGroupName=group)
            made.append(Made(f"log group {group}", partial(logs.delete_log_group, logGroupName=group)))
        logs.put_retention_policy(logGroupName=group, retentionInDays=days)


def safeguard_parameters(*, dev: bool) -> Response:
    """Return CreateDBInstance's parameters for the safeguards. With `dev` some are weaker."""
    return {
        safeguard.parameter: safeguard.dev_value if dev and safeguard.dev_value is not None else safeguard.value
        for safeguard in SAFEGUARDS
    }


def network_parameters(args: Namespace, group: str) -> Response:
    """Return CreateDBInstance's parameters for the network. Without a subnet group this is the default VPC."""
    subnets = {"DBSubnetGroupName": args.subnet_group} if args.subnet_group else {}
    zone = {"AvailabilityZone": args.zone} if args.zone else {}
    return {"VpcSecurityGroupIds": [group], **subnets, **zone}


def create_parameter_group(rds: Any, version: str, made: list[Made]) -> str:
    """Create the parameter group that forces TLS, if it is missing, and add it to `made`. Returns its name."""
    name = f"cruddur-postgres{version}"
    with suppress(rds.exceptions.DBParameterGroupAlreadyExistsFault):
        rds.create_db_parameter_group(
            DBParameterGroupName=name,
            DBParameterGroupFamily=f"postgres{version}",
            Description="Cruddur refuses connections without TLS",
        )
        remove_group = partial(rds.delete_db_parameter_group, DBParameterGroupName=name)
        made.append(Made(f"parameter group {name}", remove_group))
    # A new instance starts with this value. AWS rejects `immediate` for a static parameter.
    force_tls = {"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyMethod": "pending-reboot"}
    rds.modify_db_parameter_group(DBParameterGroupName=name, Parameters=[force_tls])
    return name


def check_zone(parser: ArgumentParser, args: Namespace, region: str) -> None:
    """Exit with a usage error for a zone outside of `region`, or with a standby, whose zones AWS chooses."""
    if args.zone and not args.dev:
        parser.error("--zone needs --dev: with a standby AWS takes two zones of the subnet group")
    if args.zone and not re.fullmatch(f"{region}[a-z]", args.zone):
        parser.error(f"--zone: {args.zone} is no zone of {region}: a valid example is {region}a")


@translate_aws_errors()
def main() -> None:
    """Run the command."""
    parser = argument_parser("bin/rds-create", __doc__)
    weaker = ", ".join(f"no {safeguard.name}" for safeguard in SAFEGUARDS if safeguard.dev_value is not None)
    parser.add_argument("--dev", action="store_true", help=f"for experiments: {weaker}")
    parser.add_argument(
        "--postgres", choices=VERSIONS, default=VERSIONS[0], help=f"the version, by default {VERSIONS[0]}"
    )
    parser.add_argument("--instance-class", metavar="CLASS", default="db.t4g.micro", help="by default db.t4g.micro")
    parser.add_argument("--subnet-group", metavar="GROUP", help="by default the subnets of the default VPC")
    parser.add_argument("--zone", metavar="ZONE", help="with --dev: the availability zone, by default AWS's choice")
    days = f"{BACKUP_DAYS[0]} to {BACKUP_DAYS[-1]}, by default 7, or 1 with --dev"
    parser.add_argument(
        "--backup-days", metavar="DAYS", type=int, choices=BACKUP_DAYS, help=f"how long RDS keeps backups: {days}"
    )
    days = f"{', '.join(map(str, LOG_DAYS[:-1]))} or {LOG_DAYS[-1]}, by default {LOG_DAYS[-1]}"
    parser.add_argument(
        "--log-days",
        metavar="DAYS",
        type=int,
        choices=LOG_DAYS,
        default=LOG_DAYS[-1],
        help=f"how long CloudWatch keeps the logs: {days}",
    )
    args = parser.parse_args()

    rds = client("rds")
    check_zone(parser, args, rds.meta.region_name)
    create(rds, client("ec2"), client("logs"), args, required_setting("DB_SG_ID"))
    for safeguard in SAFEGUARDS:
        if args.dev and safeguard.dev_value is not None:
            weaker_value = f"{safeguard.parameter}={safeguard.dev_value}"
            print(f"cruddur: --dev: no {safeguard.name} ({weaker_value})", file=sys.stderr)
    print(f"{args.name} is being created in {rds.meta.region_name}: bin/rds-status {args.name} shows its status")


if __name__ == "__main__":
    run(main)

"""Create the database's instance on Amazon RDS, with all safeguards. This takes some minutes."""

import sys
from argparse import Namespace
from contextlib import suppress
from typing import Any

from lib.command_errors import CommandError
from ops.command import run
from ops.rds import (
    LOGS,
    PORT,
    SAFEGUARDS,
    Response,
    argument_parser,
    client,
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


def create(rds: Any, ec2: Any, logs: Any, args: Namespace, group: str) -> None:
    """Create the instance. Raises `CommandError` when its name is taken or the security group `group` is open."""
    refuse_existing(rds, args.name)
    open_rule_ids = open_rules(ec2, [group])
    if open_rule_ids:
        raise CommandError(f"DB_SG_ID: {group} lets everyone in by {', '.join(open_rule_ids)}: remove that rule first")
    set_log_retention(logs, args.name, args.log_days)
    backups = {} if args.backup_days is None else {"BackupRetentionPeriod": args.backup_days}
    rds.create_db_instance(
        **FIXED_PARAMETERS,
        **safeguard_parameters(dev=args.dev) | backups,
        **network_parameters(args.subnet_group, group),
        DBInstanceIdentifier=args.name,
        DBInstanceClass=args.instance_class,
        EngineVersion=args.postgres,
        DBParameterGroupName=create_parameter_group(rds, args.postgres),
    )


def refuse_existing(rds: Any, name: str) -> None:
    """Refuse a name that is taken, by a `CommandError`."""
    with suppress(rds.exceptions.DBInstanceNotFoundFault):
        rds.describe_db_instances(DBInstanceIdentifier=name)
        raise CommandError(f"instance {name} exists already, and nothing was done: bin/rds-status shows it")


def set_log_retention(logs: Any, name: str, days: int) -> None:
    """Create the instance's log groups, with a retention of so many days.

    By default RDS keeps its logs for ever, and a failed statement is logged with the text of its activity.
    """
    for kind in LOGS:
        group = f"/aws/rds/instance/{name}/{kind}"
        with suppress(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_group(logGroupName=group)
        logs.put_retention_policy(logGroupName=group, retentionInDays=days)


def safeguard_parameters(*, dev: bool) -> Response:
    """Return CreateDBInstance's parameters for the safeguards. With `dev` some are weaker."""
    return {
        safeguard.parameter: safeguard.dev_value if dev and safeguard.dev_value is not None else safeguard.value
        for safeguard in SAFEGUARDS
    }


def network_parameters(subnet_group: str | None, group: str) -> Response:
    """Return CreateDBInstance's parameters for the network. Without a subnet group this is the default VPC."""
    subnets = {"DBSubnetGroupName": subnet_group} if subnet_group else {}
    return {"VpcSecurityGroupIds": [group], **subnets}


def create_parameter_group(rds: Any, version: str) -> str:
    """Create the parameter group that forces TLS, if it is missing. Returns its name."""
    name = f"cruddur-postgres{version}"
    with suppress(rds.exceptions.DBParameterGroupAlreadyExistsFault):
        rds.create_db_parameter_group(
            DBParameterGroupName=name,
            DBParameterGroupFamily=f"postgres{version}",
            Description="Cruddur refuses connections without TLS",
        )
    # A new instance starts with this value. AWS rejects `immediate` for a static parameter.
    force_tls = {"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyMethod": "pending-reboot"}
    rds.modify_db_parameter_group(DBParameterGroupName=name, Parameters=[force_tls])
    return name


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
    create(rds, client("ec2"), client("logs"), args, required_setting("DB_SG_ID"))
    for safeguard in SAFEGUARDS:
        if args.dev and safeguard.dev_value is not None:
            weaker_value = f"{safeguard.parameter}={safeguard.dev_value}"
            print(f"cruddur: --dev: no {safeguard.name} ({weaker_value})", file=sys.stderr)
    print(f"{args.name} is being created in {rds.meta.region_name}: bin/rds-status {args.name} shows its status")


if __name__ == "__main__":
    run(main)

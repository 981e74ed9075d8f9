"""Make the database's instance on Amazon RDS, as safe as it gets. It takes some minutes."""

import sys
from argparse import Namespace
from contextlib import suppress
from typing import Any

from lib.command_errors import CommandError
from ops.command import run
from ops.rds import FLAGS, LOGS, PORT, Answer, argument_parser, client, failures, open_rules, setting

# The newest first. All of them have AWS's standard support.
VERSIONS = ("18", "17", "16", "15")
# Activities live for so many at most.
LOG_DAYS = 30
# What is neither a choice nor a matter of safety.
ALWAYS = {
    "DBName": "cruddur",
    "Engine": "postgres",
    # The owner, in PROD_CONNECTION_URL. The service has a role of its own.
    "MasterUsername": "cruddur_owner",
    "Port": PORT,
    "StorageType": "gp3",
    # GiB, and how far they grow by themselves.
    "AllocatedStorage": 20,
    "MaxAllocatedStorage": 100,
    "AutoMinorVersionUpgrade": True,
    "CopyTagsToSnapshot": True,
    # The one period that costs nothing.
    "PerformanceInsightsRetentionPeriod": 7,
    # A version that has left its standard support is refused, instead of being charged for by the hour.
    "EngineLifecycleSupport": "open-source-rds-extended-support-disabled",
}


def create(rds: Any, ec2: Any, logs: Any, args: Namespace, group: str) -> None:
    """Ask for the instance. Raises `CommandError` when there is one of that name, or `group` lets everyone in."""
    refuse_existing(rds, args.name)
    opened = open_rules(ec2, [group])
    if opened:
        raise CommandError(f"DB_SG_ID: {group} lets everyone in by {', '.join(opened)}: take that rule away first")
    bound_logs(logs, args.name)
    rds.create_db_instance(
        **ALWAYS,
        **flags(dev=args.dev),
        **network(args.subnet_group, group),
        DBInstanceIdentifier=args.name,
        DBInstanceClass=args.instance_class,
        EngineVersion=args.postgres,
        DBParameterGroupName=parameter_group(rds, args.postgres),
    )


def refuse_existing(rds: Any, name: str) -> None:
    """Raises `CommandError` when there is an instance of that name."""
    with suppress(rds.exceptions.DBInstanceNotFoundFault):
        rds.describe_db_instances(DBInstanceIdentifier=name)
        raise CommandError(f"there is an instance {name} already, and nothing was done: bin/rds-status shows it")


def bound_logs(logs: Any, name: str) -> None:
    """Have what the instance will log kept for as long as activities may live, and no longer.

    RDS would have it kept for ever, and a statement that failed is in there with what somebody posted.
    """
    for kind in LOGS:
        group = f"/aws/rds/instance/{name}/{kind}"
        with suppress(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_group(logGroupName=group)
        logs.put_retention_policy(logGroupName=group, retentionInDays=LOG_DAYS)


def flags(*, dev: bool) -> Answer:
    """What keeps the instance safe, as CreateDBInstance takes it; what `dev` goes without."""
    return {flag.asked: flag.dev if dev and flag.dev is not None else flag.safe for flag in FLAGS}


def network(subnet_group: str | None, group: str) -> Answer:
    """Where the instance is put: without a subnet group in the account's default VPC."""
    named = {"DBSubnetGroupName": subnet_group} if subnet_group else {}
    return {"VpcSecurityGroupIds": [group], **named}


def parameter_group(rds: Any, version: str) -> str:
    """The name of the parameter group by which Postgres `version` refuses who comes without TLS, made if missing."""
    name = f"cruddur-postgres{version}"
    with suppress(rds.exceptions.DBParameterGroupAlreadyExistsFault):
        rds.create_db_parameter_group(
            DBParameterGroupName=name,
            DBParameterGroupFamily=f"postgres{version}",
            Description="Cruddur refuses who comes without TLS",
        )
    # A new instance starts with it. `immediate` would be refused where AWS calls the parameter static.
    forced = {"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyMethod": "pending-reboot"}
    rds.modify_db_parameter_group(DBParameterGroupName=name, Parameters=[forced])
    return name


@failures()
def main() -> None:
    """Run the command."""
    parser = argument_parser("bin/rds-create", __doc__)
    weaker = ", ".join(f"no {flag.name}" for flag in FLAGS if flag.dev is not None)
    parser.add_argument("--dev", action="store_true", help=f"to try things out, with {weaker}")
    parser.add_argument("--postgres", choices=VERSIONS, default=VERSIONS[0], help=f"the version, else {VERSIONS[0]}")
    parser.add_argument("--instance-class", metavar="CLASS", default="db.t4g.micro", help="else db.t4g.micro")
    parser.add_argument("--subnet-group", metavar="GROUP", help="else the subnets of the default VPC")
    args = parser.parse_args()

    rds = client("rds")
    create(rds, client("ec2"), client("logs"), args, setting("DB_SG_ID"))
    for flag in FLAGS:
        if args.dev and flag.dev is not None:
            print(f"cruddur: --dev: no {flag.name} ({flag.asked}={flag.dev})", file=sys.stderr)
    print(f"{args.name} is being made in {rds.meta.region_name}: bin/rds-status {args.name} says how far it is")


if __name__ == "__main__":
    run(main)

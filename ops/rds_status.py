"""Show the database's instance on Amazon RDS: its status, its connection string, and missing safeguards."""

from typing import Any, NamedTuple

from lib.command_errors import CommandError
from ops.command import run
from ops.rds import SAFEGUARDS, Response, argument_parser, client, describe_instance, open_rules, translate_aws_errors
from ops.rds_create import VERSIONS

RUNBOOK = "docs/aws.md, From Postgres 14 to 18"


class Check(NamedTuple):
    """A safeguard, whether it holds, and the actual setting."""

    name: str
    holds: bool
    actual: str


def checks(rds: Any, ec2: Any, instance: Response) -> list[Check]:
    """Return the state of every safeguard that bin/rds-create sets."""
    safeguards = [
        Check(
            safeguard.name,
            safeguard.holds(instance),
            f"{safeguard.attribute or safeguard.parameter}={safeguard.actual(instance)}",
        )
        for safeguard in SAFEGUARDS
    ]
    groups = [group["VpcSecurityGroupId"] for group in instance["VpcSecurityGroups"]]
    open_rule_ids = open_rules(ec2, groups)
    version = instance["EngineVersion"]
    return [
        *safeguards,
        Check("version that Cruddur supports", version.split(".")[0] in VERSIONS, f"Postgres {version}: {RUNBOOK}"),
        Check("forced TLS", forces_tls(rds, instance), "rds.force_ssl"),
        Check("closed security group", not open_rule_ids, f"everyone comes in by {', '.join(open_rule_ids)}"),
    ]


def forces_tls(rds: Any, instance: Response) -> bool:
    """Return whether all of the instance's parameter groups make Postgres refuse connections without TLS."""
    groups = instance["DBParameterGroups"]
    return all(
        group["ParameterApplyStatus"] == "in-sync" and parameter_value(rds, group, "rds.force_ssl") == "1"
        for group in groups
    )


def parameter_value(rds: Any, group: Response, name: str) -> str | None:
    """Return the value of a parameter in a group, `None` if it has none."""
    pages = rds.get_paginator("describe_db_parameters").paginate(DBParameterGroupName=group["DBParameterGroupName"])
    values = [
        parameter.get("ParameterValue")
        for page in pages
        for parameter in page["Parameters"]
        if parameter["ParameterName"] == name
    ]
    return values[0] if values else None


def summary(instance: Response, region: str) -> list[str]:
    """Return lines about the instance's status, version, size and connection string."""
    size = f"{instance['AllocatedStorage']} GiB of {instance['StorageType']}"
    secret = instance.get("MasterUserSecret") or {}
    return [
        f"{instance['DBInstanceIdentifier']}: {instance['DBInstanceStatus']}, in {region}",
        f"Postgres {instance['EngineVersion']} on {instance['DBInstanceClass']}, {size}",
        f"PROD_CONNECTION_URL={owner_url(instance)}" if "Endpoint" in instance else "it has no address yet",
        f"password of {instance['MasterUsername']}: {secret.get('SecretArn', 'not in Secrets Manager')}",
    ]


def owner_url(instance: Response) -> str:
    """Return the owner's connection string, without the password."""
    host, port = instance["Endpoint"]["Address"], instance["Endpoint"]["Port"]
    database = instance.get("DBName", "postgres")
    return f"postgresql://{instance['MasterUsername']}@{host}:{port}/{database}?sslmode=verify-full"


def report(rds: Any, ec2: Any, instance: Response) -> None:
    """Print the instance and its safeguards. Raises `CommandError` with a line for each one that does not hold."""
    print("\n".join(summary(instance, rds.meta.region_name)))
    if instance["DBInstanceStatus"] == "creating":
        # While an instance is being created, AWS's response lacks some attributes.
        print("its safeguards are shown once it is available")
        return
    all_checks = checks(rds, ec2, instance)
    for check in all_checks:
        print(f"{check.name}: {'yes' if check.holds else 'no'}")
    name = instance["DBInstanceIdentifier"]
    failures = [f"{name} has no {check.name} ({check.actual})" for check in all_checks if not check.holds]
    if failures:
        raise CommandError("\n".join(failures))


@translate_aws_errors()
def main() -> None:
    """Run the command."""
    name = argument_parser("bin/rds-status", __doc__).parse_args().name
    rds = client("rds")
    report(rds, client("ec2"), describe_instance(rds, name))


if __name__ == "__main__":
    run(main)

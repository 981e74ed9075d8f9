"""Show the database's instance on Amazon RDS: how it is, how to connect, and where it is weaker than it could be."""

from typing import Any, NamedTuple

from lib.command_errors import CommandError
from ops.command import run
from ops.rds import FLAGS, Answer, argument_parser, client, failures, find, open_rules


class Check(NamedTuple):
    """Whether something that keeps an instance safe holds, and what was found."""

    name: str
    holds: bool
    found: str


def checks(rds: Any, ec2: Any, instance: Answer) -> list[Check]:
    """All that bin/rds-create sees to, as it is now."""
    flags = [
        Check(flag.name, flag.holds(instance), f"{flag.read or flag.asked}={flag.found(instance)}") for flag in FLAGS
    ]
    groups = [group["VpcSecurityGroupId"] for group in instance["VpcSecurityGroups"]]
    opened = open_rules(ec2, groups)
    return [
        *flags,
        Check("forced TLS", forces_tls(rds, instance), "rds.force_ssl"),
        Check("closed security group", not opened, f"everyone comes in by {', '.join(opened)}"),
    ]


def forces_tls(rds: Any, instance: Answer) -> bool:
    """Whether Postgres refuses who comes without TLS, by each of the instance's parameter groups."""
    groups = instance["DBParameterGroups"]
    return all(
        group["ParameterApplyStatus"] == "in-sync" and parameter(rds, group, "rds.force_ssl") == "1" for group in groups
    )


def parameter(rds: Any, group: Answer, name: str) -> str | None:
    """The value of a parameter in a group."""
    pages = rds.get_paginator("describe_db_parameters").paginate(DBParameterGroupName=group["DBParameterGroupName"])
    values = [
        each.get("ParameterValue") for page in pages for each in page["Parameters"] if each["ParameterName"] == name
    ]
    return values[0] if values else None


def lines(instance: Answer, region: str) -> list[str]:
    """What the instance is, and how to connect to it."""
    size = f"{instance['AllocatedStorage']} GiB of {instance['StorageType']}"
    secret = instance.get("MasterUserSecret") or {}
    return [
        f"{instance['DBInstanceIdentifier']}: {instance['DBInstanceStatus']}, in {region}",
        f"Postgres {instance['EngineVersion']} on {instance['DBInstanceClass']}, {size}",
        f"PROD_CONNECTION_URL={url(instance)}" if "Endpoint" in instance else "it has no address yet",
        f"password of {instance['MasterUsername']}: {secret.get('SecretArn', 'not in Secrets Manager')}",
    ]


def url(instance: Answer) -> str:
    """The connection string of the instance's owner, without the password."""
    host, port = instance["Endpoint"]["Address"], instance["Endpoint"]["Port"]
    database = instance.get("DBName", "postgres")
    return f"postgresql://{instance['MasterUsername']}@{host}:{port}/{database}?sslmode=verify-full"


def report(rds: Any, ec2: Any, instance: Answer) -> None:
    """Print it all. Raises `CommandError` with a line for each thing that is weaker than bin/rds-create makes it."""
    print("\n".join(lines(instance, rds.meta.region_name)))
    if instance["DBInstanceStatus"] == "creating":
        # AWS tells of some of it only at the end.
        print("what keeps it safe is shown once it is available")
        return
    found = checks(rds, ec2, instance)
    for check in found:
        print(f"{check.name}: {'yes' if check.holds else 'no'}")
    name = instance["DBInstanceIdentifier"]
    weak = [f"{name} has no {check.name} ({check.found})" for check in found if not check.holds]
    if weak:
        raise CommandError("\n".join(weak))


@failures()
def main() -> None:
    """Run the command."""
    name = argument_parser("bin/rds-status", __doc__).parse_args().name
    rds = client("rds")
    report(rds, client("ec2"), find(rds, name))


if __name__ == "__main__":
    run(main)

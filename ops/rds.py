"""What the scripts for Amazon RDS share: where, which instance, how safe one is, and what to say when AWS refuses."""

import os
import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from operator import eq, ge
from typing import Any, NamedTuple

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from botocore.session import Session

from lib.command_errors import CommandError
from lib.conninfo import check_text

# What people have said stays in the European Union (GDPR, chapter V). London (eu-west-2) and
# Zurich (eu-central-2) are outside it.
REGIONS = {
    "eu-central-1": "Frankfurt",
    "eu-north-1": "Stockholm",
    "eu-south-1": "Milan",
    "eu-south-2": "Spain",
    "eu-west-1": "Ireland",
    "eu-west-3": "Paris",
}
NAME = "cruddur-db-instance"
PORT = 5432
# What RDS hands on of the instance's logs.
LOGS = ["postgresql", "upgrade"]
# Of an address's bits, the first so many at least are a rule's: fewer, and it is open to everyone, or as good as that.
NARROW = {4: 16, 6: 48}
EXAMPLES = {
    "AWS_DEFAULT_REGION": "eu-west-1",
    "DB_SG_ID": "sg-0123456789abcdef0",
    "DB_SG_RULE_ID": "sgr-0123456789abcdef0",
    "GITPOD_IP": "$(curl -4 ifconfig.me)",
}
# Nobody waits for an AWS that does not answer. A call that was cut off is made once more.
PATIENCE = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 2, "mode": "standard"})

# An answer of AWS's: its shapes change with time, and botocore has no types.
Answer = dict[str, Any]

REMEDIES = {
    **dict.fromkeys(("AccessDenied", "UnauthorizedOperation"), "give the credentials that right, or take others"),
    **dict.fromkeys(
        ("InvalidClientTokenId", "AuthFailure", "SignatureDoesNotMatch", "ExpiredToken", "RequestExpired"),
        "sign in to AWS again, and see that this machine's clock is right",
    ),
    "InvalidDBInstanceState": "try again when bin/rds-status calls it available; bin/rds-start starts a stopped one",
}


class Flag(NamedTuple):
    """Something that keeps an instance safe: its name, and what CreateDBInstance is asked for."""

    name: str
    asked: str
    safe: Any
    # What `--dev` asks for instead, where it is weaker.
    dev: Any = None
    # DescribeDBInstances's name for it, where that is another.
    read: str = ""
    # Whether what was found (first) is as safe as what is asked for.
    enough: Callable[[Any, Any], bool] = eq

    def found(self, instance: Answer) -> Any:
        """What an instance has."""
        return instance.get(self.read or self.asked)

    def holds(self, instance: Answer) -> bool:
        """Whether an instance is as safe as bin/rds-create makes it, or safer."""
        return self.enough(self.found(instance), self.safe)


FLAGS = (
    Flag("encrypted storage", "StorageEncrypted", safe=True),
    # A public one is reached from wherever its security group lets in.
    Flag("private address", "PubliclyAccessible", safe=False, dev=True),
    Flag("deletion protection", "DeletionProtection", safe=True, dev=False),
    # A day of them costs nothing, so that not even --dev goes without.
    Flag("week of backups", "BackupRetentionPeriod", safe=7, dev=1, enough=ge),
    # Twice the price, for a failover within a minute or two.
    Flag("standby in another zone", "MultiAZ", safe=True, dev=False),
    Flag("IAM authentication", "EnableIAMDatabaseAuthentication", safe=True, read="IAMDatabaseAuthenticationEnabled"),
    # Secrets Manager makes the master password, keeps it and renews it: nobody types it.
    Flag(
        "master password in Secrets Manager",
        "ManageMasterUserPassword",
        safe=True,
        read="MasterUserSecret",
        enough=lambda found, _: bool(found),
    ),
    Flag("performance insights", "EnablePerformanceInsights", safe=True, read="PerformanceInsightsEnabled"),
    Flag(
        "log exports",
        "EnableCloudwatchLogsExports",
        safe=LOGS,
        read="EnabledCloudwatchLogsExports",
        enough=lambda found, safe: set(found or ()) >= set(safe),
    ),
)


def client(service: str) -> Any:
    """A client for `service`, in the region of AWS_DEFAULT_REGION. Raises `CommandError` when it is not one of `REGIONS`."""
    session = Session()
    region = session.get_config_variable("region")
    if region not in REGIONS:
        raise CommandError(
            f"{region or 'no region'} is not where our people's data may be; {right_value('AWS_DEFAULT_REGION')}; "
            f"allowed are {', '.join(REGIONS)}"
        )
    return session.create_client(service, region_name=region, config=PATIENCE)


@contextmanager
def failures() -> Iterator[None]:
    """A line that names the remedy, as a `CommandError`, in place of what botocore raises."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise CommandError(
            "there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from error
    except ClientError as error:
        raise CommandError(refusal(error)) from error
    except BotoCoreError as error:
        raise CommandError(f"AWS was not asked: {one_line(str(error))}") from error


def refusal(error: ClientError) -> str:
    """What AWS has refused, why, and what to do about it where we know."""
    said, code = error.response["Error"]["Message"], error.response["Error"]["Code"]
    remedy = f": {REMEDIES[code]}" if code in REMEDIES else ""
    return f"AWS refused {error.operation_name}: {one_line(said)} ({code}){remedy}"


def one_line(text: str) -> str:
    """What was said, without line breaks and the full stop."""
    return " ".join(text.split()).rstrip(".")


def argument_parser(script: str, doc: str | None) -> ArgumentParser:
    """Make the parser of a script for an instance, whose name is its argument."""
    parser = ArgumentParser(prog=script, description=doc)
    parser.add_argument("name", nargs="?", type=identifier, default=NAME, help=f"the instance, else {NAME}")
    return parser


def identifier(text: str) -> str:
    """An instance's name as RDS keeps it. Raises `ArgumentTypeError`."""
    if not re.fullmatch("(?=.{1,63}$)[a-z](-?[a-z0-9])*", text):
        raise ArgumentTypeError(
            f"{text!r} is no instance's name: small letters, digits and single hyphens, a letter first, 63 at most"
        )
    return text


def setting(name: str) -> str:
    """One of `EXAMPLES`' settings in the environment. Raises `CommandError` when it is missing or not as it was meant."""
    value = os.environ.get(name)
    if not value:
        raise CommandError(f"{name} is not set; {right_value(name)}")
    try:
        return check_text(value)
    except ValueError as error:
        raise CommandError(f"{name} is malformed: {error}; {right_value(name)}") from None


def right_value(name: str) -> str:
    """An example of a setting."""
    return f"a right value: {name}={EXAMPLES[name]}"


def find(rds: Any, name: str) -> Answer:
    """The instance of that name. Raises `CommandError` when there is none."""
    try:
        (instance,) = rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
    except rds.exceptions.DBInstanceNotFoundFault as error:
        raise CommandError(
            f"there is no instance {name} in {rds.meta.region_name}: bin/rds-create makes one"
        ) from error
    return dict(instance)


def open_rules(ec2: Any, groups: list[str]) -> list[str]:
    """The ids of security groups' rules that let everyone in, or networks of more than 65,536 addresses of IPv4."""
    pages = ec2.get_paginator("describe_security_group_rules").paginate(
        Filters=[{"Name": "group-id", "Values": groups}]
    )
    rules = [rule for page in pages for rule in page["SecurityGroupRules"] if not rule["IsEgress"]]
    cidrs = {rule["SecurityGroupRuleId"]: rule.get("CidrIpv4") or rule.get("CidrIpv6") for rule in rules}
    networks = {rule_id: ip_network(cidr) for rule_id, cidr in cidrs.items() if cidr}
    return [rule_id for rule_id, network in networks.items() if network.prefixlen < NARROW[network.version]]

"""Code that the scripts for Amazon RDS share: regions, safeguards of an instance, arguments and AWS errors."""

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

# The users' data stay in the European Union (GDPR, chapter V). London (eu-west-2) and
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
# The instance's logs that RDS exports to CloudWatch.
LOGS = ["postgresql", "upgrade"]
# By IP version, the shortest network prefix of a rule. A shorter one lets in everyone, or nearly everyone.
MIN_PREFIX_LENGTHS = {4: 16, 6: 48}
EXAMPLES = {
    "AWS_DEFAULT_REGION": "eu-west-1",
    "DB_SG_ID": "sg-0123456789abcdef0",
    "DB_SG_RULE_ID": "sgr-0123456789abcdef0",
    "GITPOD_IP": "$(curl -4 ifconfig.me)",
}
# Timeouts in seconds. A failed call is retried once.
CLIENT_CONFIG = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 2, "mode": "standard"})

# An AWS response. botocore has no types, and the shapes change over time.
Response = dict[str, Any]

REMEDIES = {
    **dict.fromkeys(("AccessDenied", "UnauthorizedOperation"), "give the credentials that right, or take others"),
    **dict.fromkeys(
        ("InvalidClientTokenId", "AuthFailure", "SignatureDoesNotMatch", "ExpiredToken", "RequestExpired"),
        "sign in to AWS again, and see that this machine's clock is right",
    ),
    "InvalidDBInstanceState": "try again when bin/rds-status calls it available; bin/rds-start starts a stopped one",
}


class Safeguard(NamedTuple):
    """A setting that keeps an instance safe: its name, and CreateDBInstance's parameter and value."""

    name: str
    parameter: str
    value: Any
    # The weaker value of `--dev`, if there is one.
    dev_value: Any = None
    # The attribute in DescribeDBInstances's response, if its name differs from the parameter's.
    attribute: str = ""
    # Whether the actual value (first) is as safe as the expected one.
    is_enough: Callable[[Any, Any], bool] = eq

    def actual(self, instance: Response) -> Any:
        """Return an instance's value, `None` if it has none."""
        return instance.get(self.attribute or self.parameter)

    def holds(self, instance: Response) -> bool:
        """Return whether an instance is as safe as bin/rds-create makes it, or safer."""
        return self.is_enough(self.actual(instance), self.value)


SAFEGUARDS = (
    Safeguard("encrypted storage", "StorageEncrypted", value=True),
    # A public instance is reachable from every address that its security group lets in.
    Safeguard("private address", "PubliclyAccessible", value=False, dev_value=True),
    Safeguard("deletion protection", "DeletionProtection", value=True, dev_value=False),
    # One day of backups costs nothing, so even --dev has it.
    Safeguard("week of backups", "BackupRetentionPeriod", value=7, dev_value=1, is_enough=ge),
    # This doubles the price, for a failover within a minute or two.
    Safeguard("standby in another zone", "MultiAZ", value=True, dev_value=False),
    Safeguard(
        "IAM authentication",
        "EnableIAMDatabaseAuthentication",
        value=True,
        attribute="IAMDatabaseAuthenticationEnabled",
    ),
    # Secrets Manager generates, stores and rotates the master password.
    Safeguard(
        "master password in Secrets Manager",
        "ManageMasterUserPassword",
        value=True,
        attribute="MasterUserSecret",
        is_enough=lambda actual, _: bool(actual),
    ),
    Safeguard("performance insights", "EnablePerformanceInsights", value=True, attribute="PerformanceInsightsEnabled"),
    Safeguard(
        "log exports",
        "EnableCloudwatchLogsExports",
        value=LOGS,
        attribute="EnabledCloudwatchLogsExports",
        is_enough=lambda actual, value: set(actual or ()) >= set(value),
    ),
)


def client(service: str) -> Any:
    """Return a client for `service` in AWS_DEFAULT_REGION. Raises `CommandError` for a region outside of `REGIONS`."""
    session = Session()
    region = session.get_config_variable("region")
    if region not in REGIONS:
        raise CommandError(
            f"{region or 'no region'} is not a region for our users' data; {example_setting('AWS_DEFAULT_REGION')}; "
            f"allowed are {', '.join(REGIONS)}"
        )
    return session.create_client(service, region_name=region, config=CLIENT_CONFIG)


@contextmanager
def translate_aws_errors() -> Iterator[None]:
    """Raise botocore's exceptions as a `CommandError` with a line that names the remedy."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise CommandError(
            "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from error
    except ClientError as error:
        raise CommandError(client_error_message(error)) from error
    except BotoCoreError as error:
        raise CommandError(f"AWS was not called: {one_line(str(error))}") from error


def client_error_message(error: ClientError) -> str:
    """Return the line for a request that AWS refused: the operation, the reason and, if known, the remedy."""
    message, code = error.response["Error"]["Message"], error.response["Error"]["Code"]
    remedy = f": {REMEDIES[code]}" if code in REMEDIES else ""
    return f"AWS refused {error.operation_name}: {one_line(message)} ({code}){remedy}"


def one_line(text: str) -> str:
    """Return a text without line breaks and without its full stop."""
    return " ".join(text.split()).rstrip(".")


def argument_parser(script: str, doc: str | None) -> ArgumentParser:
    """Return the parser of a script for an instance, with the instance's name as its argument."""
    parser = ArgumentParser(prog=script, description=doc)
    parser.add_argument("name", nargs="?", type=instance_name, default=NAME, help=f"the instance, by default {NAME}")
    return parser


def instance_name(text: str) -> str:
    """Return `text` if it is a valid name of an instance. Raises `ArgumentTypeError`."""
    if not re.fullmatch("(?=.{1,63}$)[a-z](-?[a-z0-9])*", text):
        raise ArgumentTypeError(
            f"{text!r} is not an instance's name: small letters, digits and single hyphens, a letter first, 63 at most"
        )
    return text


def required_setting(name: str) -> str:
    """Return one of `EXAMPLES`' settings from the environment. Raises `CommandError` if it is missing or malformed."""
    value = os.environ.get(name)
    if not value:
        raise CommandError(f"{name} is not set; {example_setting(name)}")
    try:
        return check_text(value)
    except ValueError as error:
        raise CommandError(f"{name} is malformed: {error}; {example_setting(name)}") from None


def example_setting(name: str) -> str:
    """Return an assignment with an example of a setting's value."""
    return f"a valid example is {name}={EXAMPLES[name]}"


def describe_instance(rds: Any, name: str) -> Response:
    """Return the instance with this name. Raises `CommandError` if it does not exist."""
    try:
        (instance,) = rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
    except rds.exceptions.DBInstanceNotFoundFault as error:
        raise CommandError(f"no instance {name} in {rds.meta.region_name}: bin/rds-create creates one") from error
    return dict(instance)


def open_rules(ec2: Any, groups: list[str]) -> list[str]:
    """Return the ids of the groups' ingress rules for networks shorter than `MIN_PREFIX_LENGTHS`.

    Of IPv4, these networks have more than 65,536 addresses.
    """
    pages = ec2.get_paginator("describe_security_group_rules").paginate(
        Filters=[{"Name": "group-id", "Values": groups}]
    )
    rules = [rule for page in pages for rule in page["SecurityGroupRules"] if not rule["IsEgress"]]
    cidrs = {rule["SecurityGroupRuleId"]: rule.get("CidrIpv4") or rule.get("CidrIpv6") for rule in rules}
    networks = {rule_id: ip_network(cidr) for rule_id, cidr in cidrs.items() if cidr}
    return [rule_id for rule_id, network in networks.items() if network.prefixlen < MIN_PREFIX_LENGTHS[network.version]]

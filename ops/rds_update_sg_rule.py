"""Set one rule of a security group to this machine's address, GITPOD_IP, and no other."""

import time
from argparse import ArgumentParser
from ipaddress import IPv4Address
from typing import Any

from lib.command_errors import CommandError
from ops.command import run
from ops.rds import PORT, Response, client, example_setting, required_setting, translate_aws_errors

# EC2 is eventually consistent: it may show the old rule for some seconds.
MAX_READS = 5


def update(ec2: Any, group: str, rule_id: str, address: str) -> None:
    """Set the rule's network to `address` alone, and verify that. Raises `CommandError`."""
    rule = postgres_rule(ec2, group, rule_id)
    changes = {
        "IpProtocol": "tcp",
        "FromPort": PORT,
        "ToPort": PORT,
        "CidrIpv4": f"{address}/32",
        "Description": rule.get("Description") or "GITPOD",
    }
    ec2.modify_security_group_rules(
        GroupId=group, SecurityGroupRules=[{"SecurityGroupRuleId": rule_id, "SecurityGroupRule": changes}]
    )
    verify(ec2, {**rule, **changes})


def postgres_rule(ec2: Any, group: str, rule_id: str) -> Response:
    """Return the rule. Raises `CommandError` unless it is `group`'s ingress rule for IPv4 to Postgres's port."""
    rule = describe_rule(ec2, rule_id)
    if rule["GroupId"] != group:
        raise CommandError(f"DB_SG_RULE_ID: {rule_id} is a rule of {rule['GroupId']}, not of DB_SG_ID's {group}")
    expected = {"IsEgress": False, "IpProtocol": "tcp", "FromPort": PORT, "ToPort": PORT}
    if "CidrIpv4" not in rule or any(rule[name] != value for name, value in expected.items()):
        raise CommandError(
            f"DB_SG_RULE_ID: {rule_id} is not an ingress rule of an IPv4 address for TCP port {PORT} alone"
        )
    return rule


def describe_rule(ec2: Any, rule_id: str) -> Response:
    """Return the rule with this id."""
    (rule,) = ec2.describe_security_group_rules(SecurityGroupRuleIds=[rule_id])["SecurityGroupRules"]
    return dict(rule)


def verify(ec2: Any, expected: Response) -> None:
    """Wait until EC2 shows the expected rule. Raises `CommandError` after `MAX_READS` reads, a second apart."""
    rule_id = expected["SecurityGroupRuleId"]
    for attempt in range(MAX_READS):
        if attempt:
            time.sleep(1)
        rule = describe_rule(ec2, rule_id)
        if rule == expected:
            return
    raise CommandError(
        f"{rule_id} lets in {rule.get('CidrIpv4')}, not {expected['CidrIpv4']}: find out what else changes the rule"
    )


def public_address(text: str) -> str:
    """Return `text` if it is a public IPv4 address. Raises `CommandError`."""
    try:
        address = IPv4Address(text)
    except ValueError:
        address = None
    if address is None or not address.is_global or address.is_multicast:
        raise CommandError(f"GITPOD_IP is not a public IPv4 address; {example_setting('GITPOD_IP')}")
    return str(address)


@translate_aws_errors()
def main() -> None:
    """Run the command."""
    ArgumentParser(prog="bin/rds-update-sg-rule", description=__doc__).parse_args()
    group, rule_id = required_setting("DB_SG_ID"), required_setting("DB_SG_RULE_ID")
    address = public_address(required_setting("GITPOD_IP"))
    update(client("ec2"), group, rule_id, address)
    print(f"{rule_id} lets in {address}/32 only")


if __name__ == "__main__":
    run(main)

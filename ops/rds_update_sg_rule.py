"""Let this machine, and no other, in by one rule of a security group: GITPOD_IP becomes the rule's one address."""

import time
from argparse import ArgumentParser
from ipaddress import IPv4Address
from typing import Any

from lib.command_errors import CommandError
from ops.command import run
from ops.rds import PORT, Answer, client, failures, right_value, setting

# EC2 may show what was before for a moment.
READINGS = 5


def update(ec2: Any, group: str, rule_id: str, address: str) -> None:
    """Have the rule let in `address` alone, and read that back. Raises `CommandError`."""
    rule = right_rule(ec2, group, rule_id)
    asked = {
        "IpProtocol": "tcp",
        "FromPort": PORT,
        "ToPort": PORT,
        "CidrIpv4": f"{address}/32",
        "Description": rule.get("Description") or "GITPOD",
    }
    ec2.modify_security_group_rules(
        GroupId=group, SecurityGroupRules=[{"SecurityGroupRuleId": rule_id, "SecurityGroupRule": asked}]
    )
    read_back(ec2, {**rule, **asked})


def right_rule(ec2: Any, group: str, rule_id: str) -> Answer:
    """The rule as it is. Raises `CommandError` when it is not `group`'s rule for IPv4 to Postgres."""
    rule = read(ec2, rule_id)
    if rule["GroupId"] != group:
        raise CommandError(f"DB_SG_RULE_ID: {rule_id} is a rule of {rule['GroupId']}, not of DB_SG_ID's {group}")
    db = {"IsEgress": False, "IpProtocol": "tcp", "FromPort": PORT, "ToPort": PORT}
    if "CidrIpv4" not in rule or any(rule[name] != value for name, value in db.items()):
        raise CommandError(
            f"DB_SG_RULE_ID: {rule_id} is not for an IPv4 address that comes in to TCP port {PORT} alone"
        )
    return rule


def read(ec2: Any, rule_id: str) -> Answer:
    """The rule of that id."""
    (rule,) = ec2.describe_security_group_rules(SecurityGroupRuleIds=[rule_id])["SecurityGroupRules"]
    return dict(rule)


def read_back(ec2: Any, asked: Answer) -> None:
    """Raises `CommandError` when the rule does not become what was asked for."""
    rule_id = asked["SecurityGroupRuleId"]
    for reading in range(READINGS):
        if reading:
            time.sleep(1)
        found = read(ec2, rule_id)
        if found == asked:
            return
    raise CommandError(
        f"{rule_id} lets in {found.get('CidrIpv4')}, not {asked['CidrIpv4']} as asked: see who changes it"
    )


def public_address(text: str) -> str:
    """An IPv4 address that others on the Internet may have seen us by. Raises `CommandError`."""
    try:
        address = IPv4Address(text)
    except ValueError:
        address = None
    if address is None or not address.is_global or address.is_multicast:
        raise CommandError(f"GITPOD_IP is no public IPv4 address; {right_value('GITPOD_IP')}")
    return str(address)


@failures()
def main() -> None:
    """Run the command."""
    ArgumentParser(prog="bin/rds-update-sg-rule", description=__doc__).parse_args()
    group, rule_id = setting("DB_SG_ID"), setting("DB_SG_RULE_ID")
    address = public_address(setting("GITPOD_IP"))
    update(client("ec2"), group, rule_id, address)
    print(f"{rule_id} lets in {address}/32, and nobody else")


if __name__ == "__main__":
    run(main)

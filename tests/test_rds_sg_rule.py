"""bin/rds-update-sg-rule: the update of one rule of one security group, and of no other."""

from collections.abc import Iterator
from typing import Any

import pytest

from lib.command_errors import CommandError
from ops import rds_update_sg_rule
from ops.rds_update_sg_rule import main, public_address, update
from tests.aws import Aws, group
from tests.in_process import fails, succeeds

pytestmark = pytest.mark.slow

OURS = "203.0.114.7"


def rules(aws: Aws) -> dict[str, Any]:
    """Return every rule of every security group by its id."""
    rules_ = aws.client("ec2").describe_security_group_rules()["SecurityGroupRules"]
    return {rule["SecurityGroupRuleId"]: rule for rule in rules_}


def allow(aws: Aws, security_group: str, **rule: Any) -> str:
    """Add a rule to the group, by default for Postgres and one address, and return its id."""
    usual = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "IpRanges": [{"CidrIp": "198.51.100.1/32"}]}
    response = aws.client("ec2").authorize_security_group_ingress(GroupId=security_group, IpPermissions=[usual | rule])
    return str(response["SecurityGroupRules"][0]["SecurityGroupRuleId"])


@pytest.fixture
def ours(aws: Aws) -> Iterator[tuple[str, str]]:
    """Create a security group with this machine's rule and other rules. A test that touches the others fails."""
    security_group = group(aws, "198.51.100.2/32")
    allow(aws, group(aws), IpRanges=[{"CidrIp": "198.51.100.3/32"}])
    before = rules(aws)
    rule = allow(aws, security_group, IpRanges=[{"CidrIp": "0.0.0.0/0", "Description": "Ada's workspace"}])
    yield security_group, rule
    assert {rule: now for rule, now in rules(aws).items() if rule in before} == before


def settings(aws: Aws, security_group: str, rule: str, address: str = OURS) -> dict[str, str]:
    """Return the settings of bin/rds-update-sg-rule."""
    return {**aws.settings, "DB_SG_ID": security_group, "DB_SG_RULE_ID": rule, "GITPOD_IP": address}


def test_rule_allows_this_machine_only(aws: Aws, ours: tuple[str, str]) -> None:
    _, rule = ours
    before = rules(aws)[rule]
    output = succeeds("rds-update-sg-rule", **settings(aws, *ours))

    assert rules(aws)[rule] == before | {"CidrIpv4": f"{OURS}/32"}
    assert before["Description"] == "Ada's workspace"
    assert output == f"{rule} lets in {OURS}/32 only\n"
    assert succeeds("rds-update-sg-rule", **settings(aws, *ours)) == output


def test_rule_without_a_description_gets_one(aws: Aws, ours: tuple[str, str]) -> None:
    bare = allow(aws, ours[0])
    update(aws.client("ec2"), ours[0], bare, OURS)

    updated = rules(aws)[bare]
    assert (updated["CidrIpv4"], updated["Description"]) == (f"{OURS}/32", "GITPOD")


@pytest.mark.parametrize("address", ["1.1.1.1", "203.0.114.7", "100.63.255.255", "100.128.0.0", "223.255.255.254"])
def test_public_address_is_accepted(address: str) -> None:
    assert public_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.0.0.0/0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.169.254"),
        *("100.64.0.0", "100.127.255.255", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "203.0.113.7"),
        *("1.1.1.1/0", "1.1.1.1/32", "1.1.1.1 ", "1.1.1.1\n", "1.1.1", "01.1.1.1", "999.1.1.1", "1.1.1.1,x=y", "²"),
        *("::1", "2606:4700::1111", "::ffff:1.1.1.1", "one.example", "16843009", "0x01010101"),
    ],
)
def test_non_public_address_is_refused(address: str) -> None:
    with pytest.raises(CommandError, match="GITPOD_IP is not a public IPv4 address; a valid example is GITPOD_IP="):
        public_address(address)


def test_refused_address_changes_nothing(aws: Aws, ours: tuple[str, str]) -> None:
    before = rules(aws)
    line = fails("rds-update-sg-rule", **settings(aws, *ours, "0.0.0.0/0"))

    assert (
        line == "cruddur: GITPOD_IP is not a public IPv4 address; a valid example is GITPOD_IP=$(curl -4 ifconfig.me)"
    )
    assert rules(aws) == before


@pytest.mark.parametrize("missing", ["DB_SG_ID", "DB_SG_RULE_ID", "GITPOD_IP"])
def test_missing_setting_is_reported(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr("sys.argv", ["rds_update_sg_rule.py"])
    for name in ("DB_SG_ID", "DB_SG_RULE_ID", "GITPOD_IP"):
        monkeypatch.setenv(name, "" if name == missing else OURS)

    with pytest.raises(CommandError, match=f"{missing} is not set; a valid example is {missing}="):
        main()


@pytest.mark.parametrize(
    "other",
    [
        {"FromPort": 5431},
        {"ToPort": 5433},
        {"FromPort": 22, "ToPort": 22},
        {"IpProtocol": "udp"},
        {"IpRanges": [], "Ipv6Ranges": [{"CidrIpv6": "2606:4700::1111/128"}]},
    ],
)
def test_rule_for_another_port_or_protocol_is_refused(aws: Aws, ours: tuple[str, str], other: dict[str, Any]) -> None:
    wrong = allow(aws, ours[0], **other)
    before = rules(aws)

    with pytest.raises(
        CommandError, match=f"{wrong} is not an ingress rule of an IPv4 address for TCP port 5432 alone"
    ):
        update(aws.client("ec2"), ours[0], wrong, OURS)
    assert rules(aws) == before


def test_egress_rule_is_refused(aws: Aws, ours: tuple[str, str]) -> None:
    usual = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "IpRanges": [{"CidrIp": "198.51.100.1/32"}]}
    response = aws.client("ec2").authorize_security_group_egress(GroupId=ours[0], IpPermissions=[usual])
    before = rules(aws)

    with pytest.raises(CommandError, match="is not an ingress rule of an IPv4 address"):
        update(aws.client("ec2"), ours[0], response["SecurityGroupRules"][0]["SecurityGroupRuleId"], OURS)
    assert rules(aws) == before


def test_rule_of_another_group_is_refused(aws: Aws, ours: tuple[str, str]) -> None:
    strangers = group(aws, "198.51.100.4/32", "198.51.100.5/32")
    rule = allow(aws, strangers)
    before = rules(aws)

    line = fails("rds-update-sg-rule", **settings(aws, ours[0], rule))
    assert line == f"cruddur: DB_SG_RULE_ID: {rule} is a rule of {strangers}, not of DB_SG_ID's {ours[0]}"
    assert rules(aws) == before


def test_missing_rule_is_one_error_line(aws: Aws, ours: tuple[str, str]) -> None:
    line = fails("rds-update-sg-rule", **settings(aws, ours[0], "sgr-0123456789abcdef0"))

    assert line.startswith("cruddur: AWS refused DescribeSecurityGroupRules: The security group rule ID 'sgr-0123")


def test_ineffective_change_is_reported(aws: Aws, ours: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    ec2 = aws.client("ec2")
    # AWS reports success and changes nothing.
    monkeypatch.setattr(ec2, "modify_security_group_rules", lambda **_: {"Return": True})
    monkeypatch.setattr(rds_update_sg_rule, "MAX_READS", 1)

    with pytest.raises(CommandError, match=f"{ours[1]} lets in 0.0.0.0/0, not {OURS}/32: find out what else"):
        update(ec2, *ours, OURS)

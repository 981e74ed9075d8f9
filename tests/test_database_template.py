"""The database on AWS: what neither cfn-lint nor Control Tower's rules ask of its template."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.templates import Template, planted, properties, resources, template

pytestmark = pytest.mark.slow

INGRESS = "AWS::EC2::SecurityGroupIngress"


@pytest.fixture
def database() -> Template:
    """The template."""
    return template("database.yaml")


def accepts(database: Template, parameter: str, value: str) -> bool:
    """Whether a parameter may have this value."""
    return re.fullmatch(database["Parameters"][parameter]["AllowedPattern"], value) is not None


@pytest.mark.parametrize("address", ["203.0.113.7/32", "10.0.0.1/32", "1.0.0.0/32", "255.255.255.255/32"])
def test_an_operator_comes_from_one_address(database: Template, address: str) -> None:
    assert accepts(database, "OperatorCidr", address)


@pytest.mark.parametrize(
    "address",
    [
        *("", "0.0.0.0/0", "0.0.0.0/32", "203.0.113.7", "203.0.113.6/31", "203.0.113.7/33", "256.1.1.1/32", "1.1.1/32"),
        *("1.1.1.256/32", "01.1.1.1/32", "::/0", "2001:db8::1/128", "1.1.1.1/32\n", "1.1.1.1/32,0.0.0.0/0"),
    ],
)
def test_and_from_nothing_else(database: Template, address: str) -> None:
    assert not accepts(database, "OperatorCidr", address)
    # Nothing, where nobody names a network.
    assert database["Parameters"]["WiderCidr"]["Default"] == ""


@pytest.mark.parametrize("network", ["", "10.0.0.0/16", "203.0.113.0/24", "203.0.113.6/31"])
def test_a_network_can_be_named(database: Template, network: str) -> None:
    assert accepts(database, "WiderCidr", network)


@pytest.mark.parametrize("network", ["0.0.0.0/0", "0.0.0.0/16", "10.0.0.0/8", "10.0.0.0/15", "1.1.1.1/32", "::/0"])
def test_but_not_half_the_world(database: Template, network: str) -> None:
    assert not accepts(database, "WiderCidr", network)


def test_only_postgres_is_open_to_an_operator_and_the_service(database: Template) -> None:
    rules = resources(database, INGRESS)
    sources = {
        name: {key: rule[key] for key in rule.keys() - {"Description", "GroupId", "IpProtocol", "FromPort", "ToPort"}}
        for name, rule in rules.items()
    }

    assert sources == {
        "OperatorRule": {"CidrIp": {"Fn::If": ["Wider", {"Ref": "WiderCidr"}, {"Ref": "OperatorCidr"}]}},
        "ServiceRule": {"SourceSecurityGroupId": {"Ref": "ServiceSecurityGroup"}},
    }
    assert {(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in rules.values()} == {("tcp", 5432, 5432)}
    assert [
        group for group in resources(database, "AWS::EC2::SecurityGroup").values() if "SecurityGroupIngress" in group
    ] == []


def test_the_database_calls_nobody_and_the_service_by_its_group_the_database(database: Template) -> None:
    groups = resources(database, "AWS::EC2::SecurityGroup")
    (nowhere,) = groups["SecurityGroup"]["SecurityGroupEgress"]
    (there,) = groups["ServiceSecurityGroup"]["SecurityGroupEgress"]

    assert nowhere["CidrIp"] == "127.0.0.1/32"
    assert (there["FromPort"], there["ToPort"], there["DestinationSecurityGroupId"]) == (
        5432,
        5432,
        {"Ref": "SecurityGroup"},
    )
    assert properties(database, "Database")["VPCSecurityGroups"] == [{"Ref": "SecurityGroup"}]


def test_what_goes_is_kept_in_a_snapshot_and_the_key_to_it(database: Template) -> None:
    for name, policy in (("Database", "Snapshot"), ("Key", "Retain")):
        assert database["Resources"][name]["DeletionPolicy"] == policy
        assert database["Resources"][name]["UpdateReplacePolicy"] == policy
    assert properties(database, "Database")["DeleteAutomatedBackups"] is False


def test_the_owners_password_is_known_to_secrets_manager_alone(database: Template) -> None:
    instance = properties(database, "Database")

    assert instance["ManageMasterUserPassword"] is True
    assert instance["MasterUserSecret"]["KmsKeyId"] == {"Fn::GetAtt": ["Key", "Arn"]}
    assert "MasterUserPassword" not in instance
    assert [name for name, given in database["Parameters"].items() if "assword" in f"{name}{given}"] == []


def test_tls_is_demanded_of_the_parameter_group_that_is_used(database: Template) -> None:
    assert properties(database, "Database")["DBParameterGroupName"] == {"Ref": "ParameterGroup"}
    assert properties(database, "ParameterGroup")["Parameters"]["rds.force_ssl"] == "1"


def test_everything_that_is_kept_is_encrypted_with_the_key(database: Template) -> None:
    instance = properties(database, "Database")
    keys = [instance["KmsKeyId"], instance["PerformanceInsightsKMSKeyId"]]
    keys += [log["KmsKeyId"] for log in resources(database, "AWS::Logs::LogGroup").values()]

    assert keys == [{"Fn::GetAtt": ["Key", "Arn"]}] * 4


def test_what_is_logged_is_kept_no_longer_than_what_is_posted(database: Template) -> None:
    instance = properties(database, "Database")
    logs = resources(database, "AWS::Logs::LogGroup").values()

    exported = {
        f"/aws/rds/instance/{instance['DBInstanceIdentifier']}/{log}" for log in instance["EnableCloudwatchLogsExports"]
    }
    assert {log["LogGroupName"] for log in logs} == exported
    assert {log["RetentionInDays"] for log in logs} == {30}
    assert set(database["Resources"]["Database"]["DependsOn"]) == {"PostgresLog", "UpgradeLog"}


def test_the_service_may_connect_as_its_one_role(database: Template) -> None:
    (statement,) = properties(database, "ServicePolicy")["PolicyDocument"]["Statement"]

    assert (statement["Effect"], statement["Action"]) == ("Allow", "rds-db:connect")
    resource = statement["Resource"]["Fn::Sub"]
    assert resource.endswith(":${AWS::Region}:${AWS::AccountId}:dbuser:${Database.DbiResourceId}/cruddur_service")
    assert "*" not in resource


def test_the_urls_have_no_password_and_verify_the_server(database: Template) -> None:
    for output, user in (("ProdConnectionUrl", "cruddur_owner"), ("ServiceConnectionUrl", "cruddur_service")):
        url = database["Outputs"][output]["Value"]["Fn::Sub"]
        assert url == f"postgresql://{user}@${{Database.Endpoint.Address}}:5432/cruddur?sslmode=verify-full"


FAULTS: list[tuple[str, Any, Callable[[Template], None]]] = [
    ("OperatorRule.Properties.CidrIp", {"Ref": "WiderCidr"}, test_only_postgres_is_open_to_an_operator_and_the_service),
    ("ServiceRule.Properties.ToPort", 5433, test_only_postgres_is_open_to_an_operator_and_the_service),
    (
        "SecurityGroup.Properties.SecurityGroupIngress",
        [{"CidrIp": "10.0.0.0/8"}],
        test_only_postgres_is_open_to_an_operator_and_the_service,
    ),
    (
        "SecurityGroup.Properties.SecurityGroupEgress.0.CidrIp",
        "0.0.0.0/0",
        test_the_database_calls_nobody_and_the_service_by_its_group_the_database,
    ),
    ("Database.DeletionPolicy", "Delete", test_what_goes_is_kept_in_a_snapshot_and_the_key_to_it),
    ("Key.DeletionPolicy", "Delete", test_what_goes_is_kept_in_a_snapshot_and_the_key_to_it),
    ("Database.Properties.MasterUserPassword", "x", test_the_owners_password_is_known_to_secrets_manager_alone),
    ("Database.Properties.DBParameterGroupName", "default", test_tls_is_demanded_of_the_parameter_group_that_is_used),
    (
        "Database.Properties.PerformanceInsightsKMSKeyId",
        "alias/aws/rds",
        test_everything_that_is_kept_is_encrypted_with_the_key,
    ),
    ("PostgresLog.Properties.RetentionInDays", 365, test_what_is_logged_is_kept_no_longer_than_what_is_posted),
    (
        "ServicePolicy.Properties.PolicyDocument.Statement.0.Resource",
        {"Fn::Sub": "arn:aws:rds-db:${AWS::Region}:${AWS::AccountId}:dbuser:*/cruddur_service"},
        test_the_service_may_connect_as_its_one_role,
    ),
]


@pytest.mark.parametrize(("path", "value", "check"), FAULTS)
def test_a_fault_is_seen(database: Template, path: str, value: object, check: Callable[[Template], None]) -> None:
    check(database)
    with pytest.raises((AssertionError, ValueError)):
        check(planted(database, path, value))

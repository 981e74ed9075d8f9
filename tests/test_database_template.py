"""The database's CloudFormation template: requirements beyond those of cfn-lint and Control Tower's rules."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.templates import Template, planted, properties, resources, template

pytestmark = pytest.mark.slow

INGRESS = "AWS::EC2::SecurityGroupIngress"


@pytest.fixture
def database() -> Template:
    """Load the template."""
    return template("database.yaml")


def accepts(database: Template, parameter: str, value: str) -> bool:
    """Return whether a parameter accepts this value."""
    return re.fullmatch(database["Parameters"][parameter]["AllowedPattern"], value) is not None


@pytest.mark.parametrize("address", ["203.0.113.7/32", "10.0.0.1/32", "1.0.0.0/32", "255.255.255.255/32"])
def test_operator_cidr_accepts_one_address(database: Template, address: str) -> None:
    assert accepts(database, "OperatorCidr", address)


@pytest.mark.parametrize(
    "address",
    [
        *("", "0.0.0.0/0", "0.0.0.0/32", "203.0.113.7", "203.0.113.6/31", "203.0.113.7/33", "256.1.1.1/32", "1.1.1/32"),
        *("1.1.1.256/32", "01.1.1.1/32", "::/0", "2001:db8::1/128", "1.1.1.1/32\n", "1.1.1.1/32,0.0.0.0/0"),
    ],
)
def test_operator_cidr_refuses_networks_and_malformed_addresses(database: Template, address: str) -> None:
    assert not accepts(database, "OperatorCidr", address)
    # The wider network has an empty default.
    assert database["Parameters"]["WiderCidr"]["Default"] == ""


@pytest.mark.parametrize("network", ["", "10.0.0.0/16", "203.0.113.0/24", "203.0.113.6/31"])
def test_wider_cidr_accepts_a_network(database: Template, network: str) -> None:
    assert accepts(database, "WiderCidr", network)


@pytest.mark.parametrize("network", ["0.0.0.0/0", "0.0.0.0/16", "10.0.0.0/8", "10.0.0.0/15", "1.1.1.1/32", "::/0"])
def test_wider_cidr_refuses_large_networks(database: Template, network: str) -> None:
    assert not accepts(database, "WiderCidr", network)


def test_only_operator_and_service_reach_postgres(database: Template) -> None:
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


def test_database_has_no_egress_and_the_service_reaches_only_postgres(database: Template) -> None:
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


def test_deletion_keeps_a_snapshot_and_its_key(database: Template) -> None:
    for name, policy in (("Database", "Snapshot"), ("Key", "Retain")):
        assert database["Resources"][name]["DeletionPolicy"] == policy
        assert database["Resources"][name]["UpdateReplacePolicy"] == policy
    assert properties(database, "Database")["DeleteAutomatedBackups"] is False


def test_owners_password_is_managed_by_secrets_manager(database: Template) -> None:
    instance = properties(database, "Database")

    assert instance["ManageMasterUserPassword"] is True
    assert instance["MasterUserSecret"]["KmsKeyId"] == {"Fn::GetAtt": ["Key", "Arn"]}
    assert "MasterUserPassword" not in instance
    assert [name for name, value in database["Parameters"].items() if "assword" in f"{name}{value}"] == []


def test_parameter_group_forces_tls(database: Template) -> None:
    assert properties(database, "Database")["DBParameterGroupName"] == {"Ref": "ParameterGroup"}
    assert properties(database, "ParameterGroup")["Parameters"]["rds.force_ssl"] == "1"


def test_storage_and_logs_are_encrypted_with_the_key(database: Template) -> None:
    instance, replica = properties(database, "Database"), properties(database, "Replica")
    keys = [instance["KmsKeyId"]]
    keys += [each["PerformanceInsightsKMSKeyId"] for each in (instance, replica)]
    keys += [log["KmsKeyId"] for log in resources(database, "AWS::Logs::LogGroup").values()]

    assert keys == [{"Fn::GetAtt": ["Key", "Arn"]}] * 7


def test_log_retention_does_not_exceed_the_longest_ttl(database: Template) -> None:
    instances = [properties(database, name) for name in ("Database", "Replica")]
    logs = resources(database, "AWS::Logs::LogGroup").values()

    log_groups = {
        f"/aws/rds/instance/{instance['DBInstanceIdentifier']}/{log}"
        for instance in instances
        for log in instance["EnableCloudwatchLogsExports"]
    }
    assert {log["LogGroupName"] for log in logs} == log_groups
    assert [log["RetentionInDays"] for log in logs] == [{"Ref": "LogRetentionDays"}] * 4
    parameter = database["Parameters"]["LogRetentionDays"]
    assert (parameter["Default"], max(parameter["AllowedValues"])) == (30, 30)
    assert set(database["Resources"]["Database"]["DependsOn"]) == {"PostgresLog", "UpgradeLog"}
    assert set(database["Resources"]["Replica"]["DependsOn"]) == {"ReplicaPostgresLog", "ReplicaUpgradeLog"}


def test_backups_are_kept_for_the_days_of_the_parameter(database: Template) -> None:
    assert properties(database, "Database")["BackupRetentionPeriod"] == {"Ref": "BackupRetentionDays"}
    parameter = database["Parameters"]["BackupRetentionDays"]
    assert (parameter["Default"], parameter["MinValue"], parameter["MaxValue"]) == (7, 1, 35)


def test_service_may_connect_as_its_own_role_only(database: Template) -> None:
    (statement,) = properties(database, "ServicePolicy")["PolicyDocument"]["Statement"]

    assert (statement["Effect"], statement["Action"]) == ("Allow", "rds-db:connect")
    own, replicas = statement["Resource"]
    assert replicas["Fn::If"][0] == "Replicated"
    for resource, instance in ((own, "Database"), (replicas["Fn::If"][1], "Replica")):
        name = resource["Fn::Sub"]
        assert name.endswith(
            f":${{AWS::Region}}:${{AWS::AccountId}}:dbuser:${{{instance}.DbiResourceId}}/cruddur_service"
        )
        assert "*" not in name


def test_replica_is_made_on_demand_and_is_as_protected_as_its_source(database: Template) -> None:
    source, replica = properties(database, "Database"), properties(database, "Replica")

    assert database["Parameters"]["ReadReplica"]["Default"] == "false"
    made = {name for name, resource in database["Resources"].items() if resource.get("Condition") == "Replicated"}
    assert made == {"Replica", "ReplicaPostgresLog", "ReplicaUpgradeLog"}
    assert replica["SourceDBInstanceIdentifier"] == {"Ref": "Database"}
    own = {"DBInstanceIdentifier", "SourceDBInstanceIdentifier"}
    assert {name: replica[name] for name in replica.keys() - own} == {
        name: source[name] for name in replica.keys() - own
    }
    # RDS copies these from the source. A snapshot of a replica would be one more copy of deleted rows.
    copied = {"DBName", "Engine", "EngineVersion", "EngineLifecycleSupport", "AllocatedStorage", "StorageType"}
    copied |= {"MaxAllocatedStorage", "StorageEncrypted", "KmsKeyId", "MultiAZ", "Port", "DBSubnetGroupName"}
    copied |= {"BackupRetentionPeriod", "DeleteAutomatedBackups"}
    copied |= {"MasterUsername", "ManageMasterUserPassword", "MasterUserSecret"}
    assert source.keys() - replica.keys() == copied
    assert database["Resources"]["Replica"]["DeletionPolicy"] == "Delete"


def test_output_urls_have_no_password_and_verify_the_server(database: Template) -> None:
    for output, user, instance in (
        ("ProdConnectionUrl", "cruddur_owner", "Database"),
        ("ServiceConnectionUrl", "cruddur_service", "Database"),
        ("ReadConnectionUrl", "cruddur_service", "Replica"),
    ):
        url = database["Outputs"][output]["Value"]["Fn::Sub"]
        assert url == f"postgresql://{user}@${{{instance}.Endpoint.Address}}:5432/cruddur?sslmode=verify-full"


FAULTS: list[tuple[str, Any, Callable[[Template], None]]] = [
    ("OperatorRule.Properties.CidrIp", {"Ref": "WiderCidr"}, test_only_operator_and_service_reach_postgres),
    ("ServiceRule.Properties.ToPort", 5433, test_only_operator_and_service_reach_postgres),
    (
        "SecurityGroup.Properties.SecurityGroupIngress",
        [{"CidrIp": "10.0.0.0/8"}],
        test_only_operator_and_service_reach_postgres,
    ),
    (
        "SecurityGroup.Properties.SecurityGroupEgress.0.CidrIp",
        "0.0.0.0/0",
        test_database_has_no_egress_and_the_service_reaches_only_postgres,
    ),
    ("Database.DeletionPolicy", "Delete", test_deletion_keeps_a_snapshot_and_its_key),
    ("Key.DeletionPolicy", "Delete", test_deletion_keeps_a_snapshot_and_its_key),
    ("Database.Properties.MasterUserPassword", "x", test_owners_password_is_managed_by_secrets_manager),
    ("Database.Properties.DBParameterGroupName", "default", test_parameter_group_forces_tls),
    (
        "Database.Properties.PerformanceInsightsKMSKeyId",
        "alias/aws/rds",
        test_storage_and_logs_are_encrypted_with_the_key,
    ),
    ("Database.Properties.BackupRetentionPeriod", 0, test_backups_are_kept_for_the_days_of_the_parameter),
    ("PostgresLog.Properties.RetentionInDays", 365, test_log_retention_does_not_exceed_the_longest_ttl),
    (
        "ServicePolicy.Properties.PolicyDocument.Statement.0.Resource.0",
        {"Fn::Sub": "arn:aws:rds-db:${AWS::Region}:${AWS::AccountId}:dbuser:*/cruddur_service"},
        test_service_may_connect_as_its_own_role_only,
    ),
    (
        "Replica.Properties.DBParameterGroupName",
        "default",
        test_replica_is_made_on_demand_and_is_as_protected_as_its_source,
    ),
    ("Replica.Condition", None, test_replica_is_made_on_demand_and_is_as_protected_as_its_source),
]


@pytest.mark.parametrize(("path", "value", "check"), FAULTS)
def test_planted_fault_fails_its_check(
    database: Template, path: str, value: object, check: Callable[[Template], None]
) -> None:
    check(database)
    with pytest.raises((AssertionError, ValueError)):
        check(planted(database, path, value))

"""The guardrails' CloudFormation template: requirements beyond those of cfn-lint and Control Tower's rules."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.templates import REGIONS, Template, planted, properties, template

pytestmark = pytest.mark.slow

# https://docs.aws.amazon.com/organizations/latest/userguide/orgs_reference_limits.html
POLICY_CHARS = 5120
TRAIL = "arn:${AWS::Partition}:cloudtrail:${AWS::Region}:${AWS::AccountId}:trail/cruddur-trail"


@pytest.fixture
def guardrails() -> Template:
    """Load the template."""
    return template("guardrails.yaml")


def content(guardrails: Template) -> dict[str, dict[str, Any]]:
    """Return the statements of the organisation's policy by their id."""
    statements = properties(guardrails, "Policy")["Content"]["Statement"]
    return {statement["Sid"]: statement for statement in statements}


def test_trail_covers_all_regions_and_is_enabled(guardrails: Template) -> None:
    trail = properties(guardrails, "Trail")

    assert trail["IsLogging"] is True
    assert trail["IsMultiRegionTrail"] is True
    assert trail["IncludeGlobalServiceEvents"] is True


def test_only_the_trail_writes_into_its_bucket(guardrails: Template) -> None:
    statements = properties(guardrails, "BucketPolicy")["PolicyDocument"]["Statement"]
    allowed = [statement for statement in statements if statement["Effect"] == "Allow"]

    assert properties(guardrails, "Trail")["TrailName"] == TRAIL.rpartition("/")[2]
    assert {statement["Action"] for statement in allowed} == {"s3:GetBucketAcl", "s3:PutObject"}
    for statement in allowed:
        assert statement["Principal"] == {"Service": "cloudtrail.amazonaws.com"}
        assert statement["Condition"]["StringEquals"]["aws:SourceArn"] == {"Fn::Sub": TRAIL}


def test_trail_logs_are_locked_for_a_year(guardrails: Template) -> None:
    bucket = properties(guardrails, "Bucket")
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]

    assert guardrails["Resources"]["Bucket"]["DeletionPolicy"] == "Retain"
    assert guardrails["Resources"]["Key"]["DeletionPolicy"] == "Retain"
    locked_days = bucket["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]["Days"]
    assert rule["ExpirationInDays"] > locked_days >= 365


def test_guardduty_monitors_database_logins(guardrails: Template) -> None:
    detector = properties(guardrails, "Detector")
    enabled = {feature["Name"] for feature in detector["Features"] if feature["Status"] == "ENABLED"}

    assert detector["Enable"] is True
    # CT.GUARDDUTY.PR.1 would require S3's.
    assert enabled == {"RDS_LOGIN_EVENTS", "S3_DATA_EVENTS"}


def test_policy_only_denies_and_fits_the_size_limit(guardrails: Template) -> None:
    policy = properties(guardrails, "Policy")

    assert policy["Type"] == "SERVICE_CONTROL_POLICY"
    assert len(json.dumps(policy["Content"])) <= POLICY_CHARS
    assert {(statement["Effect"], statement["Resource"]) for statement in content(guardrails).values()} == {
        ("Deny", "*")
    }


def test_policy_is_created_only_with_a_target(guardrails: Template) -> None:
    assert guardrails["Parameters"]["PolicyTargetId"]["Default"] == ""
    assert guardrails["Conditions"] == {
        "ManagementAccount": {"Fn::Not": [{"Fn::Equals": [{"Ref": "PolicyTargetId"}, ""]}]}
    }
    assert guardrails["Resources"]["Policy"]["Condition"] == "ManagementAccount"
    assert properties(guardrails, "Policy")["TargetIds"] == [{"Ref": "PolicyTargetId"}]


def test_regions_outside_the_union_are_denied_except_for_global_services(guardrails: Template) -> None:
    statement = content(guardrails)["TheUnionOnly"]

    assert "Action" not in statement
    assert set(statement["Condition"]["StringNotEquals"]["aws:RequestedRegion"]) == REGIONS
    # Without these services, sign-in and leaving would fail. With regional services, data could leave the Union.
    assert {"iam:*", "organizations:*", "sts:*", "support:*"} <= set(statement["NotAction"])
    regional = ("rds", "ec2", "s3", "lambda", "cognito-idp", "logs", "kms", "secretsmanager", "dynamodb", "*")
    assert [action for action in statement["NotAction"] if action.split(":")[0] in regional] == []


def test_public_or_unencrypted_database_is_denied(guardrails: Template) -> None:
    statements = content(guardrails)

    assert statements["NoOpenDatabase"]["Action"] == "rds:CreateDBInstance"
    assert statements["NoOpenDatabase"]["Condition"] == {"BoolIfExists": {"rds:PubliclyAccessible": "true"}}
    assert "rds:CreateDBInstance" in statements["NoUnencryptedDatabase"]["Action"]
    assert statements["NoUnencryptedDatabase"]["Condition"] == {"BoolIfExists": {"rds:StorageEncrypted": "false"}}


def test_disabling_monitoring_or_leaving_the_organisation_is_denied(guardrails: Template) -> None:
    statements = content(guardrails)
    sids = ("TheTrailGoesOn", "GuardDutyGoesOn", "NobodyLeaves")

    trail = set(statements["TheTrailGoesOn"]["Action"])
    assert {"cloudtrail:StopLogging", "cloudtrail:DeleteTrail", "s3:BypassGovernanceRetention"} <= trail
    assert {"guardduty:DeleteDetector", "guardduty:UpdateDetector"} <= set(statements["GuardDutyGoesOn"]["Action"])
    assert statements["NobodyLeaves"]["Action"] == "organizations:LeaveOrganization"
    assert [name for name in sids if "Condition" in statements[name]] == []


STATEMENTS = "Policy.Properties.Content.Statement"
FAULTS: list[tuple[str, Any, Callable[[Template], None]]] = [
    ("Trail.Properties.IsMultiRegionTrail", False, test_trail_covers_all_regions_and_is_enabled),
    ("Trail.Properties.IsLogging", False, test_trail_covers_all_regions_and_is_enabled),
    ("Trail.Properties.TrailName", "other", test_only_the_trail_writes_into_its_bucket),
    (
        "BucketPolicy.Properties.PolicyDocument.Statement.1.Principal",
        "*",
        test_only_the_trail_writes_into_its_bucket,
    ),
    (
        "Bucket.Properties.ObjectLockConfiguration.Rule.DefaultRetention.Days",
        364,
        test_trail_logs_are_locked_for_a_year,
    ),
    ("Bucket.DeletionPolicy", "Delete", test_trail_logs_are_locked_for_a_year),
    ("Detector.Properties.Enable", False, test_guardduty_monitors_database_logins),
    ("Detector.Properties.Features.0.Status", "DISABLED", test_guardduty_monitors_database_logins),
    (f"{STATEMENTS}.0.NotAction.0", "x" * POLICY_CHARS, test_policy_only_denies_and_fits_the_size_limit),
    (f"{STATEMENTS}.5.Effect", "Allow", test_policy_only_denies_and_fits_the_size_limit),
    ("Policy.Properties.TargetIds", ["r-root"], test_policy_is_created_only_with_a_target),
    (
        f"{STATEMENTS}.0.Condition.StringNotEquals.aws:RequestedRegion",
        [*REGIONS, "eu-west-2"],
        test_regions_outside_the_union_are_denied_except_for_global_services,
    ),
    (f"{STATEMENTS}.0.NotAction.0", "rds:*", test_regions_outside_the_union_are_denied_except_for_global_services),
    (
        f"{STATEMENTS}.1.Condition",
        {"Bool": {"rds:PubliclyAccessible": "true"}},
        test_public_or_unencrypted_database_is_denied,
    ),
    (
        f"{STATEMENTS}.2.Condition",
        {"Bool": {"rds:StorageEncrypted": "false"}},
        test_public_or_unencrypted_database_is_denied,
    ),
    (
        f"{STATEMENTS}.3.Action",
        ["cloudtrail:DeleteTrail"],
        test_disabling_monitoring_or_leaving_the_organisation_is_denied,
    ),
    (f"{STATEMENTS}.4.Condition", {"Bool": {}}, test_disabling_monitoring_or_leaving_the_organisation_is_denied),
]


@pytest.mark.parametrize(("path", "value", "check"), FAULTS)
def test_planted_fault_fails_its_check(
    guardrails: Template, path: str, value: object, check: Callable[[Template], None]
) -> None:
    check(guardrails)
    with pytest.raises(AssertionError):
        check(planted(guardrails, path, value))

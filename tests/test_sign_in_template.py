"""Signing in on AWS: what neither cfn-lint nor Control Tower's rules ask of the template."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.templates import Template, planted, properties, resources, template

pytestmark = pytest.mark.slow

FUNCTION = "function:cruddur-post-confirmation"


@pytest.fixture
def sign_in() -> Template:
    """The template."""
    return template("sign-in.yaml")


def statements(sign_in: Template) -> dict[str, dict[str, Any]]:
    """What the Lambda's role allows and denies."""
    (policy,) = properties(sign_in, "Role")["Policies"]
    return {statement["Sid"]: statement for statement in policy["PolicyDocument"]["Statement"]}


def test_the_lambda_is_done_before_cognito_gives_up(sign_in: Template) -> None:
    assert properties(sign_in, "Function")["Timeout"] <= 5


def test_the_lambda_connects_by_token_and_verifies_the_server(sign_in: Template) -> None:
    function = properties(sign_in, "Function")
    variables = function["Environment"]["Variables"]
    url = variables["CONNECTION_URL"]["Fn::Sub"]

    assert (function["FunctionName"], function["Runtime"]) == ("cruddur-post-confirmation", "python3.13")
    assert variables.keys() == {"CONNECTION_URL", "DATABASE_AUTH"}
    assert variables["DATABASE_AUTH"] == "iam"
    assert url == "postgresql://cruddur_post_confirmation@${DatabaseHost}:5432/cruddur?sslmode=verify-full"


def test_the_lambda_may_connect_as_its_one_role(sign_in: Template) -> None:
    statement = statements(sign_in)["Database"]

    assert statement["Action"] == "rds-db:connect"
    resource = statement["Resource"]["Fn::Sub"]
    assert resource.endswith(":${AWS::Region}:${AWS::AccountId}:dbuser:${DatabaseResourceId}/cruddur_post_confirmation")
    assert "*" not in resource


def test_the_lambda_may_do_to_all_things_only_what_aws_gives_no_narrower_way_for(sign_in: Template) -> None:
    allowed = {sid: statement for sid, statement in statements(sign_in).items() if statement["Effect"] == "Allow"}

    assert [sid for sid, statement in allowed.items() if statement["Resource"] == "*"] == ["ToSeeInterfaces"]
    assert [action for action in allowed["ToSeeInterfaces"]["Action"] if not action.startswith("ec2:Describe")] == []
    assert [sid for sid, statement in allowed.items() if "*" in str(statement["Action"])] == []
    assert "ManagedPolicyArns" not in properties(sign_in, "Role")


def test_the_code_may_touch_no_network_interface(sign_in: Template) -> None:
    statement = statements(sign_in)["NotTheCode"]

    assert (statement["Effect"], statement["Action"], statement["Resource"]) == ("Deny", "ec2:*", "*")
    assert statement["Condition"]["ArnEquals"]["lambda:SourceFunctionArn"]["Fn::Sub"].endswith(FUNCTION)


def test_the_lambda_reaches_the_database_and_nothing_reaches_it(sign_in: Template) -> None:
    (out,) = properties(sign_in, "SecurityGroup")["SecurityGroupEgress"]
    rules = resources(sign_in, "AWS::EC2::SecurityGroupIngress")
    rule = rules["DatabaseRule"]

    assert "SecurityGroupIngress" not in properties(sign_in, "SecurityGroup")
    assert (out["FromPort"], out["ToPort"], out["DestinationSecurityGroupId"]) == (
        5432,
        5432,
        {"Ref": "DatabaseSecurityGroupId"},
    )
    assert rules.keys() == {"DatabaseRule"}
    assert (rule["FromPort"], rule["ToPort"], rule["GroupId"]) == (5432, 5432, {"Ref": "DatabaseSecurityGroupId"})
    assert rule["SourceSecurityGroupId"] == {"Ref": "SecurityGroup"}
    assert properties(sign_in, "Function")["VpcConfig"] == {
        "SubnetIds": {"Ref": "SubnetIds"},
        "SecurityGroupIds": [{"Ref": "SecurityGroup"}],
    }


def test_this_pool_alone_may_call_the_lambda(sign_in: Template) -> None:
    permission = properties(sign_in, "Permission")

    assert permission["Principal"] == "cognito-idp.amazonaws.com"
    assert permission["SourceArn"] == {"Fn::GetAtt": ["UserPool", "Arn"]}
    assert permission["SourceAccount"] == {"Ref": "AWS::AccountId"}
    assert properties(sign_in, "UserPool")["LambdaConfig"] == {"PostConfirmation": {"Fn::GetAtt": ["Function", "Arn"]}}


def test_people_sign_in_by_an_address_that_was_verified(sign_in: Template) -> None:
    pool = properties(sign_in, "UserPool")

    assert pool["UsernameAttributes"] == pool["AutoVerifiedAttributes"] == ["email"]
    assert pool["UserAttributeUpdateSettings"] == {"AttributesRequireVerificationBeforeUpdate": ["email"]}
    assert pool["UsernameConfiguration"] == {"CaseSensitive": False}


def test_the_pool_knows_what_a_row_is_made_of(sign_in: Template) -> None:
    required = {attribute["Name"] for attribute in properties(sign_in, "UserPool")["Schema"] if attribute["Required"]}
    client = properties(sign_in, "UserPoolClient")

    assert required == {"email", "name", "preferred_username"}
    # What it can't write, a person who signs up could not give; what it can't read, GetUser leaves out.
    assert required == set(client["WriteAttributes"])
    assert required <= set(client["ReadAttributes"])


def test_the_pool_keeps_its_people(sign_in: Template) -> None:
    pool = sign_in["Resources"]["UserPool"]

    assert (pool["DeletionPolicy"], pool["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert pool["Properties"]["DeletionProtection"] == "ACTIVE"


def test_passwords_are_long_and_a_second_factor_may_be_had(sign_in: Template) -> None:
    pool = properties(sign_in, "UserPool")

    assert pool["Policies"]["PasswordPolicy"]["MinimumLength"] >= 12
    assert (pool["MfaConfiguration"], pool["EnabledMfas"]) == ("OPTIONAL", ["SOFTWARE_TOKEN_MFA"])


def test_the_client_is_one_for_browsers(sign_in: Template) -> None:
    client = properties(sign_in, "UserPoolClient")

    assert client["GenerateSecret"] is False
    assert set(client["ExplicitAuthFlows"]) == {"ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"}
    assert client["PreventUserExistenceErrors"] == "ENABLED"
    assert client["EnableTokenRevocation"] is True
    assert "AllowedOAuthFlows" not in client
    assert client["TokenValidityUnits"] == {"AccessToken": "minutes", "IdToken": "minutes", "RefreshToken": "days"}
    assert client["AccessTokenValidity"] <= 15
    assert client["RefreshTokenValidity"] <= 7


STATEMENTS = "Role.Properties.Policies.0.PolicyDocument.Statement"
FAULTS: list[tuple[str, Any, Callable[[Template], None]]] = [
    ("Function.Properties.Timeout", 6, test_the_lambda_is_done_before_cognito_gives_up),
    (
        "Function.Properties.Environment.Variables.DB_PASSWORD",
        "x",
        test_the_lambda_connects_by_token_and_verifies_the_server,
    ),
    (f"{STATEMENTS}.0.Resource", {"Fn::Sub": "*"}, test_the_lambda_may_connect_as_its_one_role),
    (
        f"{STATEMENTS}.1.Resource",
        "*",
        test_the_lambda_may_do_to_all_things_only_what_aws_gives_no_narrower_way_for,
    ),
    (
        "Role.Properties.ManagedPolicyArns",
        ["arn:aws:iam::aws:policy/AdministratorAccess"],
        test_the_lambda_may_do_to_all_things_only_what_aws_gives_no_narrower_way_for,
    ),
    (f"{STATEMENTS}.4.Effect", "Allow", test_the_code_may_touch_no_network_interface),
    ("Function.Properties.VpcConfig.SecurityGroupIds", [], test_the_lambda_reaches_the_database_and_nothing_reaches_it),
    (
        "SecurityGroup.Properties.SecurityGroupEgress.0.ToPort",
        65535,
        test_the_lambda_reaches_the_database_and_nothing_reaches_it,
    ),
    ("Permission.Properties.SourceArn", "arn:aws:cognito-idp:*", test_this_pool_alone_may_call_the_lambda),
    ("UserPool.Properties.AutoVerifiedAttributes", [], test_people_sign_in_by_an_address_that_was_verified),
    ("UserPool.Properties.Schema.2", None, test_the_pool_knows_what_a_row_is_made_of),
    ("UserPoolClient.Properties.ReadAttributes", ["email"], test_the_pool_knows_what_a_row_is_made_of),
    ("UserPool.Properties.DeletionProtection", "INACTIVE", test_the_pool_keeps_its_people),
    ("UserPool.Properties.MfaConfiguration", "OFF", test_passwords_are_long_and_a_second_factor_may_be_had),
    ("UserPoolClient.Properties.GenerateSecret", True, test_the_client_is_one_for_browsers),
    (
        "UserPoolClient.Properties.ExplicitAuthFlows",
        ["ALLOW_USER_PASSWORD_AUTH"],
        test_the_client_is_one_for_browsers,
    ),
    ("UserPoolClient.Properties.AccessTokenValidity", 16, test_the_client_is_one_for_browsers),
]


@pytest.mark.parametrize(("path", "value", "check"), FAULTS)
def test_a_fault_is_seen(sign_in: Template, path: str, value: object, check: Callable[[Template], None]) -> None:
    check(sign_in)
    with pytest.raises(AssertionError):
        check(planted(sign_in, path, value))

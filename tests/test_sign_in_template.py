"""The sign-in's CloudFormation template: requirements beyond those of cfn-lint and Control Tower's rules."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.settings import REQUIRED, load
from tests.templates import Template, planted, properties, resources, template

pytestmark = pytest.mark.slow

FUNCTION = "function:cruddur-post-confirmation"


@pytest.fixture
def sign_in() -> Template:
    """Load the template."""
    return template("sign-in.yaml")


def statements(sign_in: Template) -> dict[str, dict[str, Any]]:
    """Return the statements of the Lambda role's policy by their id."""
    (policy,) = properties(sign_in, "Role")["Policies"]
    return {statement["Sid"]: statement for statement in policy["PolicyDocument"]["Statement"]}


def test_lambda_timeout_is_below_cognitos(sign_in: Template) -> None:
    assert properties(sign_in, "Function")["Timeout"] <= 5


def test_lambda_connects_by_token_and_verifies_the_server(sign_in: Template) -> None:
    function = properties(sign_in, "Function")
    variables = function["Environment"]["Variables"]
    url = variables["CONNECTION_URL"]["Fn::Sub"]

    assert (function["FunctionName"], function["Runtime"]) == ("cruddur-post-confirmation", "python3.13")
    assert variables.keys() == {"CONNECTION_URL", "DATABASE_AUTH"}
    assert variables["DATABASE_AUTH"] == "iam"
    assert url == "postgresql://cruddur_post_confirmation@${DatabaseHost}:5432/cruddur?sslmode=verify-full"


def test_lambda_may_connect_as_its_own_role_only(sign_in: Template) -> None:
    statement = statements(sign_in)["Database"]

    assert statement["Action"] == "rds-db:connect"
    resource = statement["Resource"]["Fn::Sub"]
    assert resource.endswith(":${AWS::Region}:${AWS::AccountId}:dbuser:${DatabaseResourceId}/cruddur_post_confirmation")
    assert "*" not in resource


def test_lambda_has_wildcard_resources_only_where_aws_requires_them(sign_in: Template) -> None:
    allowed = {sid: statement for sid, statement in statements(sign_in).items() if statement["Effect"] == "Allow"}

    assert [sid for sid, statement in allowed.items() if statement["Resource"] == "*"] == ["ToSeeInterfaces"]
    assert [action for action in allowed["ToSeeInterfaces"]["Action"] if not action.startswith("ec2:Describe")] == []
    assert [sid for sid, statement in allowed.items() if "*" in str(statement["Action"])] == []
    assert "ManagedPolicyArns" not in properties(sign_in, "Role")


def test_lambda_code_is_denied_network_interfaces(sign_in: Template) -> None:
    statement = statements(sign_in)["NotTheCode"]

    assert (statement["Effect"], statement["Action"], statement["Resource"]) == ("Deny", "ec2:*", "*")
    assert statement["Condition"]["ArnEquals"]["lambda:SourceFunctionArn"]["Fn::Sub"].endswith(FUNCTION)


def test_lambda_reaches_only_the_database_and_has_no_ingress(sign_in: Template) -> None:
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


def test_only_this_user_pool_may_invoke_the_lambda(sign_in: Template) -> None:
    permission = properties(sign_in, "Permission")

    assert permission["Principal"] == "cognito-idp.amazonaws.com"
    assert permission["SourceArn"] == {"Fn::GetAtt": ["UserPool", "Arn"]}
    assert permission["SourceAccount"] == {"Ref": "AWS::AccountId"}
    assert properties(sign_in, "UserPool")["LambdaConfig"] == {"PostConfirmation": {"Fn::GetAtt": ["Function", "Arn"]}}


def test_stack_for_a_pool_that_exists_has_the_lambda_alone(sign_in: Template) -> None:
    assert sign_in["Conditions"] == {"WithPool": {"Fn::Equals": [{"Ref": "NewUserPool"}, "true"]}}
    conditional = {name for name, each in sign_in["Resources"].items() if each.get("Condition") == "WithPool"}
    pools = {name for name, each in sign_in["Resources"].items() if each["Type"].startswith("AWS::Cognito")}
    # An output without the condition would refer to a missing resource: cfn-lint finds that.
    assert conditional == pools | {"Permission"}


def test_new_pool_needs_its_names(sign_in: Template) -> None:
    rule, parameters = sign_in["Rules"]["NamesOfTheNewPool"], sign_in["Parameters"]

    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "NewUserPool"}, "true"]}
    assert [each["Assert"] for each in rule["Assertions"]] == [
        {"Fn::Not": [{"Fn::Equals": [{"Ref": name}, parameters[name]["Default"]]}]}
        for name in ("DomainPrefix", "PageUrl")
    ]


def test_sign_in_uses_a_verified_email_address(sign_in: Template) -> None:
    pool = properties(sign_in, "UserPool")

    assert pool["UsernameAttributes"] == pool["AutoVerifiedAttributes"] == ["email"]
    assert pool["UserAttributeUpdateSettings"] == {"AttributesRequireVerificationBeforeUpdate": ["email"]}
    assert pool["UsernameConfiguration"] == {"CaseSensitive": False}


def test_user_pool_requires_the_attributes_of_a_row(sign_in: Template) -> None:
    required = {attribute["Name"] for attribute in properties(sign_in, "UserPool")["Schema"] if attribute["Required"]}
    client = properties(sign_in, "UserPoolClient")

    assert required == {"email", "name", "preferred_username"}
    # Sign-up needs write access to each attribute, and GetUser omits attributes without read access.
    assert required == set(client["WriteAttributes"])
    assert required <= set(client["ReadAttributes"])


def test_deletion_keeps_the_user_pool(sign_in: Template) -> None:
    pool = sign_in["Resources"]["UserPool"]

    assert (pool["DeletionPolicy"], pool["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert pool["Properties"]["DeletionProtection"] == "ACTIVE"


def test_password_policy_and_second_factor(sign_in: Template) -> None:
    pool = properties(sign_in, "UserPool")

    assert pool["Policies"]["PasswordPolicy"]["MinimumLength"] >= 12
    assert (pool["MfaConfiguration"], pool["EnabledMfas"]) == ("OPTIONAL", ["SOFTWARE_TOKEN_MFA"])


def test_app_client_is_public_and_short_lived(sign_in: Template) -> None:
    client = properties(sign_in, "UserPoolClient")

    assert client["GenerateSecret"] is False
    assert set(client["ExplicitAuthFlows"]) == {"ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"}
    assert client["PreventUserExistenceErrors"] == "ENABLED"
    assert client["EnableTokenRevocation"] is True
    assert client["TokenValidityUnits"] == {"AccessToken": "minutes", "IdToken": "minutes", "RefreshToken": "days"}
    assert client["AccessTokenValidity"] <= 15
    assert client["RefreshTokenValidity"] <= 7


def test_managed_login_sends_codes_to_the_page_alone(sign_in: Template) -> None:
    client, domain = properties(sign_in, "UserPoolClient"), properties(sign_in, "UserPoolDomain")

    assert (domain["UserPoolId"], domain["Domain"]) == ({"Ref": "UserPool"}, {"Ref": "DomainPrefix"})
    assert (client["AllowedOAuthFlowsUserPoolClient"], client["AllowedOAuthFlows"]) == (True, ["code"])
    assert client["CallbackURLs"] == client["LogoutURLs"] == [{"Ref": "PageUrl"}]


def test_managed_logins_tokens_may_call_get_user(sign_in: Template) -> None:
    client = properties(sign_in, "UserPoolClient")

    assert set(client["AllowedOAuthScopes"]) == {"openid", "aws.cognito.signin.user.admin"}


def test_managed_login_fits_the_tier(sign_in: Template) -> None:
    pool, domain = properties(sign_in, "UserPool"), properties(sign_in, "UserPoolDomain")

    assert (pool["UserPoolTier"], domain["ManagedLoginVersion"]) == ("LITE", 1)


def test_output_is_the_setting_for_the_page(sign_in: Template) -> None:
    output = sign_in["Outputs"]["Domain"]
    url = output["Value"]["Fn::Sub"]
    origin = url.replace("${UserPoolDomain}", "cruddur").replace("${AWS::Region}", "eu-west-1")

    assert output["Description"] == "AWS_COGNITO_DOMAIN"
    assert load(**REQUIRED | {"AWS_COGNITO_DOMAIN": origin}).cognito_domain == origin


@pytest.mark.parametrize(
    ("parameter", "value", "is_valid"),
    [
        ("PageUrl", "https://cruddur.example/", True),
        ("PageUrl", "https://cruddur.example:8443/prefix/", True),
        ("PageUrl", "http://localhost:4567/", True),
        ("PageUrl", "https://cruddur.example", False),
        ("PageUrl", "https://cruddur.example/prefix", False),
        ("PageUrl", "http://cruddur.example/", False),
        ("PageUrl", "https://cruddur.example/?a=b", False),
        ("DomainPrefix", "cruddur", True),
        ("DomainPrefix", "cruddur-", False),
        ("DomainPrefix", "Cruddur", False),
        ("DomainPrefix", "a" * 64, False),
    ],
)
def test_parameter_of_the_managed_login_is_checked(
    sign_in: Template, parameter: str, value: str, *, is_valid: bool
) -> None:
    pattern = sign_in["Parameters"][parameter]["AllowedPattern"]

    assert (re.search(pattern, value) is not None) == is_valid


STATEMENTS = "Role.Properties.Policies.0.PolicyDocument.Statement"
FAULTS: list[tuple[str, Any, Callable[[Template], None]]] = [
    ("Function.Properties.Timeout", 6, test_lambda_timeout_is_below_cognitos),
    (
        "Function.Properties.Environment.Variables.DB_PASSWORD",
        "x",
        test_lambda_connects_by_token_and_verifies_the_server,
    ),
    (f"{STATEMENTS}.0.Resource", {"Fn::Sub": "*"}, test_lambda_may_connect_as_its_own_role_only),
    (
        f"{STATEMENTS}.1.Resource",
        "*",
        test_lambda_has_wildcard_resources_only_where_aws_requires_them,
    ),
    (
        "Role.Properties.ManagedPolicyArns",
        ["arn:aws:iam::aws:policy/AdministratorAccess"],
        test_lambda_has_wildcard_resources_only_where_aws_requires_them,
    ),
    (f"{STATEMENTS}.4.Effect", "Allow", test_lambda_code_is_denied_network_interfaces),
    ("Function.Properties.VpcConfig.SecurityGroupIds", [], test_lambda_reaches_only_the_database_and_has_no_ingress),
    (
        "SecurityGroup.Properties.SecurityGroupEgress.0.ToPort",
        65535,
        test_lambda_reaches_only_the_database_and_has_no_ingress,
    ),
    ("Permission.Properties.SourceArn", "arn:aws:cognito-idp:*", test_only_this_user_pool_may_invoke_the_lambda),
    ("UserPool.Properties.AutoVerifiedAttributes", [], test_sign_in_uses_a_verified_email_address),
    ("UserPool.Properties.Schema.2", None, test_user_pool_requires_the_attributes_of_a_row),
    ("UserPoolClient.Properties.ReadAttributes", ["email"], test_user_pool_requires_the_attributes_of_a_row),
    ("UserPool.Properties.DeletionProtection", "INACTIVE", test_deletion_keeps_the_user_pool),
    ("UserPool.Properties.MfaConfiguration", "OFF", test_password_policy_and_second_factor),
    ("UserPoolClient.Properties.GenerateSecret", True, test_app_client_is_public_and_short_lived),
    (
        "UserPoolClient.Properties.ExplicitAuthFlows",
        ["ALLOW_USER_PASSWORD_AUTH"],
        test_app_client_is_public_and_short_lived,
    ),
    ("UserPoolClient.Properties.AllowedOAuthFlows", ["implicit"], test_managed_login_sends_codes_to_the_page_alone),
    ("UserPoolClient.Properties.CallbackURLs.0", "https://b", test_managed_login_sends_codes_to_the_page_alone),
    ("UserPoolClient.Properties.LogoutURLs.0", "https://b", test_managed_login_sends_codes_to_the_page_alone),
    ("UserPoolDomain.Properties.UserPoolId", "another", test_managed_login_sends_codes_to_the_page_alone),
    ("UserPoolClient.Properties.AllowedOAuthScopes", ["openid"], test_managed_logins_tokens_may_call_get_user),
    ("UserPoolDomain.Properties.ManagedLoginVersion", 2, test_managed_login_fits_the_tier),
    ("UserPoolClient.Properties.AccessTokenValidity", 16, test_app_client_is_public_and_short_lived),
]


@pytest.mark.parametrize(("path", "value", "check"), FAULTS)
def test_planted_fault_fails_its_check(
    sign_in: Template, path: str, value: object, check: Callable[[Template], None]
) -> None:
    check(sign_in)
    with pytest.raises(AssertionError):
        check(planted(sign_in, path, value))

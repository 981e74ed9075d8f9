"""The events of a sign-up, and the checks after it."""

from typing import Any

import psycopg

from tests.lambda_runtime import REGION, Answer

PASSWORD = "s3cret/of#the?role"
ENCODED = "s3cret%2Fof%23the%3Frole"
SUB = "7d8ca528-4931-4254-9273-ea5ee853f271"
LIN = {"sub": SUB, "preferred_username": "LinYue", "name": "Lin Yue", "email": "lin@example.com"}
PEOPLE = """
    SELECT handle, display_name, email, cognito_user_id FROM users
    WHERE handle NOT IN ('bystander', 'friend') ORDER BY created_at
"""
Row = tuple[object, ...]


def event(trigger: str = "PostConfirmation_ConfirmSignUp", **attributes: str) -> dict[str, Any]:
    """Return an event as Cognito's guide documents it."""
    return {
        "version": "1",
        "triggerSource": trigger,
        "region": REGION,
        "userPoolId": "eu-west-1_AbCdEfGhI",
        "userName": SUB,
        "callerContext": {"awsSdkVersion": "aws-sdk-unknown-unknown", "clientId": "1h57kf5cpq17m0eml12EXAMPLE"},
        "request": {
            "userAttributes": {"cognito:user_status": "CONFIRMED", "email_verified": "true", **(attributes or LIN)}
        },
        "response": {},
    }


def assert_no_personal_data(text: str) -> None:
    """Expect no personal data and no secret in a text."""
    for personal in ("Quoted", "Lin", "lin@", SUB, "DROP", "s3cret", "EXAMPLEKEY", "X-Amz-Signature"):
        assert personal not in text


def people(owner: psycopg.Connection) -> list[Row]:
    """Return all users except the bystander and friend."""
    return owner.execute(PEOPLE).fetchall()


def assert_profile_not_made(answer: Answer) -> None:
    """Expect the error that Cognito passes on to the client, without the user and the reason."""
    assert answer.how == "error"
    assert (answer.body["errorType"], answer.body["errorMessage"]) == (
        "ProfileNotMade",
        "The profile is not set up yet; it will be at the first visit.",
    )
    assert_no_personal_data(str(answer.body))

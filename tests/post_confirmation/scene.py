"""Who signs up, and what is looked at after that."""

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
    """What Cognito sends, as its guide documents it."""
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


def discreet(said: str) -> None:
    """Expect nothing of a person, and no secret."""
    for personal in ("Quoted", "Lin", "lin@", SUB, "DROP", "s3cret", "EXAMPLEKEY", "X-Amz-Signature"):
        assert personal not in said


def people(owner: psycopg.Connection) -> list[Row]:
    """Everybody but the bystander and their friend."""
    return owner.execute(PEOPLE).fetchall()


def failed(answer: Answer) -> None:
    """Expect the failure that Cognito passes on to the client: no word of whom it was about, or why."""
    assert answer.how == "error"
    assert (answer.body["errorType"], answer.body["errorMessage"]) == (
        "ProfileNotMade",
        "The profile is not set up yet; it will be at the first visit.",
    )
    discreet(str(answer.body))

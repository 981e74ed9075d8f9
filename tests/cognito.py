"""Cognito on this machine: its key set GetUser and DeleteUser, as its API reference has them."""

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from joserfc.jwk import RSAKey

from harness.stubs import StubRequest, StubResponse, http_stub
from lib.config import UserPool
from tests import tokens

GET_USER = "AWSCognitoIdentityProviderService.GetUser"
DELETE_USER = "AWSCognitoIdentityProviderService.DeleteUser"


@dataclass
class FakeCognito:
    """Cognito's users, keys and responses, and the requests so far."""

    keys: list[RSAKey] = field(default_factory=lambda: [tokens.new_key("ours")])
    # Attributes by sub.
    people: dict[str, dict[str, str]] = field(default_factory=dict)
    # Responses in place of the right ones, by request: status and body.
    faults: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    # While this is not set, requests get no response.
    answering: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @property
    def pool(self) -> dict[str, Any]:
        """The pool, with its addresses here, as arguments of `Config`."""
        return tokens.pool(f"{self.url}/jwks.json", self.url)

    @property
    def user_pool(self) -> UserPool:
        """The same pool, as `Config` gives it to the service."""
        return tokens.user_pool(f"{self.url}/jwks.json", self.url)

    def answer(self, asked: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of a response."""
        self.asked[asked] += 1
        self.answering.wait()
        if asked in self.faults:
            return self.faults[asked]
        if asked == "/jwks.json":
            return 200, tokens.key_set(*self.keys).encode()
        access_token = json.loads(body)["AccessToken"]
        return self.delete_user(access_token) if asked == DELETE_USER else self.get_user(access_token)

    def delete_user(self, access_token: str) -> tuple[int, bytes]:
        """Delete the token's user."""
        sub = sub_of(access_token)
        if self.people.pop(sub, None) is None:
            return 400, b'{"__type":"UserNotFoundException","message":"User does not exist."}'
        return 200, b""

    def get_user(self, access_token: str) -> tuple[int, bytes]:
        """Return the attributes of the token's user."""
        sub = sub_of(access_token)
        if sub not in self.people:
            return 400, b'{"__type":"UserNotFoundException","message":"User does not exist."}'
        attributes = [{"Name": name, "Value": value} for name, value in {"sub": sub, **self.people[sub]}.items()]
        return 200, json.dumps({"Username": sub, "UserAttributes": attributes}).encode()


def sub_of(access_token: str) -> str:
    """Return the claim `sub` of a token."""
    payload = access_token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=="))["sub"])


@contextmanager
def fake_cognito() -> Iterator[FakeCognito]:
    """Run Cognito while this lasts."""
    cognito = FakeCognito()
    cognito.answering.set()

    def respond(request: StubRequest) -> StubResponse:
        if request.method == "GET":
            return StubResponse(*cognito.answer(request.path, b""))
        # A call of the API, whose name is in a header.
        assert request.headers["Content-Type"] == "application/x-amz-json-1.1"
        return StubResponse(*cognito.answer(str(request.headers["X-Amz-Target"]), request.body))

    with http_stub(respond) as cognito.url:
        try:
            yield cognito
        finally:
            cognito.answering.set()

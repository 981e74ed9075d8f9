"""Cognito's managed login on this machine: the endpoints that its reference describes, for one app client.

Every authorization request is answered at once, as for a user who has a session there.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from harness.stubs import StubRequest, StubResponse, http_stub
from tests import tokens

SCOPES = {"openid", "aws.cognito.signin.user.admin"}


@dataclass
class ManagedLogin:
    """The state of the endpoints."""

    # The user who is signed in at Cognito.
    sub: str = ""
    redirect_uri: str = ""
    seconds: int = 900
    # Claims of the next access tokens.
    claims: dict[str, Any] = field(default_factory=dict)
    # The code challenges of unused codes.
    challenges: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    # The state that a redirect carries in place of the right one.
    state: str | None = None
    refuses: bool = False
    url: str = ""

    def respond(self, request: StubRequest) -> StubResponse:
        """Return the response of an endpoint."""
        path, _, query = request.path.partition("?")
        self.requests.append(path)
        sent = {name: values[0] for name, values in parse_qs(query or request.body.decode()).items()}
        endpoints: dict[str, Callable[[dict[str, str]], StubResponse]] = {
            "/oauth2/authorize": self.authorize,
            "/oauth2/token": self.issue,
            "/oauth2/revoke": lambda _: StubResponse(body=b"", headers={"Access-Control-Allow-Origin": "*"}),
            "/logout": lambda sent: redirect(sent["logout_uri"]),
        }
        return endpoints[path](sent)

    def authorize(self, sent: dict[str, str]) -> StubResponse:
        """Redirect to the page with a code (RFC 6749, section 4.1.2)."""
        assert (sent["response_type"], sent["client_id"]) == ("code", tokens.CLIENT_ID)
        assert (sent["redirect_uri"], set(sent["scope"].split())) == (self.redirect_uri, SCOPES)
        assert sent["code_challenge_method"] == "S256"
        code = f"code-{len(self.requests)}"
        self.challenges[code] = sent["code_challenge"]
        return redirect(f"{self.redirect_uri}?{urlencode({'code': code, 'state': self.state or sent['state']})}")

    def issue(self, sent: dict[str, str]) -> StubResponse:
        """Exchange a code or a refresh token for an access token, and verify the code's verifier (RFC 7636)."""
        if self.refuses or sent["client_id"] != tokens.CLIENT_ID or not self.is_granted(sent):
            return json_response(400, {"error": "invalid_grant"})
        access_token = tokens.token(self.sub, **self.claims)
        body = {"access_token": access_token, "expires_in": self.seconds, "token_type": "Bearer"}
        # A refresh brings no new refresh token.
        extra = {"refresh_token": "refresh"} if sent["grant_type"] == "authorization_code" else {}
        return json_response(200, body | extra)

    def is_granted(self, sent: dict[str, str]) -> bool:
        """Return whether the request may have tokens."""
        if sent["grant_type"] == "refresh_token":
            return sent["refresh_token"] == "refresh"
        digest = hashlib.sha256(sent["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return sent["redirect_uri"] == self.redirect_uri and self.challenges.pop(sent["code"], None) == challenge


def redirect(url: str) -> StubResponse:
    """Return a redirect."""
    assert urlsplit(url).hostname == "127.0.0.1"
    return StubResponse(302, b"", {"Location": url})


def json_response(status: int, body: dict[str, object]) -> StubResponse:
    """Return JSON that a page of any origin may read, as Cognito's token endpoint does."""
    headers = {"Content-Type": "application/json", "Access-Control-Allow-Origin": "*"}
    return StubResponse(status, json.dumps(body).encode(), headers)


@contextmanager
def managed_login() -> Iterator[ManagedLogin]:
    """Run the endpoints while this lasts."""
    login = ManagedLogin()
    with http_stub(login.respond) as login.url:
        yield login

"""Who is asking: Cognito's access tokens, the keys that they are signed with, and whom Cognito knows.

Tokens are JWTs (RFC 7519), checked as Amazon Cognito's developer guide says, "Verifying JSON web tokens".
"""

import json
import logging
import re
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import urllib3
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import GuestProtocol, KeySet, RSAKey

from lib.config import UserPool
from lib.errors import Unauthorized, Unavailable

logger = logging.getLogger("cruddur")

ALGORITHM = "RS256"
TIMES = jwt.JWTClaimsRegistry(exp={"essential": True})
SUB = re.compile("[!-~]+")
# A key that we don't know is looked up this often at most, however many tokens name one.
LOOK_UP_SECONDS = 30
# Keys are asked for again after this long, so that one that Cognito has withdrawn goes here too.
FRESH_SECONDS = 3600
# For Cognito to connect and answer.
TIMEOUT_SECONDS = 2.0
# What Cognito answers when the token is no good any more. All else is trouble of its own.
REFUSALS = {
    *("NotAuthorizedException", "UserNotFoundException", "UserNotConfirmedException"),
    *("PasswordResetRequiredException", "InvalidParameterException"),
}


class Token(NamedTuple):
    """A token that was verified, and its claim `sub`: who it is for."""

    text: str
    sub: str


class Keys:
    """The pool's keys. What is known goes on serving while Cognito is away."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._known: dict[str | None, RSAKey] = {}
        self._asked_at = float("-inf")
        self._asking = threading.Lock()

    def get(self, key_id: str | None) -> RSAKey:
        """The key of that id. Raises `InvalidKeyIdError`, and `Unavailable` as long as there never was a key."""
        if key_id not in self._known:
            # Whoever waits here for another to ask finds the answer.
            with self._asking:
                if key_id not in self._known:
                    self._ask(LOOK_UP_SECONDS)
        elif self._asking.acquire(blocking=False):
            # One asks whether the keys still hold, the others go on with what is known.
            try:
                self._ask(FRESH_SECONDS)
            finally:
                self._asking.release()
        if not self._known:
            raise Unavailable(f"there never was a key set at {self._url}")
        if key_id not in self._known:
            raise InvalidKeyIdError
        return self._known[key_id]

    def _ask(self, seconds: int) -> None:
        # Not again before that many seconds are over, also after a failure.
        if time.monotonic() - self._asked_at < seconds:
            return
        self._asked_at = time.monotonic()
        try:
            self._known = read_keys(self._url)
        except Unavailable as failure:
            logger.warning("%s", failure)


def read_keys(url: str) -> dict[str | None, RSAKey]:
    """The RSA keys of the key set (RFC 7517) at `url`, by their ids. Raises `Unavailable`."""
    parts = urlsplit(url)
    try:
        text = Path(unquote(parts.path)).read_bytes() if parts.scheme == "file" else call("GET", url).data
        keys = KeySet.import_key_set(json.loads(text)).keys
    except (OSError, ValueError, TypeError, KeyError, JoseError) as error:
        raise Unavailable(f"there is no key set at {url}: {type(error).__name__}") from error
    found = {key.kid: key for key in keys if isinstance(key, RSAKey)}
    if not found:
        raise Unavailable(f"there is no RSA key at {url}")
    return found


def call(method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
    """One request, not followed and not repeated. Raises `Unavailable` when it gets no answer."""
    timeout = urllib3.Timeout(total=TIMEOUT_SECONDS)
    try:
        # On a connection of its own: calls are so rare that one kept open would have been closed.
        with urllib3.PoolManager() as http:
            return http.request(method, url, timeout=timeout, retries=False, redirect=False, **options)
    except urllib3.exceptions.HTTPError as error:
        raise Unavailable(f"{url} does not answer: {type(error).__name__}") from error


class Cognito:
    """One user pool."""

    def __init__(self, pool: UserPool) -> None:
        self._endpoint = pool.endpoint
        self._keys = Keys(pool.jwks_url)
        # An ID token is meant for the client itself, and signed with the same keys.
        self._claims = {"iss": pool.issuer, "client_id": pool.client_id, "token_use": "access"}

    def verify(self, text: str) -> Token:
        """The access token that reads `text`. Raises `Unauthorized`, and `Unavailable` without any keys."""
        try:
            claims = jwt.decode(text, self._key, algorithms=[ALGORITHM]).claims
            # `iat` is left alone: a token of this second is from the future by a slower clock.
            TIMES.validate({name: claims[name] for name in ("exp", "nbf") if name in claims})
        except (JoseError, ValueError, TypeError) as error:
            # TypeError: the library takes it for granted that `crit` is a list.
            raise Unauthorized from error
        sub = claims.get("sub")
        # Compared whole: the library's own check takes a list that holds the value, too.
        if self._claims.items() <= claims.items() and isinstance(sub, str) and SUB.fullmatch(sub):
            return Token(text, sub)
        raise Unauthorized

    def attributes(self, token: Token) -> dict[str, str]:
        """What Cognito knows of the person (GetUser), by attribute. Raises `Unauthorized`, `Unavailable`."""
        answer = call(
            "POST",
            self._endpoint,
            body=json.dumps({"AccessToken": token.text}),
            headers={
                "Content-Type": "application/x-amz-json-1.1",
                "X-Amz-Target": "AWSCognitoIdentityProviderService.GetUser",
            },
        )
        try:
            said = json.loads(answer.data)
            if "UserAttributes" in said:
                return {attribute["Name"]: str(attribute["Value"]) for attribute in said["UserAttributes"]}
            # The name may come with its namespace before it.
            fault = str(said["__type"]).rpartition("#")[2]
        except (ValueError, TypeError, KeyError) as error:
            raise Unavailable(f"{self._endpoint} answers {answer.status}, and not as GetUser does") from error
        if fault in REFUSALS:
            raise Unauthorized
        raise Unavailable(f"{self._endpoint} answers GetUser with {fault}")

    def _key(self, token: GuestProtocol) -> RSAKey:
        return self._keys.get(token.headers().get("kid"))

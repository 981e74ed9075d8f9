"""Who is asking: Cognito's access tokens, the keys that they are signed with, and whom Cognito knows.

Tokens are JWTs (RFC 7519), checked as Amazon Cognito's developer guide says, "Verifying JSON web tokens".
"""

import json
import logging
import re
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import GuestProtocol, RSAKey

from lib.config import UserPool
from lib.exceptions import Unauthorized, UpstreamUnavailable

logger = logging.getLogger("cruddur")

ALGORITHM = "RS256"
TIMES = jwt.JWTClaimsRegistry(exp={"essential": True})
TIMED = {"exp", "nbf"}
SUB = re.compile("[!-~]+")
# A key that we don't know is looked up this often at most, however many tokens name one.
MIN_REFRESH_INTERVAL_SECONDS = 30
# Keys are asked for again after this long, so that one that Cognito has withdrawn goes here too.
JWKS_TTL_SECONDS = 3600
# For Cognito to connect and answer.
TIMEOUT_SECONDS = 2.0
# When it has not, nobody waits for it again for this long: each who does takes a thread from all others.
RETRY_INTERVAL_SECONDS = 5
# At once, by one process.
MAX_CONCURRENT_CALLS = 4
# Tokens whose signature need not be verified again, by their SHA-256: half a megabyte a thousand.
MAX_VERIFIED_TOKENS = 4096
# What Cognito answers when the token is no good any more. All else is trouble of its own.
REJECTIONS = {
    *("NotAuthorizedException", "UserNotFoundException", "UserNotConfirmedException"),
    *("PasswordResetRequiredException", "InvalidParameterException"),
}


class Token(NamedTuple):
    """A token that was verified, and its claim `sub`: who it is for."""

    text: str
    sub: str


class VerifiedToken(NamedTuple):
    """What is found once in a token, by its signature and claims: all but whether its time is up stays so."""

    sub: str
    times: dict[str, Any]
    key_id: str | None
    key: RSAKey


class JWKSCache:
    """The pool's keys. What is known goes on serving while Cognito is away."""

    def __init__(self, url: str, threads: ThreadPoolExecutor) -> None:
        self._url = url
        self._threads = threads
        self._keys_by_id: dict[str | None, RSAKey] = {}
        self._expires_at = float("-inf")
        self._refreshed_at = float("-inf")
        self._refresh_result: Future[None] = Future()
        self._lock = threading.Lock()

    def get_key(self, key_id: str | None) -> RSAKey:
        """The key of that id. Raises `InvalidKeyIdError`, and `UpstreamUnavailable` while there never was a key."""
        if key_id not in self._keys_by_id or time.monotonic() >= self._expires_at:
            self._refresh()
        if key_id not in self._keys_by_id:
            # Nobody waits for longer than this after the question, whoever asked it.
            wait([self._refresh_result], max(0, self._refreshed_at + TIMEOUT_SECONDS - time.monotonic()))
        known = self._keys_by_id
        if not known:
            raise UpstreamUnavailable(f"there never was a key set at {self._url}")
        if key_id not in known:
            raise InvalidKeyIdError
        return known[key_id]

    def _refresh(self) -> None:
        # In a thread of its own: who comes with a known key goes on with that.
        with self._lock:
            if time.monotonic() - self._refreshed_at >= MIN_REFRESH_INTERVAL_SECONDS:
                self._refreshed_at = time.monotonic()
                self._refresh_result = self._threads.submit(self._fetch)

    def _fetch(self) -> None:
        try:
            self._keys_by_id = fetch_jwks(self._url)
            self._expires_at = time.monotonic() + JWKS_TTL_SECONDS
        except UpstreamUnavailable as failure:
            logger.warning("%s", failure)


def fetch_jwks(url: str) -> dict[str | None, RSAKey]:
    """The RSA keys of the key set (RFC 7517) at `url`, by their ids. Raises `UpstreamUnavailable`."""
    parts = urlsplit(url)
    try:
        text = Path(unquote(parts.path)).read_bytes() if parts.scheme == "file" else call("GET", url).data
        members = json.loads(text)["keys"]
        keys = [key for key in map(usable_key, members) if key is not None]
    except (OSError, ValueError, TypeError, KeyError, JoseError) as error:
        raise UpstreamUnavailable(f"there is no key set at {url}: {type(error).__name__}") from error
    found = {key.kid: key for key in keys}
    if not found:
        raise UpstreamUnavailable(f"there is no RSA key at {url}")
    return found


def usable_key(member: Any) -> RSAKey | None:
    """Return the key of a member of a key set, `None` where it cannot verify our tokens (RFC 7517, section 5)."""
    try:
        is_ours = (
            member["kty"] == "RSA" and member.get("use", "sig") == "sig" and member.get("alg", ALGORITHM) == ALGORITHM
        )
        return RSAKey.import_key(member) if is_ours else None
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def call(method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
    """One request, not followed and not repeated. Raises `UpstreamUnavailable` when it gets no answer."""
    timeout = urllib3.Timeout(total=TIMEOUT_SECONDS)
    try:
        # On a connection of its own: calls are so rare that one kept open would have been closed.
        with connections(url) as http:
            return http.request(method, url, timeout=timeout, retries=False, redirect=False, **options)
    except urllib3.exceptions.HTTPError as error:
        raise UpstreamUnavailable(f"{url} does not answer: {type(error).__name__}") from error


def connections(url: str) -> urllib3.PoolManager:
    """Return what connects to `url`: by the proxy that HTTPS_PROXY names, unless NO_PROXY exempts the host.

    Plain HTTP stays within this machine.
    """
    parts = urlsplit(url)
    proxy = getproxies().get("https")
    if parts.scheme != "https" or not proxy or proxy_bypass(parts.netloc):
        return urllib3.PoolManager()
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    login = unquote(urllib3.util.parse_url(proxy).auth or "")
    headers = urllib3.make_headers(proxy_basic_auth=login, proxy_basic_auth_encoding="utf-8") if login else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers)


class Cognito:
    """One user pool."""

    def __init__(self, pool: UserPool) -> None:
        self._endpoint = pool.endpoint
        # What urllib3 bounds is each step: each of a name's addresses, each read. Whoever waits for
        # one of these threads has a limit for the whole.
        self._threads = ThreadPoolExecutor(MAX_CONCURRENT_CALLS, "cognito")
        self._keys = JWKSCache(pool.jwks_url, self._threads)
        self._verified: dict[bytes, VerifiedToken] = {}
        self._away_until = float("-inf")
        # An ID token is meant for the client itself, and signed with the same keys.
        self._claims = {"iss": pool.issuer, "client_id": pool.client_id, "token_use": "access"}

    def verify(self, text: str) -> Token:
        """The access token that reads `text`. Raises `Unauthorized`, and `UpstreamUnavailable` without any keys."""
        try:
            signed = self._verify_once(sha256(text.encode()).digest(), text)
            TIMES.validate(signed.times)
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            # TypeError: the library takes it for granted that `crit` is a list. RecursionError: JSON nested too deeply.
            raise Unauthorized from error
        return Token(text, signed.sub)

    def _verify_once(self, digest: bytes, text: str) -> VerifiedToken:
        signed = self._verified.get(digest)
        # A key that Cognito withdraws takes with it what it has signed.
        if signed is None or self._keys.get_key(signed.key_id) is not signed.key:
            signed = self._check(text)
            if len(self._verified) >= MAX_VERIFIED_TOKENS:
                self._verified.clear()
            self._verified[digest] = signed
        return signed

    def _check(self, text: str) -> VerifiedToken:
        token = jwt.decode(text, self._key, algorithms=[ALGORITHM])
        claims, key_id = token.claims, token.header.get("kid")
        sub = claims.get("sub")
        # Compared whole: the library's own check takes a list that holds the value, too.
        if self._claims.items() <= claims.items() and isinstance(sub, str) and SUB.fullmatch(sub):
            # `iat` is left alone: a token of this second is from the future by a slower clock.
            times = {name: value for name, value in claims.items() if name in TIMED}
            return VerifiedToken(sub, times, key_id, self._keys.get_key(key_id))
        raise Unauthorized

    def attributes(self, token: Token) -> dict[str, str]:
        """What Cognito knows of the person (GetUser), by attribute. Raises `Unauthorized`, `UpstreamUnavailable`."""
        answer = self._get_user(token)
        try:
            said = json.loads(answer.data)
            if "UserAttributes" in said:
                return {attribute["Name"]: str(attribute["Value"]) for attribute in said["UserAttributes"]}
            # The name may come with its namespace before it.
            fault = str(said["__type"]).rpartition("#")[2]
        except (ValueError, TypeError, KeyError) as error:
            raise UpstreamUnavailable(f"{self._endpoint} answers {answer.status}, and not as GetUser does") from error
        if fault in REJECTIONS:
            raise Unauthorized
        raise UpstreamUnavailable(f"{self._endpoint} answers GetUser with {fault}")

    def _get_user(self, token: Token) -> urllib3.BaseHTTPResponse:
        if time.monotonic() < self._away_until:
            raise UpstreamUnavailable(f"{self._endpoint} did not answer a moment ago")
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "AWSCognitoIdentityProviderService.GetUser",
        }
        body = json.dumps({"AccessToken": token.text})
        try:
            answering = self._threads.submit(call, "POST", self._endpoint, body=body, headers=headers)
            return answering.result(TIMEOUT_SECONDS)
        except (UpstreamUnavailable, TimeoutError) as error:
            self._away_until = time.monotonic() + RETRY_INTERVAL_SECONDS
            raise UpstreamUnavailable(f"{self._endpoint} does not answer GetUser") from error

    def _key(self, token: GuestProtocol) -> RSAKey:
        return self._keys.get_key(token.headers().get("kid"))

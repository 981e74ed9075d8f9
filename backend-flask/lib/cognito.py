"""Authentication by Cognito: access tokens, the user pool's key set (JWKS), and a user's attributes.

Tokens are JWTs (RFC 7519). The checks follow "Verifying JSON web tokens" in Amazon Cognito's developer guide.
"""

import json
import logging
import re
import ssl
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from hashlib import sha256
from http import HTTPStatus
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
# The cache fetches the key set this often at most, however many tokens name an unknown key.
MIN_REFRESH_INTERVAL_SECONDS = 30
# The cache refreshes keys after this time, so that a key that Cognito has withdrawn disappears here too.
JWKS_TTL_SECONDS = 3600
# The limit of one call to Cognito, for connecting and for the response.
TIMEOUT_SECONDS = 2.0
# After a timeout requests fail at once for this long: a request that waits occupies a worker's thread.
RETRY_INTERVAL_SECONDS = 5
# Concurrent calls of one process.
MAX_CONCURRENT_CALLS = 4
# The cache of verified signatures, by the token's SHA-256. A thousand tokens take half a megabyte.
MAX_VERIFIED_TOKENS = 4096
# Cognito's errors for an invalid token. Any other error is a fault of Cognito's.
REJECTIONS = {
    *("NotAuthorizedException", "UserNotFoundException", "UserNotConfirmedException"),
    *("PasswordResetRequiredException", "InvalidParameterException"),
}


# The exceptions before the request is sent.
UNSENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
    urllib3.exceptions.LocationValueError,
)
# A claim beyond this number is no time. The comparison also leaves out NaN.
MAX_NUMBER = 1e15
# The limit of a deletion, for its wait and its call. Without a response in time the outcome is unknown.
DELETION_SECONDS = 3.0


class Token(NamedTuple):
    """A verified token, and two of its claims: `sub`, the user's id in the user pool, and the time of the sign-in."""

    text: str
    sub: str
    # Seconds since 1970. None: the token has no such number.
    auth_time: float | None


class VerifiedToken(NamedTuple):
    """The result of a token's verification. Each use must check `times` again; the rest stays valid."""

    sub: str
    auth_time: float | None
    times: dict[str, Any]
    key_id: str | None
    key: RSAKey


class JWKSCache:
    """Cache of the user pool's key set. Cached keys stay in use while Cognito is away."""

    def __init__(self, url: str, threads: ThreadPoolExecutor) -> None:
        self._url = url
        self._threads = threads
        self._keys_by_id: dict[str | None, RSAKey] = {}
        self._expires_at = float("-inf")
        self._refreshed_at = float("-inf")
        self._refresh_result: Future[None] = Future()
        self._lock = threading.Lock()

    def get_key(self, key_id: str | None) -> RSAKey:
        """Return the key `key_id`. Raises `InvalidKeyIdError`, and `UpstreamUnavailable` without any keys."""
        if key_id not in self._keys_by_id or time.monotonic() >= self._expires_at:
            self._refresh()
        if key_id not in self._keys_by_id:
            # The limit counts from the start of the refresh, which another request may have started.
            wait([self._refresh_result], max(0, self._refreshed_at + TIMEOUT_SECONDS - time.monotonic()))
        keys = self._keys_by_id
        if not keys:
            raise UpstreamUnavailable(f"there never was a key set at {self._url}")
        if key_id not in keys:
            raise InvalidKeyIdError
        return keys[key_id]

    def _refresh(self) -> None:
        # A thread of its own fetches the key set: requests with a cached key need not wait.
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
    """Fetch the key set (RFC 7517) at `url`. Return its RSA keys by id. Raises `UpstreamUnavailable`."""
    parts = urlsplit(url)
    try:
        text = Path(unquote(parts.path)).read_bytes() if parts.scheme == "file" else call("GET", url).data
        members = json.loads(text)["keys"]
        keys = [key for key in map(usable_key, members) if key is not None]
    except (OSError, ValueError, TypeError, KeyError, JoseError) as error:
        raise UpstreamUnavailable(f"there is no key set at {url}: {type(error).__name__}") from error
    keys_by_id = {key.kid: key for key in keys}
    if not keys_by_id:
        raise UpstreamUnavailable(f"there is no RSA key at {url}")
    return keys_by_id


def usable_key(member: Any) -> RSAKey | None:
    """Return the key of a key set's member, `None` for a key that cannot verify our tokens (RFC 7517, section 5)."""
    try:
        is_suitable = (
            member["kty"] == "RSA" and member.get("use", "sig") == "sig" and member.get("alg", ALGORITHM) == ALGORITHM
        )
        return RSAKey.import_key(member) if is_suitable else None
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def finite(claim: Any) -> float | None:
    """Return a claim that is a finite number, and None for any other value."""
    is_number = isinstance(claim, int | float) and not isinstance(claim, bool)
    return claim if is_number and abs(claim) < MAX_NUMBER else None


class OutcomeUnknown(UpstreamUnavailable):
    """The request may have been sent, and no response came."""


def call(method: str, url: str, seconds: float = TIMEOUT_SECONDS, **options: Any) -> urllib3.BaseHTTPResponse:
    """Send one request, without redirects and retries. Raises `UpstreamUnavailable` when no response comes.

    The exception is `OutcomeUnknown` unless the request was certainly not sent.
    """
    timeout = urllib3.Timeout(total=seconds)
    try:
        # Each call opens a connection. Calls are so rare that the server would have closed an idle one.
        with connections(url) as http:
            return http.request(method, url, timeout=timeout, retries=False, redirect=False, **options)
    except urllib3.exceptions.HTTPError as error:
        failure = UpstreamUnavailable if is_unsent(error) else OutcomeUnknown
        raise failure(f"{url} does not answer: {type(error).__name__}") from error


def error_name(response: urllib3.BaseHTTPResponse) -> str:
    """Return the name of an error response of Cognito's API, empty for another response."""
    try:
        # The name may have a namespace in front.
        return str(json.loads(response.data)["__type"]).rpartition("#")[2]
    except (ValueError, TypeError, KeyError):
        return ""


def is_unsent(error: urllib3.exceptions.HTTPError) -> bool:
    """Return whether there was no connection for the request: also none to the proxy, or to another server's name."""
    if isinstance(error, urllib3.exceptions.SSLError):
        return bool(error.args) and isinstance(error.args[0], ssl.SSLCertVerificationError)
    return isinstance(error, UNSENT)


def connections(url: str) -> urllib3.PoolManager:
    """Return connections to `url`, by way of the proxy in HTTPS_PROXY unless NO_PROXY exempts the host.

    Plain HTTP uses no proxy, because it stays within this machine.
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
    """Client of one Cognito user pool."""

    def __init__(self, pool: UserPool) -> None:
        self._endpoint = pool.endpoint
        self._is_development = pool.is_development
        # urllib3's timeout bounds each step: each of a name's addresses, each read. A caller that waits for one of
        # these threads bounds the whole call.
        self._threads = ThreadPoolExecutor(MAX_CONCURRENT_CALLS, "cognito")
        self._keys = JWKSCache(pool.jwks_url, self._threads)
        self._verified: dict[bytes, VerifiedToken] = {}
        self._away_until = float("-inf")
        # `token_use` rejects ID tokens, which are for the client itself and signed with the same keys.
        self._claims = {"iss": pool.issuer, "client_id": pool.client_id, "token_use": "access"}

    def verify(self, text: str) -> Token:
        """Return the access token in `text`. Raises `Unauthorized`, and `UpstreamUnavailable` without any keys."""
        try:
            token = self._verify_once(sha256(text.encode()).digest(), text)
            TIMES.validate(token.times)
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            # TypeError: the library assumes that `crit` is a list. RecursionError: JSON nested too deeply.
            raise Unauthorized from error
        return Token(text, token.sub, token.auth_time)

    def _verify_once(self, digest: bytes, text: str) -> VerifiedToken:
        token = self._verified.get(digest)
        # The tokens of a key that Cognito has withdrawn become invalid together with the key.
        if token is None or self._keys.get_key(token.key_id) is not token.key:
            token = self._check(text)
            if len(self._verified) >= MAX_VERIFIED_TOKENS:
                self._verified.clear()
            self._verified[digest] = token
        return token

    def _check(self, text: str) -> VerifiedToken:
        token = jwt.decode(text, self._key, algorithms=[ALGORITHM])
        claims, key_id = token.claims, token.header.get("kid")
        sub = claims.get("sub")
        # This compares whole values. The library's own check accepts a list that holds the value, too.
        if self._claims.items() <= claims.items() and isinstance(sub, str) and SUB.fullmatch(sub):
            # `iat` is not checked: by a slower clock a token of this second comes from the future.
            times = {name: value for name, value in claims.items() if name in TIMED}
            return VerifiedToken(sub, finite(claims.get("auth_time")), times, key_id, self._keys.get_key(key_id))
        raise Unauthorized

    def email(self, token: Token) -> str | None:
        """Return the user's e-mail address, `None` without one. Raises `Unauthorized`, `UpstreamUnavailable`."""
        return None if self._is_development else self.attributes(token).get("email")

    def attributes(self, token: Token) -> dict[str, str]:
        """Return the user's attributes by name (GetUser). Raises `Unauthorized`, `UpstreamUnavailable`."""
        response = self._get_user(token)
        try:
            body = json.loads(response.data)
            if "UserAttributes" in body:
                return {attribute["Name"]: str(attribute["Value"]) for attribute in body["UserAttributes"]}
            fault = error_name(response)
        except (ValueError, TypeError, KeyError) as error:
            raise UpstreamUnavailable(f"{self._endpoint} answers {response.status}, and not as GetUser does") from error
        if fault in REJECTIONS:
            raise Unauthorized
        raise UpstreamUnavailable(f"{self._endpoint} answers GetUser with {fault}")

    def delete_user(self, token: Token) -> str:
        """Delete the token's user (DeleteUser). Return the outcome: `deleted`, or `unknown` without a clear response.

        Raises `Unauthorized` and `UpstreamUnavailable` when Cognito has certainly deleted nothing.
        """
        if self._is_development:
            return "deleted"
        try:
            response = self._call_api("DeleteUser", token, DELETION_SECONDS)
        except OutcomeUnknown:
            return "unknown"
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "unknown"
        fault = error_name(response)
        if response.status == HTTPStatus.OK or fault == "UserNotFoundException":
            return "deleted"
        if fault in REJECTIONS:
            raise Unauthorized
        raise UpstreamUnavailable(f"{self._endpoint} answers DeleteUser with {response.status} {fault}")

    def _get_user(self, token: Token) -> urllib3.BaseHTTPResponse:
        return self._call_api("GetUser", token, TIMEOUT_SECONDS)

    def _call_api(self, name: str, token: Token, seconds: float) -> urllib3.BaseHTTPResponse:
        if time.monotonic() < self._away_until:
            raise UpstreamUnavailable(f"{self._endpoint} did not answer a moment ago")
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"AWSCognitoIdentityProviderService.{name}",
        }
        body = json.dumps({"AccessToken": token.text})
        future = self._threads.submit(call, "POST", self._endpoint, seconds, body=body, headers=headers)
        try:
            return future.result(seconds)
        except (UpstreamUnavailable, TimeoutError) as error:
            self._away_until = time.monotonic() + RETRY_INTERVAL_SECONDS
            # A call that waits for a thread never begins after its cancellation.
            is_sent = isinstance(error, OutcomeUnknown) or (isinstance(error, TimeoutError) and not future.cancel())
            failure = OutcomeUnknown if is_sent else UpstreamUnavailable
            raise failure(f"{self._endpoint} does not answer {name}") from error

    def _key(self, token: GuestProtocol) -> RSAKey:
        return self._keys.get_key(token.headers().get("kid"))

"""Rate limits by the package limits: a request counts by one policy, for its user or for its client's network.

Reads count before their views, and writes by their responses, because a replay or a server's error
costs nothing. Further hooks refuse a client with too many rejected tokens before the next token is verified.

Flask-Limiter, an extension over the same package, parses its limits with each request. That doubles the time of an
empty one (docs/performance.md).
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from math import ceil
from typing import Any, TypeVar

from flask import Blueprint, Flask, Response, current_app, g, request
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import Storage
from werkzeug.exceptions import TooManyRequests

from lib.auth import AuthPolicy, policy_for, sends_token
from lib.client_address import client_network
from lib.config import Config
from lib.http import READS, REPLAYED
from lib.local_proxy import unwrap
from lib.rate_limit_storage import open_storage

View = TypeVar("View", bound=Callable[..., Any])

ATTRIBUTE = "rate_limit_policy"
# The policies. Requests of one policy count together.
ANONYMOUS_READS, USER_READS, USER_WRITES = "anonymous-reads", "user-reads", "user-writes"
SEARCHES, EXPORTS, REJECTED_TOKENS = "searches", "exports", "rejected-tokens"
# Responses of these policies count, in place of requests.
COUNTED_BY_RESPONSE = {USER_WRITES, EXPORTS}


@dataclass(slots=True)
class Quota:
    """A client's quota by one policy, and the count in its current window after the last call."""

    policy: str
    rate: RateLimitItem
    storage: Storage
    # The key of its window in the storage.
    key: str
    count: int = 0
    # Whether the quota refuses the request.
    is_exceeded: bool = False

    def hit(self) -> None:
        """Count a request."""
        self.count = self.storage.incr(self.key, self.rate.get_expiry())

    def read(self) -> None:
        """Read the count, without counting a request."""
        self.count = self.storage.get(self.key)

    @property
    def seconds_to_reset(self) -> int:
        """Return the seconds until the quota is restored, rounded up."""
        # The inner rounding comes first, because the sum of two clocks has an error in its last digits.
        return max(1, ceil(round(self.storage.get_expiry(self.key) - time.time(), 3)))


def search_limited(view: View) -> View:
    """Count the requests of a view as searches."""
    setattr(view, ATTRIBUTE, SEARCHES)
    return view


def export_limited(view: View) -> View:
    """Count the requests of a view as exports."""
    setattr(view, ATTRIBUTE, EXPORTS)
    return view


class RateLimits:
    """The rate of each policy, and the storage that counts requests."""

    def __init__(self, config: Config) -> None:
        self._storage = open_storage(config.rate_limit_storage_url)
        self._rates: dict[str, RateLimitItem] = {
            ANONYMOUS_READS: RateLimitItemPerMinute(config.rate_limit_anonymous_reads),
            USER_READS: RateLimitItemPerMinute(config.rate_limit_user_reads),
            USER_WRITES: RateLimitItemPerMinute(config.rate_limit_user_writes),
            SEARCHES: RateLimitItemPerMinute(config.rate_limit_searches),
            # An export reads all rows of a user.
            EXPORTS: RateLimitItemPerHour(1),
            REJECTED_TOKENS: RateLimitItemPerMinute(config.rate_limit_rejected_tokens),
        }

    def quota(self, policy: str) -> Quota:
        """Return the quota of the current request's client by a policy."""
        rate = self._rates[policy]
        return Quota(policy, rate, self._storage, rate.key_for(client(), policy))


def limit_rejected_tokens(app: Flask, config: Config) -> None:
    """Refuse clients with too many rejected tokens. Call this before authentication: its hook must come first."""
    rate_limits = app.extensions["rate_limits"] = RateLimits(config)

    def refuse_rejected_tokens() -> None:
        """Raise `TooManyRequests` before another token of the client's is verified."""
        if not sends_required_token():
            return
        tokens = rate_limits.quota(REJECTED_TOKENS)
        tokens.read()
        if tokens.count >= tokens.rate.amount:
            tokens.is_exceeded = True
            g.quota = tokens
            raise TooManyRequests
        g.token_quota = tokens

    app.before_request(refuse_rejected_tokens)
    app.after_request(count_response)


def limit_requests(app: Flask, unlimited: Iterable[Blueprint]) -> None:
    """Limit requests to all blueprints but the `unlimited`. Call this after authentication: users have limits."""
    rate_limits: RateLimits = app.extensions["rate_limits"]
    unlimited_names = {blueprint.name for blueprint in unlimited}

    def count_request() -> None:
        """Count the request, or test whether its response may count. Raises `TooManyRequests`."""
        current = unwrap(request)
        # An unknown path or method has no endpoint.
        if current.endpoint is None or current.method == "OPTIONS" or current.blueprint in unlimited_names:
            return
        state = unwrap(g)
        state.quota = quota = rate_limits.quota(policy())
        if quota.policy in COUNTED_BY_RESPONSE:
            quota.read()
            quota.is_exceeded = quota.count >= quota.rate.amount
        else:
            quota.hit()
            quota.is_exceeded = quota.count > quota.rate.amount
        if quota.is_exceeded:
            raise TooManyRequests

    app.before_request(count_request)


def policy() -> str:
    """Return the policy of the current request."""
    current, token = unwrap(request), unwrap(g).token
    own = getattr(current_app.view_functions[current.endpoint or ""], ATTRIBUTE, "")
    if own:
        return str(own)
    if token is None:
        return ANONYMOUS_READS
    return USER_READS if current.method in READS else USER_WRITES


def sends_required_token() -> bool:
    """Return whether the current request sends a token to a view that requires one."""
    current = unwrap(request)
    return sends_token(current) and current.method != "OPTIONS" and policy_for(current.endpoint) is AuthPolicy.REQUIRED


def client() -> str:
    """Return the key that the current request counts by: its verified user, else its client's network."""
    token = unwrap(g).get("token")
    return token.sub if token else client_network(unwrap(request))


def count_response(response: Response) -> Response:
    """Count a write, an export or a rejected token, and describe the client's quota in the response's headers."""
    state = unwrap(g)
    quota: Quota | None = state.get("quota")
    if quota and is_counted(quota, response):
        quota.hit()
    if response.status_code == HTTPStatus.UNAUTHORIZED and "token_quota" in state:
        quota = state.token_quota
        quota.hit()
    if quota:
        describe(quota, response)
    return response


def is_counted(quota: Quota, response: Response) -> bool:
    """Return whether a write or an export counts. Replays have counted before, and server errors ask for a retry."""
    return (
        quota.policy in COUNTED_BY_RESPONSE
        and response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
        and response.status_code != HTTPStatus.TOO_MANY_REQUESTS
        and REPLAYED not in response.headers
    )


def describe(quota: Quota, response: Response) -> None:
    """Add the quota (draft-ietf-httpapi-ratelimit-headers-10) and, beyond it, `Retry-After`."""
    amount, reset = quota.rate.amount, quota.seconds_to_reset
    response.headers.extend(
        [
            ("RateLimit-Policy", f'"{quota.policy}";q={amount};w={quota.rate.get_expiry()}'),
            ("RateLimit", f'"{quota.policy}";r={max(0, amount - quota.count)};t={reset}'),
        ]
    )
    if quota.is_exceeded:
        response.headers["Retry-After"] = str(reset)

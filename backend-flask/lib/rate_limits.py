"""Rate limits by Flask-Limiter: a request counts by one policy, for its user or for its client's network.

Hooks of our own refuse a client with too many rejected tokens before the next token is verified. Flask-Limiter
has one place in the request cycle, and a second limiter would cost as much as the first.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from math import ceil
from typing import Any, TypeVar

from flask import Blueprint, Flask, Response, current_app, g, request
from flask_limiter import ApplicationLimit, Limiter, RequestLimit
from limits import RateLimitItemPerMinute
from werkzeug.exceptions import TooManyRequests

from lib.auth import AuthPolicy, policy_for
from lib.client_address import client_network
from lib.config import Config
from lib.http import READS, REPLAYED
from lib.local_proxy import unwrap
from lib.rate_limit_storage import storage_url

View = TypeVar("View", bound=Callable[..., Any])

ATTRIBUTE = "rate_limit_policy"
# The `Authorization` of a client without a token (docs/contract.md).
NO_TOKEN = {"", "Bearer null"}
# The policies. Requests of one policy count together.
ANONYMOUS_READS, USER_READS, USER_WRITES = "anonymous-reads", "user-reads", "user-writes"
SEARCHES, EXPORTS, REJECTED_TOKENS = "searches", "exports", "rejected-tokens"
# An export reads all rows of a user.
EXPORT_RATE = "1/hour"


def search_limited(view: View) -> View:
    """Count the requests of a view as searches."""
    setattr(view, ATTRIBUTE, SEARCHES)
    return view


def export_limited(view: View) -> View:
    """Count the requests of a view as exports."""
    setattr(view, ATTRIBUTE, EXPORTS)
    return view


def limit_rejected_tokens(app: Flask, config: Config) -> None:
    """Refuse clients with too many rejected tokens. Call this before authentication: its hook must come first."""
    reads = {
        ANONYMOUS_READS: f"{config.rate_limit_anonymous_reads}/minute",
        USER_READS: f"{config.rate_limit_user_reads}/minute",
        SEARCHES: f"{config.rate_limit_searches}/minute",
    }
    counted_by_response = {USER_WRITES: f"{config.rate_limit_user_writes}/minute", EXPORTS: EXPORT_RATE}
    limiter = Limiter(
        client,
        application_limits=[limit(reads), limit(counted_by_response, deduct_when=is_counted)],
        storage_uri=storage_url(config.rate_limit_storage_url),
        strategy="fixed-window",
    )
    token_rate = RateLimitItemPerMinute(config.rate_limit_rejected_tokens)

    def refuse_rejected_tokens() -> None:
        """Raise `TooManyRequests` before another token of the client's is verified."""
        if not sends_required_token():
            return
        token_limit = RequestLimit(limiter, token_rate, [client(), REJECTED_TOKENS], breached=False, shared=True)
        if not limiter.limiter.test(token_rate, *token_limit.request_args):
            token_limit.breached = True
            g.limit = token_limit
            raise TooManyRequests
        g.token_limit = token_limit

    def count_rejected_token(response: Response) -> Response:
        if response.status_code == HTTPStatus.UNAUTHORIZED and "token_limit" in g:
            g.limit = g.token_limit
            limiter.limiter.hit(token_rate, *g.limit.request_args)
        return response

    app.extensions["rate_limits"] = limiter
    app.before_request(refuse_rejected_tokens)
    app.after_request(describe_limit)
    app.after_request(count_rejected_token)


def limit_requests(app: Flask, unlimited: Iterable[Blueprint]) -> None:
    """Limit requests to all blueprints but the `unlimited`. Call this after authentication: users have limits."""
    limiter = app.extensions["rate_limits"]
    limiter.init_app(app)
    for blueprint in unlimited:
        limiter.exempt(blueprint)


def limit(rates: Mapping[str, str], deduct_when: Callable[[Response], bool] | None = None) -> ApplicationLimit:
    """Return a limit with the rate of the current request's policy, and no limit for a policy that is not in `rates`.

    A single limit serves several policies, because Flask-Limiter parses every limit with each request.
    """
    return ApplicationLimit(
        lambda: rates.get(policy(), ""), key_function=client, scope=lambda _: policy(), deduct_when=deduct_when
    )


def policy() -> str:
    """Return the policy of the current request, "" for an unlimited one."""
    current, token = unwrap(request), unwrap(g).token
    if current.method == "OPTIONS":
        return ""
    own = getattr(current_app.view_functions[current.endpoint or ""], ATTRIBUTE, "")
    if own:
        return str(own)
    if token is None:
        return ANONYMOUS_READS
    return USER_READS if current.method in READS else USER_WRITES


def sends_required_token() -> bool:
    """Return whether the current request sends a token to a view that requires one."""
    environ = request.environ
    return (
        environ.get("HTTP_AUTHORIZATION", "") not in NO_TOKEN
        and environ["REQUEST_METHOD"] != "OPTIONS"
        and policy_for(request.endpoint) is AuthPolicy.REQUIRED
    )


def client() -> str:
    """Return the key that the current request counts by: its verified user, else its client's network."""
    token = unwrap(g).get("token")
    return token.sub if token else client_network(unwrap(request))


def is_counted(response: Response) -> bool:
    """Return whether a write or an export counts. Replays have counted before, and server errors ask for a retry."""
    return (
        response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
        and response.status_code != HTTPStatus.TOO_MANY_REQUESTS
        and REPLAYED not in response.headers
    )


def describe_limit(response: Response) -> Response:
    """Add the client's quota (draft-ietf-httpapi-ratelimit-headers-10) and, beyond it, `Retry-After`."""
    current = unwrap(g).get("limit") or current_app.extensions["rate_limits"].current_limit
    if current:
        name, amount, seconds = current.request_args[1], current.limit.amount, current.limit.get_expiry()
        reset = seconds_to_reset(current)
        response.headers["RateLimit-Policy"] = f'"{name}";q={amount};w={seconds}'
        response.headers["RateLimit"] = f'"{name}";r={current.remaining};t={reset}'
        if current.breached:
            response.headers["Retry-After"] = str(reset)
    return response


def seconds_to_reset(current: RequestLimit) -> int:
    """Return the seconds until the quota is restored, rounded up."""
    # The inner rounding comes first, because the sum of two clocks has an error in its last digits.
    return max(1, ceil(round(current.window.reset_time - time.time(), 3)))

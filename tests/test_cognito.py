"""The user pool's key set: few refreshes, and known keys that stay valid while Cognito is unavailable."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt

from harness.waiting import wait_until
from lib import cognito
from lib.cognito import JWKS_TTL_SECONDS, MIN_REFRESH_INTERVAL_SECONDS, Cognito
from lib.exceptions import Unauthorized, UpstreamUnavailable
from tests import tokens
from tests.clock import Clock
from tests.cognito import FakeCognito, fake_cognito
from tests.tokens import new_key, token, user_pool, write_key_set

KEYS = "/jwks.json"
SYMMETRIC = b'{"keys": [{"kty": "oct", "k": "c2VjcmV0IHNlY3JldCBzZWNyZXQ", "kid": "ours"}]}'


@pytest.fixture
def fake() -> Iterator[FakeCognito]:
    """Run a fake Cognito on this machine."""
    with fake_cognito() as fake:
        yield fake


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock that measures the age of keys."""
    clock = Clock()
    monkeypatch.setattr(cognito, "time", clock)
    return clock


def accepts(pool: Cognito, key_id: str) -> bool:
    """Return whether a token signed by that key is accepted."""
    try:
        return pool.verify(token("sub", key=new_key(key_id))).sub == "sub"
    except Unauthorized:
        return False


def test_minimum_refresh_interval_is_at_least_30_seconds() -> None:
    assert MIN_REFRESH_INTERVAL_SECONDS >= 30


@pytest.mark.usefixtures("clock")
def test_jwks_is_fetched_once(fake: FakeCognito) -> None:
    pool = Cognito(fake.user_pool)

    assert all(accepts(pool, "ours") for _ in range(5))
    assert fake.asked == {KEYS: 1}


def test_unknown_key_causes_one_refresh_per_interval(fake: FakeCognito, clock: Clock) -> None:
    pool = Cognito(fake.user_pool)
    assert accepts(pool, "ours")
    fake.keys.append(new_key("new"))

    assert not any(accepts(pool, key_id) for key_id in ("new", "theirs", "another"))
    assert fake.asked[KEYS] == 1
    clock.now += MIN_REFRESH_INTERVAL_SECONDS
    assert [accepts(pool, key_id) for key_id in ("theirs", "new", "ours", "another")] == [False, True, True, False]
    assert fake.asked[KEYS] == 2


@pytest.mark.usefixtures("clock")
def test_32_concurrent_tokens_with_new_keys_cause_one_refresh(fake: FakeCognito) -> None:
    pool = Cognito(fake.user_pool)
    key_ids = ["ours", "theirs"] * 16
    for key_id in key_ids:
        new_key(key_id)

    with ThreadPoolExecutor(32) as threads:
        accepted = list(threads.map(lambda key_id: accepts(pool, key_id), key_ids))

    assert accepted == [True, False] * 16
    assert fake.asked[KEYS] == 1


def test_withdrawn_key_expires_within_the_ttl(fake: FakeCognito, clock: Clock) -> None:
    pool = Cognito(fake.user_pool)
    assert accepts(pool, "ours")
    fake.keys[:] = [new_key("new")]

    clock.now += JWKS_TTL_SECONDS - 1
    assert accepts(pool, "ours")
    clock.now += 1
    # A request starts the refresh, and none waits for the result.
    wait_until(lambda: not accepts(pool, "ours"))
    assert accepts(pool, "new")
    assert fake.asked[KEYS] == 2


def test_verified_token_is_rejected_after_its_key_is_withdrawn(fake: FakeCognito, clock: Clock) -> None:
    pool = Cognito(fake.user_pool)
    text = token("sub", key=new_key("ours"))
    assert pool.verify(text).sub == "sub"
    fake.keys[:] = [new_key("new")]
    clock.now += JWKS_TTL_SECONDS

    assert pool.verify(text).sub == "sub"
    wait_until(lambda: not accepts(pool, "ours"))

    with pytest.raises(Unauthorized):
        pool.verify(text)


def test_cached_token_still_expires(fake: FakeCognito) -> None:
    pool = Cognito(fake.user_pool)
    ends = int(time.time()) + 2
    short = token("sub", exp=ends)
    assert pool.verify(short).sub == "sub"

    time.sleep(ends - time.time())

    with pytest.raises(Unauthorized):
        pool.verify(short)


def test_signature_is_verified_once_while_cached(fake: FakeCognito, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Cognito(fake.user_pool)
    verified: list[str] = []
    decode = jwt.decode

    def counting_decode(text: str, *args: Any, **kwargs: Any) -> jwt.Token:
        verified.append(text)
        return decode(text, *args, **kwargs)

    monkeypatch.setattr(jwt, "decode", counting_decode)
    monkeypatch.setattr(cognito, "MAX_VERIFIED_TOKENS", 2)
    one, two, three = (token(sub) for sub in ("one", "two", "three"))

    assert [pool.verify(text).sub for text in (one, two, one, two)] == ["one", "two", "one", "two"]
    assert verified == [one, two]
    # A third token exceeds the cache: all entries are dropped.
    assert [pool.verify(text).sub for text in (three, one, three)] == ["three", "one", "three"]
    assert verified == [one, two, three, one]


@pytest.mark.parametrize("end", ["", "x", "AAAA"])
def test_token_with_another_signature_is_rejected(fake: FakeCognito, end: str) -> None:
    pool = Cognito(fake.user_pool)
    text = token("sub")
    pool.verify(text)

    with pytest.raises(Unauthorized):
        pool.verify(text[:-4] + end)


def test_failed_refresh_is_retried_after_the_minimum_interval(fake: FakeCognito, clock: Clock) -> None:
    pool = Cognito(fake.user_pool)
    assert accepts(pool, "ours")
    break_down(fake)
    clock.now += JWKS_TTL_SECONDS
    assert accepts(pool, "ours")
    wait_until(lambda: fake.asked[KEYS] == 2)
    fake.faults.clear()
    fake.keys[:] = [new_key("new")]

    clock.now += MIN_REFRESH_INTERVAL_SECONDS

    wait_until(lambda: not accepts(pool, "ours"))
    assert fake.asked[KEYS] == 3


def stop(fake: FakeCognito) -> None:
    """Stop responding."""
    fake.answering.clear()


def break_down(fake: FakeCognito) -> None:
    """Respond with an error instead of a key set."""
    fake.faults[KEYS] = (500, b"oops")


def offer_no_rsa_key(fake: FakeCognito) -> None:
    """Respond with a key set that has no RSA key."""
    fake.faults[KEYS] = (200, SYMMETRIC)


@pytest.mark.parametrize("fail", [stop, break_down, offer_no_rsa_key])
def test_cached_keys_stay_valid_when_cognito_fails(
    fake: FakeCognito, clock: Clock, fail: Callable[[FakeCognito], None]
) -> None:
    pool = Cognito(fake.user_pool)
    assert accepts(pool, "ours")
    fail(fake)

    for seconds in (MIN_REFRESH_INTERVAL_SECONDS, JWKS_TTL_SECONDS, 10 * JWKS_TTL_SECONDS):
        clock.now += seconds
        assert [accepts(pool, key_id) for key_id in ("ours", "theirs", "ours")] == [True, False, True]


def test_without_cached_keys_verification_is_unavailable(fake: FakeCognito, clock: Clock) -> None:
    break_down(fake)
    pool = Cognito(fake.user_pool)

    for _ in range(2):
        with pytest.raises(UpstreamUnavailable):
            accepts(pool, "ours")
    assert fake.asked[KEYS] == 1
    fake.faults.clear()
    clock.now += MIN_REFRESH_INTERVAL_SECONDS

    assert accepts(pool, "ours")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [1]}', b'{"keys": [{}]}', b"\xff", b"<html>"),
        *(
            b'{"keys": []}',
            SYMMETRIC,
            b'{"keys": [{"kty": "RSA"}]}',
        ),
    ],
)
def test_invalid_key_set_is_unavailable(fake: FakeCognito, body: bytes) -> None:
    fake.faults[KEYS] = (200, body)

    with pytest.raises(UpstreamUnavailable):
        accepts(Cognito(fake.user_pool), "ours")


@pytest.mark.parametrize(
    "member",
    [
        *({"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"}, {"kty": "OKP", "crv": "Ed448", "x": "AA"}),
        *({"kty": "new"}, {"kty": "RSA", "n": "!", "e": 1}, {"kty": "RSA"}, {"kid": "no type"}, {}, 1, None, [], "RSA"),
        {"kty": "oct", "k": "c2VjcmV0IHNlY3JldCBzZWNyZXQ"},
    ],
)
def test_unusable_key_is_skipped(fake: FakeCognito, member: object) -> None:
    (ours,) = json.loads(tokens.key_set(new_key("ours")))["keys"]
    for members in ([member, ours], [ours, member]):
        fake.faults[KEYS] = (200, json.dumps({"keys": members}).encode())

        assert accepts(Cognito(fake.user_pool), "ours")


@pytest.mark.parametrize("purpose", [{"use": "enc"}, {"alg": "RSA-OAEP"}, {"alg": "RS512"}])
def test_key_for_another_purpose_verifies_no_token(fake: FakeCognito, purpose: dict[str, str]) -> None:
    (ours,) = json.loads(tokens.key_set(new_key("ours")))["keys"]
    (theirs,) = json.loads(tokens.key_set(new_key("theirs")))["keys"]
    fake.faults[KEYS] = (200, json.dumps({"keys": [ours | purpose, theirs]}).encode())
    pool = Cognito(fake.user_pool)

    assert [accepts(pool, key_id) for key_id in ("theirs", "ours")] == [True, False]


def test_key_set_file_is_read_again_after_a_change(tmp_path: Path, clock: Clock) -> None:
    url = write_key_set(tmp_path / "a key set.json")
    ours = Cognito(user_pool(url))
    assert [accepts(ours, "ours"), accepts(ours, "new")] == [True, False]
    write_key_set(tmp_path / "a key set.json", new_key("ours"), new_key("new"))

    clock.now += MIN_REFRESH_INTERVAL_SECONDS

    assert [accepts(ours, "new"), accepts(ours, "ours")] == [True, True]

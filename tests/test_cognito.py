"""The pool's keys: looked up seldom, and never forgotten because Cognito is away."""

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
    """Cognito on this machine."""
    with fake_cognito() as fake:
        yield fake


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the keys' ages are told by."""
    clock = Clock()
    monkeypatch.setattr(cognito, "time", clock)
    return clock


def accepts(pool: Cognito, key_id: str) -> bool:
    """Whether a token by that key is accepted."""
    try:
        return pool.verify(token("sub", key=new_key(key_id))).sub == "sub"
    except Unauthorized:
        return False


def test_an_unknown_key_costs_a_look_up_in_thirty_seconds_at_most() -> None:
    assert MIN_REFRESH_INTERVAL_SECONDS >= 30


@pytest.mark.usefixtures("clock")
def test_keys_are_asked_for_once(fake: FakeCognito) -> None:
    pool = Cognito(fake.user_pool)

    assert all(accepts(pool, "ours") for _ in range(5))
    assert fake.asked == {KEYS: 1}


def test_an_unknown_key_is_looked_up_once_in_thirty_seconds(fake: FakeCognito, clock: Clock) -> None:
    pool = Cognito(fake.user_pool)
    assert accepts(pool, "ours")
    fake.keys.append(new_key("new"))

    assert not any(accepts(pool, key_id) for key_id in ("new", "theirs", "another"))
    assert fake.asked[KEYS] == 1
    clock.now += MIN_REFRESH_INTERVAL_SECONDS
    assert [accepts(pool, key_id) for key_id in ("theirs", "new", "ours", "another")] == [False, True, True, False]
    assert fake.asked[KEYS] == 2


@pytest.mark.usefixtures("clock")
def test_32_who_come_at_once_with_new_keys_cost_one_look_up(fake: FakeCognito) -> None:
    pool = Cognito(fake.user_pool)
    key_ids = ["ours", "theirs"] * 16
    for key_id in key_ids:
        new_key(key_id)

    with ThreadPoolExecutor(32) as threads:
        accepted = list(threads.map(lambda key_id: accepts(pool, key_id), key_ids))

    assert accepted == [True, False] * 16
    assert fake.asked[KEYS] == 1


def test_a_key_that_cognito_has_withdrawn_goes_within_the_hour(fake: FakeCognito, clock: Clock) -> None:
    pool = Cognito(fake.user_pool)
    assert accepts(pool, "ours")
    fake.keys[:] = [new_key("new")]

    clock.now += JWKS_TTL_SECONDS - 1
    assert accepts(pool, "ours")
    clock.now += 1
    # Asked for by those who come, and waited for by none of them.
    wait_until(lambda: not accepts(pool, "ours"))
    assert accepts(pool, "new")
    assert fake.asked[KEYS] == 2


def test_a_withdrawn_key_takes_with_it_what_it_has_signed(fake: FakeCognito, clock: Clock) -> None:
    pool = Cognito(fake.user_pool)
    by_it = token("sub", key=new_key("ours"))
    assert pool.verify(by_it).sub == "sub"
    fake.keys[:] = [new_key("new")]
    clock.now += JWKS_TTL_SECONDS

    assert pool.verify(by_it).sub == "sub"
    wait_until(lambda: not accepts(pool, "ours"))

    with pytest.raises(Unauthorized):
        pool.verify(by_it)


def test_a_token_that_was_accepted_expires_all_the_same(fake: FakeCognito) -> None:
    pool = Cognito(fake.user_pool)
    ends = int(time.time()) + 2
    short = token("sub", exp=ends)
    assert pool.verify(short).sub == "sub"

    time.sleep(ends - time.time())

    with pytest.raises(Unauthorized):
        pool.verify(short)


def test_a_signature_is_verified_once_while_it_is_remembered(
    fake: FakeCognito, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Cognito(fake.user_pool)
    verified: list[str] = []
    decode = jwt.decode

    def counted(text: str, *given: Any, **others: Any) -> jwt.Token:
        verified.append(text)
        return decode(text, *given, **others)

    monkeypatch.setattr(jwt, "decode", counted)
    monkeypatch.setattr(cognito, "MAX_VERIFIED_TOKENS", 2)
    one, two, three = (token(sub) for sub in ("one", "two", "three"))

    assert [pool.verify(text).sub for text in (one, two, one, two)] == ["one", "two", "one", "two"]
    assert verified == [one, two]
    # There is no room for a third: all are forgotten.
    assert [pool.verify(text).sub for text in (three, one, three)] == ["three", "one", "three"]
    assert verified == [one, two, three, one]


@pytest.mark.parametrize("end", ["", "x", "AAAA"])
def test_another_signature_is_another_token(fake: FakeCognito, end: str) -> None:
    pool = Cognito(fake.user_pool)
    text = token("sub")
    pool.verify(text)

    with pytest.raises(Unauthorized):
        pool.verify(text[:-4] + end)


def test_keys_that_could_not_be_asked_for_again_are_asked_for_soon(fake: FakeCognito, clock: Clock) -> None:
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
    """Answer nobody any more."""
    fake.answering.clear()


def break_down(fake: FakeCognito) -> None:
    """Answer with what is no key set."""
    fake.faults[KEYS] = (500, b"oops")


def offer_no_rsa_key(fake: FakeCognito) -> None:
    """Answer with a key set that holds none that could have signed."""
    fake.faults[KEYS] = (200, SYMMETRIC)


@pytest.mark.parametrize("fail", [stop, break_down, offer_no_rsa_key])
def test_known_keys_go_on_serving_when_cognito_fails(
    fake: FakeCognito, clock: Clock, fail: Callable[[FakeCognito], None]
) -> None:
    pool = Cognito(fake.user_pool)
    assert accepts(pool, "ours")
    fail(fake)

    for seconds in (MIN_REFRESH_INTERVAL_SECONDS, JWKS_TTL_SECONDS, 10 * JWKS_TTL_SECONDS):
        clock.now += seconds
        assert [accepts(pool, key_id) for key_id in ("ours", "theirs", "ours")] == [True, False, True]


def test_without_any_key_so_far_nobody_can_be_told_from_a_stranger(fake: FakeCognito, clock: Clock) -> None:
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
def test_what_is_no_key_set_is_no_key_set(fake: FakeCognito, body: bytes) -> None:
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
def test_a_key_that_cannot_be_used_is_passed_over(fake: FakeCognito, member: object) -> None:
    (ours,) = json.loads(tokens.key_set(new_key("ours")))["keys"]
    for members in ([member, ours], [ours, member]):
        fake.faults[KEYS] = (200, json.dumps({"keys": members}).encode())

        assert accepts(Cognito(fake.user_pool), "ours")


@pytest.mark.parametrize("purpose", [{"use": "enc"}, {"alg": "RSA-OAEP"}, {"alg": "RS512"}])
def test_a_key_for_another_purpose_verifies_no_token(fake: FakeCognito, purpose: dict[str, str]) -> None:
    (ours,) = json.loads(tokens.key_set(new_key("ours")))["keys"]
    (theirs,) = json.loads(tokens.key_set(new_key("theirs")))["keys"]
    fake.faults[KEYS] = (200, json.dumps({"keys": [ours | purpose, theirs]}).encode())
    pool = Cognito(fake.user_pool)

    assert [accepts(pool, key_id) for key_id in ("theirs", "ours")] == [True, False]


def test_a_key_set_may_be_a_file_and_change(tmp_path: Path, clock: Clock) -> None:
    url = write_key_set(tmp_path / "a key set.json")
    ours = Cognito(user_pool(url))
    assert [accepts(ours, "ours"), accepts(ours, "new")] == [True, False]
    write_key_set(tmp_path / "a key set.json", new_key("ours"), new_key("new"))

    clock.now += MIN_REFRESH_INTERVAL_SECONDS

    assert [accepts(ours, "new"), accepts(ours, "ours")] == [True, True]

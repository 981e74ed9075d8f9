"""Request bodies: unreadable, too large, of another type or unread. Error codes, never 500, and no rows written."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from io import BytesIO
from threading import Event, Semaphore
from uuid import uuid4

import pytest
from flask import Flask
from psycopg import Connection
from werkzeug.test import TestResponse

from harness.waiting import SECONDS
from lib.body import MAX_BYTES, READERS
from tests.conftest import SignIn
from tests.factories import Make, User
from tests.routes import SIGNED_IN, World
from tests.service import serving
from tests.tokens import bearer, token

PATHS = [
    ("POST", "/api/activities"),
    ("POST", "/api/activities/{activity}/reply"),
    ("POST", "/api/messages"),
    ("PUT", "/api/profile/update"),
    ("POST", "/api/profile/update"),
]
# A valid body for each of the routes above.
VALID = {"message": "hello", "ttl": "1-day", "handle": "kofi", "display_name": "New"}
# The depth that 64 KiB allow.
NESTED = 32_000


def with_member(member: str) -> bytes:
    """Return a valid body with one more member."""
    return f"{json.dumps(VALID)[:-1]}, {member}}}".encode()


UNREADABLE = {
    "nothing": b"",
    "a list": b"[]",
    "null": b"null",
    "text": b'"x"',
    "a number": b"1",
    "a fraction": b"-1.5e3",
    "a number of 5,000 digits": b"9" * 5000,
    "true": b"true",
    "nested lists": b"[" * NESTED,
    "closed nested lists": b"[" * NESTED + b"]" * NESTED,
    "nested objects": b'{"a":' * 13_000,
    "nested within": with_member('"x": ' + "[" * 10_000 + "]" * 10_000),
    "NaN": with_member('"x": NaN'),
    "Infinity": with_member('"x": [Infinity]'),
    "-Infinity": with_member('"x": {"y": -Infinity}'),
    "a form": b"message=hello&ttl=1-day",
    "half a body": json.dumps(VALID).encode()[:-1],
    "two bodies": json.dumps(VALID).encode() * 2,
    "single quotes": b"{'message': 'hello'}",
    "a comma too many": b'{"message": "hello",}',
    "a bare newline in a text": b'{"message": "a\nb", "ttl": "1-day"}',
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(VALID).encode(),
    "UTF-16": json.dumps(VALID).encode("utf-16"),
    "UTF-32": json.dumps(VALID).encode("utf-32-be"),
    "Latin-1": with_member('"x": "é"').decode().encode("latin-1"),
    "an overlong encoding": with_member('"x": "?"').replace(b"?", b"\xc0\x80"),
    "a surrogate in UTF-8": with_member('"x": "?"').replace(b"?", b"\xed\xa0\x80"),
    "U+0000": with_member(r'"x": "a\u0000b"'),
    "U+0000 in a name": with_member(r'"\u0000": 1'),
    "U+0000 deep inside": with_member(r'"x": [[{"y": ["\u0000"]}]]'),
    "a bare NUL": with_member('"x": "\0"'),
    "a lone high surrogate": with_member(r'"x": "\ud83d"'),
    "a lone low surrogate": with_member(r'"x": "\ude00"'),
    "surrogates the wrong way round": with_member(r'"x": "\ude00\ud83d"'),
    "a lone surrogate in a name": with_member(r'"\ud800": 1'),
    "the same member twice": with_member('"message": "hello"'),
    "the same member, spelled otherwise": with_member(r'"mess\u0061ge": "hello"'),
    "the same member twice, deep inside": with_member('"x": [{"y": 1, "y": 1}]'),
}


@pytest.fixture
def world(make: Make, bystander: User) -> World:
    """Create the author, another user's activity, and a conversation that the author is not in."""
    lin, kofi = make.user("LinYue", display_name="Lin"), make.user("kofi")
    return World(lin, kofi, make.user(), make.activity(kofi), make.conversation(kofi, make.user()), bystander)


def test_unreadable_body_is_refused_by_every_route_and_writes_nothing(
    subtests: pytest.Subtests, app: Flask, owner: Connection, world: World
) -> None:
    before = world.rows(owner)

    for name, sent in UNREADABLE.items():
        with subtests.test(name):
            for method, path in PATHS:
                response = app.test_client().open(
                    path.format(activity=world.activity.uuid),
                    method=method,
                    data=sent,
                    headers=bearer(world.owner.cognito_user_id) | {"Idempotency-Key": "key"},
                    content_type="application/json",
                )
                assert (response.status_code, response.json) == (400, ["json_invalid"])
            assert world.rows(owner) == before


def test_unknown_member_is_ignored(subtests: pytest.Subtests, sign_in: SignIn, make: Make) -> None:
    client = sign_in(make.user())

    for member in (
        *('"x": 1e400', '"x": -0', f'"x": {"9" * 5000}', '"x": {"message": 1}', r'"x": "\ud83d\ude00"', '"": ""'),
        '"x": ' + "[" * 50 + "]" * 50,
    ):
        with subtests.test(member[:80]):
            response = client.post("/api/activities", data=with_member(member), content_type="application/json")

            assert (response.status_code, response.json["message"]) == (200, "hello")


@pytest.mark.usefixtures("bystander")
def test_content_type_must_be_json(subtests: pytest.Subtests, app: Flask, make: Make) -> None:
    for content_type, status in (
        *(("application/json", 200), ("Application/JSON", 200), ("application/json; charset=utf-8", 200)),
        *(("", 415), ("text/plain", 415), ("application/x-www-form-urlencoded", 415), ("multipart/form-data", 415)),
        *(("application/problem+json", 415), ("application/jsonx", 415), ("json", 415), ("\x7f", 415)),
    ):
        for method, path in PATHS:
            question, lin = make.activity(make.user()), make.user()
            with subtests.test(ascii(content_type), method=method, path=path):
                response = app.test_client().open(
                    path.format(activity=question.uuid),
                    method=method,
                    data=json.dumps({**VALID, "handle": question.author.handle}),
                    headers=bearer(lin.cognito_user_id),
                    content_type=content_type,
                )
                assert response.status_code == status
                assert status == 200 or response.json == ["unsupported_media_type"]


@pytest.mark.usefixtures("bystander")
def test_content_encoding_is_refused(subtests: pytest.Subtests, app: Flask, make: Make) -> None:
    for encoding, status in (
        *((None, 200), ("", 200), ("identity", 200), ("Identity, identity", 200)),
        *(("gzip", 415), ("GZIP", 415), ("br", 415), ("identity, gzip", 415), ("utf-8", 415), ("gzip;q=0", 415)),
    ):
        for method, path in PATHS:
            question, lin = make.activity(make.user()), make.user()
            with subtests.test(str(encoding), method=method, path=path):
                response = app.test_client().open(
                    path.format(activity=question.uuid),
                    method=method,
                    json={**VALID, "handle": question.author.handle},
                    headers=bearer(lin.cognito_user_id) | ({} if encoding is None else {"Content-Encoding": encoding}),
                )
                assert response.status_code == status
                if status == 415:
                    refusal = (response.json, response.headers["Accept-Encoding"])
                    assert refusal == (["unsupported_media_type"], "identity")


def sized(size: int) -> bytes:
    """Return a valid body of `size` bytes."""
    shell = with_member('"x": ""')
    return with_member('"x": "' + "y" * (size - len(shell)) + '"')


@pytest.mark.usefixtures("bystander")
def test_100000_brackets_are_payload_too_large(sign_in: SignIn, make: Make) -> None:
    response = sign_in(make.user()).post("/api/activities", data=b"[" * 100_000, content_type="application/json")

    assert (response.status_code, response.json) == (413, ["payload_too_large"])


@pytest.mark.usefixtures("bystander")
def test_body_is_limited_to_64_kib(app: Flask, make: Make) -> None:
    question, lin = make.activity(make.user("kofi")), make.user("lin")

    for size, expected in ((MAX_BYTES, 200), (MAX_BYTES + 1, 413), (65 * 1024, 413), (10**6, 413)):
        assert len(sized(size)) == size
        for method, path in PATHS:
            for content_type in ("application/json", *(["text/plain"] if expected == 413 else [])):
                response = app.test_client().open(
                    path.format(activity=question.uuid),
                    method=method,
                    data=sized(size),
                    headers=bearer(lin.cognito_user_id) | {"Idempotency-Key": str(uuid4())},
                    content_type=content_type,
                )
                assert response.status_code == expected
                assert expected == 200 or response.json == ["payload_too_large"]
    assert make.counts()[question.uuid] == 1


RAW = """\
POST /api/activities HTTP/1.1
Host: 127.0.0.1
Content-Type: application/json
Idempotency-Key: key
Authorization: Bearer {token}
{framing}

"""


def raw(port: str, sub: str, framing: str, sent: bytes) -> tuple[int, bytes]:
    """Return status and body for a raw request. A body shorter than its Content-Length ends with the connection."""
    head = RAW.format(token=token(sub), framing=framing).replace("\n", "\r\n").encode()
    with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as connection:
        connection.sendall(head + sent)
        if "chunked" not in framing:
            connection.shutdown(socket.SHUT_WR)
        response = HTTPResponse(connection)
        response.begin()
        return response.status, response.read()


def chunked(sent: bytes) -> bytes:
    """Encode a body in two chunks (RFC 9112)."""
    half = len(sent) // 2
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (sent[:half], sent[half:], b""))


def test_truncated_or_oversized_chunked_body_is_refused(
    service_url: str, jwks_url: str, make: Make, bystander: User
) -> None:
    lin = make.user()
    body = with_member('"x": 1')

    with serving(service_url, AWS_COGNITO_JWKS_URL=jwks_url) as port:

        def send(framing: str, sent: bytes) -> tuple[int, bytes]:
            return raw(port, lin.cognito_user_id, framing, sent)

        length, chunks = f"Content-Length: {len(body) + 1}", "Transfer-Encoding: chunked"
        assert send(length, body) == (400, b'["json_invalid"]')
        assert send(chunks, chunked(sized(MAX_BYTES) + b" ")) == (413, b'["payload_too_large"]')
        assert send(chunks, chunked(sized(MAX_BYTES) + b"x" * 10_000)) == (413, b'["payload_too_large"]')
        assert make.messages() == []
        assert send(chunks, chunked(sized(MAX_BYTES)))[0] == 200
    assert make.messages() == ["hello"]
    assert bystander


def test_anonymous_request_is_rejected_before_its_body_is_read(
    subtests: pytest.Subtests, app: Flask, world: World
) -> None:
    for method, rule in sorted(SIGNED_IN):
        with subtests.test(f"{method} {rule}"):
            for path, sent in ((world.path(rule), b"{"), (f"{world.path(rule)}?x=%00&limit=0", b"x" * 70_000)):
                response = app.test_client().open(path, method=method, data=sent, content_type="text/plain")

                assert (response.status_code, response.json) == (401, ["generic_401"])


def test_unread_body_does_not_corrupt_next_request(
    service_url: str, jwks_url: str, make: Make, bystander: User
) -> None:
    lin, body = make.user(), b"x" * 1000
    with serving(service_url, AWS_COGNITO_JWKS_URL=jwks_url) as port:
        connection = HTTPConnection("127.0.0.1", int(port), timeout=10)
        for _ in range(20):
            connection.putrequest("DELETE", f"/api/activities/{uuid4()}")
            for name, value in {**bearer(lin.cognito_user_id), "Content-Length": str(len(body))}.items():
                connection.putheader(name, value)
            connection.endheaders()
            # Send the body late, so that the server can respond first.
            time.sleep(0.01)
            connection.send(body)
            response = connection.getresponse()
            assert (response.status, response.read(), response.headers["Connection"]) == (404, b'["not_found"]', None)
        connection.close()
    assert bystander.handle


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        ("/api/activities", {}, b"{}"),
        ("/api/activities", {"Authorization": "Bearer null"}, b"{}"),
        ("/nope", {}, b"{}"),
        ("/api/activities", None, b" " * (MAX_BYTES + 1)),
    ],
)
def test_response_closes_connection_when_body_is_not_drained(
    app: Flask, make: Make, path: str, headers: dict[str, str] | None, body: bytes
) -> None:
    authorization = bearer(make.user().cognito_user_id) if headers is None else headers

    response = app.test_client().post(path, data=body, headers=authorization, content_type="application/json")

    assert (response.status_code in {401, 404, 413}, response.headers["Connection"]) == (True, "close")
    assert "Connection" not in app.test_client().post(path, headers=headers or {}).headers


WHOLE = json.dumps(VALID).encode()


class Unsent:
    """A body that arrives once `released` is set. `waiting` counts the blocked reads."""

    def __init__(self) -> None:
        self.waiting = Semaphore(0)
        self.released = Event()

    def read(self, size: int = -1) -> bytes:
        """Return the body after its release."""
        self.waiting.release()
        assert self.released.wait(SECONDS)
        return WHOLE[:size]


@pytest.mark.usefixtures("bystander")
def test_slow_bodies_leave_one_thread_free(app: Flask, make: Make) -> None:
    lin, unsent = make.user(), Unsent()

    def post(body: Unsent | BytesIO) -> TestResponse:
        return app.test_client().post(
            "/api/activities",
            headers=bearer(lin.cognito_user_id),
            content_type="application/json",
            environ_overrides={"wsgi.input": body, "CONTENT_LENGTH": str(len(WHOLE))},
        )

    with ThreadPoolExecutor(READERS) as threads:
        slow = [threads.submit(post, unsent) for _ in range(READERS)]
        for _ in slow:
            assert unsent.waiting.acquire(timeout=SECONDS)
        refused = post(BytesIO(WHOLE))
        read = app.test_client().get("/api/activities/notifications", headers=bearer(lin.cognito_user_id))
        unsent.released.set()
        statuses = [each.result().status_code for each in slow]

    assert (refused.status_code, refused.json) == (503, ["service_unavailable"])
    assert refused.headers["Retry-After"].isdigit()
    # The service does not read the rest of the body either.
    assert refused.headers["Connection"] == "close"
    assert read.status_code == 200
    assert statuses == [200] * READERS
    assert make.messages() == ["hello"] * READERS
    # The requests returned their readers.
    assert post(BytesIO(WHOLE)).status_code == 200


class AllBusy:
    """A semaphore of body readers with none free. `timeouts` are the seconds that requests would wait for one."""

    def __init__(self) -> None:
        self.timeouts: list[float] = []

    def acquire(self, timeout: float) -> bool:
        """Refuse, and record the timeout."""
        self.timeouts.append(timeout)
        return False


def test_get_with_a_missing_body_waits_for_no_body_reader(app: Flask, make: Make) -> None:
    lin, readers = make.user(), AllBusy()
    app.extensions["body_readers"] = readers

    response = app.test_client().get(
        "/api/activities/notifications",
        headers=bearer(lin.cognito_user_id),
        environ_overrides={"CONTENT_LENGTH": "10", "wsgi.input": Unsent()},
    )

    assert (response.status_code, response.headers["Connection"]) == (200, "close")
    assert readers.timeouts == [0]

"""Tracing: the spans of each request, their attributes, and no personal data or secret in the export."""

from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from psycopg import Connection

from harness.collector import Collector, Tree, attributes
from lib.cognito import Cognito
from tests import tokens
from tests.factories import Make, User
from tests.routes import EVERY, PAGES, SIGNED_IN, World
from tests.telemetry import Watched, watched
from tests.tokens import bearer

HOME = "/api/activities/home"
# Text that must never be exported. The requests contain it in messages, names, addresses, keys and the query.
MARKER = "f1nd-me"
# The use case of each route, and the SQL statements below it, in order.
UseCases = list[tuple[str, tuple[str, ...]]]
SIGN_IN = ("sign-in", ("users/viewer",))
READS: dict[str, UseCases] = {
    "/api/activities/home": [("home-activities", ("activities/home_visible",))],
    "/api/activities/search": [("search-activities", ("activities/search",))],
    "/api/activities/following": [("following-activities", ("activities/following",))],
    "/api/users/relationships": [SIGN_IN, ("relationships", ("users/relationships",))],
    "/api/users/me": [SIGN_IN, ("current-user", ("users/viewer",))],
    "/api/account": [SIGN_IN, ("account", ("users/account",))],
    "/api/account/export": [SIGN_IN, ("account-export", ("users/export",))],
    "/api/users/suggested": [SIGN_IN, ("suggested-users", ("users/suggested",))],
    "/api/users/muted": [SIGN_IN, ("muted-users", ("mutes/index",))],
    "/api/users/blocked": [SIGN_IN, ("blocked-users", ("blocks/index",))],
    "/api/users/@<handle:handle>/followers": [("user-followers", ("follows/followers",))],
    "/api/users/@<handle:handle>/following": [("user-following", ("follows/following",))],
    "/api/activities/tagged/<tag>": [("tagged-activities", ("activities/tagged_visible",))],
    "/api/trends": [("trends", ("trends/index",))],
    "/api/activities/liked": [SIGN_IN, ("liked-activities", ("activities/liked",))],
    "/api/activities/<uuid:activity_uuid>/likes": [("activity-likes", ("likes/index",))],
    "/api/activities/<uuid:activity_uuid>/reposts": [("activity-reposts", ("reposts/index",))],
    "/api/activities/notifications": [("notifications-activities", ("activities/notifications",))],
    "/api/activities/@<handle:handle>": [("user-activities", ("activities/user",))],
    "/api/activities/@<handle:handle>/status/<uuid:activity_uuid>": [
        ("show-activity", ("activities/replies_unblocked",))
    ],
    "/api/users/@<handle:handle>/short": [("users-short", ("users/short",))],
    "/@<handle:handle>/status/<uuid:activity_uuid>": [("activity-preview", ("activities/preview",))],
    "/api/notifications": [("notifications", ("notifications/index",))],
    "/api/notifications/unread": [("unread-notifications", ("notifications/unread_count",))],
    "/api/message_groups": [SIGN_IN, ("message-groups", ("message_groups/index",))],
    "/api/messages/<uuid:message_group_uuid>": [SIGN_IN, ("messages", ("messages/index",))],
}
WRITES: dict[tuple[str, str], UseCases] = {
    ("POST", "/api/activities"): [("create-activity", ("activities/create",))],
    ("POST", "/api/activities/<uuid:activity_uuid>/reply"): [("create-reply", ("activities/reply",))],
    ("PUT", "/api/activities/<uuid:activity_uuid>/like"): [
        ("like-activity", ("activities/lock", "likes/create", "activities/find")),
    ],
    ("DELETE", "/api/activities/<uuid:activity_uuid>/like"): [
        ("unlike-activity", ("activities/lock", "likes/delete", "activities/find")),
    ],
    ("PUT", "/api/activities/<uuid:activity_uuid>/repost"): [
        ("repost-activity", ("activities/lock", "reposts/create", "activities/find")),
    ],
    ("DELETE", "/api/activities/<uuid:activity_uuid>/repost"): [
        ("unrepost-activity", ("activities/lock", "reposts/delete", "activities/find")),
    ],
    ("PUT", "/api/users/@<handle:handle>/follow"): [
        SIGN_IN,
        ("follow-user", ("users/lock", "follows/create", "users/relationships")),
    ],
    ("DELETE", "/api/users/@<handle:handle>/follow"): [
        SIGN_IN,
        ("unfollow-user", ("users/lock", "follows/delete", "users/relationships")),
    ],
    ("PUT", "/api/users/@<handle:handle>/mute"): [
        SIGN_IN,
        ("mute-user", ("users/lock", "mutes/create", "users/relationships")),
    ],
    ("DELETE", "/api/users/@<handle:handle>/mute"): [
        SIGN_IN,
        ("unmute-user", ("users/lock", "mutes/delete", "users/relationships")),
    ],
    ("PUT", "/api/users/@<handle:handle>/block"): [
        SIGN_IN,
        ("block-user", ("blocks/lock", "blocks/create", "follows/delete_pair", "users/relationships")),
    ],
    ("DELETE", "/api/users/@<handle:handle>/block"): [
        SIGN_IN,
        ("unblock-user", ("blocks/lock", "blocks/delete", "users/relationships")),
    ],
    ("PUT", "/api/profile/update"): [SIGN_IN, ("update-profile", ("users/update",))],
    ("POST", "/api/profile/update"): [SIGN_IN, ("update-profile", ("users/update",))],
    ("PUT", "/api/notifications/read"): [SIGN_IN, ("read-notifications", ("notifications/read",))],
    ("PUT", "/api/messages/<uuid:message_group_uuid>/read"): [
        SIGN_IN,
        ("read-message-group", ("message_groups/read",)),
    ],
    ("POST", "/api/messages"): [SIGN_IN, ("create-message", ("messages/create",))],
    ("POST", "/api/reports"): [
        SIGN_IN,
        ("create-report", ("reports/lock", "reports/find", "reports/count", "reports/create_of_activity")),
    ],
    # The last requests, because others are about the same activity and the same user.
    ("DELETE", "/api/activities/<uuid:activity_uuid>"): [SIGN_IN, ("delete-activity", ("activities/delete",))],
    ("DELETE", "/api/account"): [SIGN_IN, ("delete-account", ("deletions/request", "deletions/confirm"))],
}
# The reads without a list.
OBJECTS = {
    *("/api/users/@<handle:handle>/short", "/api/notifications/unread", "/api/users/me"),
    *("/api/account", "/api/account/export"),
    "/@<handle:handle>/status/<uuid:activity_uuid>",
}
EXPECTED = {**{("GET", rule): below for rule, below in READS.items()}, **WRITES}


@pytest.fixture
def world(make: Make, bystander: User, monkeypatch: pytest.MonkeyPatch) -> World:
    """Create two users, an activity and a conversation. The user pool knows and deletes each user."""
    monkeypatch.setattr(Cognito, "email", lambda *_: f"{MARKER}@example.com")
    monkeypatch.setattr(Cognito, "delete_user", lambda *_: "deleted")
    lin, kofi = make.user("LinYue"), make.user("kofi")
    return World(lin, kofi, kofi, make.activity(lin, MARKER), make.conversation(lin, kofi, MARKER), bystander)


def call(client: FlaskClient, world: World, method: str, rule: str) -> int:
    """Send a request as the owner, with the marker in every input, and return the status."""
    body = {"message": MARKER, "ttl": "1-day", "message_group_uuid": str(world.group), "display_name": MARKER}
    body |= {"until": "2026-01-01T00:00:00Z"}
    body |= {"activity_uuid": str(world.activity.uuid), "category": "spam", "comment": MARKER}
    if rule == "/api/account":
        body |= {"handle": world.owner.handle}
    response = client.open(
        world.path(rule),
        method=method,
        headers=bearer(world.owner.cognito_user_id) | {"User-Agent": MARKER},
        query_string={"term": MARKER, "handles": MARKER, "other": MARKER},
        json=None if method == "GET" else body,
    )
    return response.status_code


def test_each_route_has_its_span_tree(subtests: pytest.Subtests, service: Watched, world: World) -> None:
    for method, rule in EXPECTED:
        with subtests.test(f"{method} {rule}"):
            service.collector.clear()
            assert call(service.app.test_client(), world, method, rule) == 200

            (tree,) = service.trees()
            expect_span_tree(tree, world, method, rule)


def expect_span_tree(tree: Tree, world: World, method: str, rule: str) -> None:
    """Compare the spans and their attributes with the use cases of a route."""
    route = rule.replace("<handle:", "<").replace("<uuid:", "<")
    assert tree.names() == (
        f"{method} {route}",
        *((use_case, *((name,) for name in statements)) for use_case, statements in EXPECTED[method, rule]),
    )
    span_attributes = attributes(tree.span.attributes)
    assert tree.span.kind == Span.SPAN_KIND_SERVER
    user = span_attributes.pop("app.user_id", None)
    assert user == (str(world.owner.uuid) if (method, rule) in SIGNED_IN else None)
    assert span_attributes == {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": 200,
        "url.scheme": "http",
    }
    for use_case in tree.below:
        for statement in use_case.below:
            span_attributes = attributes(statement.span.attributes)
            assert statement.span.kind == Span.SPAN_KIND_CLIENT
            assert float(span_attributes.pop("app.pool_wait_ms")) >= 0
            assert span_attributes == {"db.system.name": "postgresql", "db.query.summary": statement.span.name}
    last = attributes(tree.below[-1].span.attributes)
    assert "app.now" in last
    assert ("app.result_length" in last) == (method == "GET" and rule not in OBJECTS)


def test_every_route_has_expected_spans() -> None:
    unseen = {("GET", path) for path in ("/api/health-check", "/livez", "/readyz")}
    documents = {("GET", path) for path in (*PAGES, "/web/<digest>/<name>", "/openapi.json", "/docs", "/docs/<name>")}

    assert EXPECTED.keys() == EVERY - unseen - documents


def test_export_contains_no_personal_data_and_no_secret(
    service: Watched, world: World, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    client = service.app.test_client()
    for method, rule in EXPECTED:
        call(client, world, method, rule)
    token = tokens.token(world.owner.cognito_user_id)
    refused = client.get("/api/message_groups", headers={"Authorization": f"Bearer {token}x"})
    unknown = client.get(f"/{MARKER}/somebody@example.com")
    client.post("/api/activities", json={"message": MARKER * 1000, "ttl": MARKER}, headers=bearer("nobody"))

    assert (refused.status_code, unknown.status_code) == (401, 404)
    assert len(service.trees()) == len(EXPECTED) + 3
    exported = b"".join(service.collector.bodies) + repr((capsys.readouterr(), caplog.messages)).encode()
    for secret in (MARKER, token, token.split(".")[2], "somebody@example.com", world.owner.cognito_user_id, "cruddur@"):
        assert secret.encode() not in exported


def test_anonymous_first_page_has_a_span_tree_each_time(service: Watched, world: World) -> None:
    client = service.app.test_client()
    for _ in range(3):
        assert client.get(HOME).status_code == 200

    names = [tree.names() for tree in service.trees()]

    read = ("anonymous-page", ("home-activities", ("activities/home",)))
    assert names == [(f"GET {HOME}", read), (f"GET {HOME}", ("anonymous-page",)), (f"GET {HOME}", ("anonymous-page",))]
    assert world.activity.message == MARKER


def test_unknown_path_gives_a_span_named_by_method_only(service: Watched) -> None:
    client = service.app.test_client()
    statuses = [client.open(path, method=method).status_code for method, path in (("GET", "/nope"), ("BREW", "/nope"))]

    trees = service.trees()

    assert statuses == [404, 404]
    assert [tree.span.name for tree in trees] == ["GET", "_OTHER"]
    assert all("http.route" not in attributes(tree.span.attributes) for tree in trees)


def test_health_check_is_not_traced(subtests: pytest.Subtests, service: Watched) -> None:
    for path in ("/api/health-check", "/livez", "/readyz"):
        with subtests.test(path):
            assert service.app.test_client().get(path).status_code == 200

            assert service.trees() == []


def test_internal_error_marks_its_spans_without_the_message(service: Watched, owner: Connection) -> None:
    client = service.app.test_client()
    assert client.get("/api/activities/@missing").status_code == 404
    owner.execute("ALTER TABLE users DROP COLUMN bio")
    assert client.get("/api/activities/@missing").status_code == 500

    ok, wrong = service.trees()

    unset, error = Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR
    assert [tree.span.status.code for tree in ok.flat()] == [unset] * 4
    assert [tree.span.status.code for tree in wrong.flat()] == [error] * 4
    (use_case,) = wrong.below
    (read,) = use_case.below
    (statement,) = read.below
    messages = [tree.span.status.message for tree in (wrong, use_case, read, statement)]
    assert messages == ["500", *["UndefinedColumn"] * 3]
    assert attributes(statement.span.attributes)["db.response.status_code"] == "42703"
    assert attributes(wrong.span.attributes)["error.type"] == "500"
    assert "error.type" not in attributes(ok.span.attributes)


def test_404_reads_the_user_and_repeats_the_statement(service: Watched, world: World) -> None:
    path, headers = f"/api/activities/{uuid4()}/reply", bearer(world.owner.cognito_user_id)
    response = service.app.test_client().post(path, json={"message": MARKER}, headers=headers)

    (tree,) = service.trees()

    reply = ("create-reply", ("activities/reply",))
    assert response.status_code == 404
    assert tree.names() == ("POST /api/activities/<activity_uuid>/reply", reply, ("sign-in", ("users/viewer",)), reply)
    assert attributes(tree.span.attributes)["app.user_id"] == str(world.owner.uuid)


def test_remote_trace_is_continued(service: Watched) -> None:
    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {"traceparent": f"00-{trace_id}-{span_id}-01", "tracestate": "vendor=value"}

    assert service.app.test_client().get(HOME, headers=headers).status_code == 200

    (tree,) = service.trees()
    context = tree.span.trace_id.hex(), tree.span.parent_span_id.hex(), tree.span.trace_state, tree.span.kind
    assert context == (trace_id, span_id, "vendor=value", Span.SPAN_KIND_SERVER)
    assert {span.trace_id.hex() for span in service.collector.spans()} == {trace_id}


def test_malformed_traceparent_starts_a_new_trace(subtests: pytest.Subtests, service: Watched) -> None:
    for traceparent in (
        *("", "x", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", f"00-{'0' * 32}-b7ad6b7169203331-01"),
        *(
            f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        *("00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",),
        *("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",),
    ):
        with subtests.test(traceparent):
            service.collector.clear()
            service.app.test_client().get(HOME, headers={"traceparent": traceparent})

            (tree,) = service.trees()
            assert tree.span.parent_span_id == b""
            assert tree.span.trace_id.hex() != "0af7651916cd43dd8448eb211c80319c"


def test_unsampled_request_is_not_exported(service_url: str, jwks_url: str, collector: Collector) -> None:
    service = Watched(
        watched(service_url, jwks_url, collector, otel_traces_sampler="parentbased_always_off"), collector
    )
    client = service.app.test_client()
    client.get(HOME)
    client.get(HOME, headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"})
    client.get(HOME, headers={"traceparent": "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"})

    (tree,) = service.trees()
    assert tree.span.parent_span_id.hex() == "b7ad6b7169203331"
    service.app.extensions["database_pool"].close()


def test_response_has_request_id_and_server_timing(service: Watched, world: World) -> None:
    client = service.app.test_client()
    first = client.get("/api/message_groups", headers=bearer(world.owner.cognito_user_id))
    with_id = client.get(HOME, headers={"X-Request-Id": "abc-123"})
    malformed = client.get(HOME, headers={"X-Request-Id": 'a"b'})

    assert with_id.headers["X-Request-Id"] == "abc-123"
    trees = service.trees()
    assert [attributes(tree.span.attributes).get("app.request_id") for tree in trees] == [None, "abc-123", None]
    assert first.headers["X-Request-Id"] == trees[0].span.trace_id.hex()
    assert malformed.headers["X-Request-Id"] == trees[2].span.trace_id.hex()
    timing = dict(part.split(";dur=") for part in first.headers["Server-Timing"].split(", "))
    assert list(timing) == ["auth", "pool", "db", "total"]
    assert 0 < float(timing["db"]) <= float(timing["total"])

"""Cruddur's own page: its paths, assets, previews of links, and the policy that browsers enforce."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from html import unescape
from typing import Any
from urllib.parse import urljoin
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from lib.config import DEVELOPMENT_POOL_ID, Config
from routes.pages import CONTENT_TYPES, WEB, assets
from tests import settings, tokens
from tests.conftest import FRONTEND, SignIn
from tests.factories import Activity, Make

HTML = "text/html; charset=utf-8"
PROBLEM = "application/problem+json"
UUID = "5eed0000-0000-4000-a000-000000000001"
# Every path that reads no database, with the reference from it to the root.
PATHS = {
    "/": "./",
    "/@andrewbrown": "./",
    "/search": "./",
    "/search?term=coffee": "./",
    "/notifications": "./",
    "/messages": "./",
    "/tags/coffee": "../",
    "/tags/%E0%A4%B9%E0%A4%BF": "../",
    f"/messages/{UUID}": "../",
    "/messages/@bayko": "../",
}
UNKNOWN_PATHS = [
    *("//", "//search", "//@andrewbrown", "/search/", "/notifications/", "/messages/", "/tags", "/tags/", "/tags/a/b"),
    *("/@", "/@andrew-brown", f"/@{'a' * 31}", "/@andrewbrown/", "/@andrewbrown/status", "/@andrewbrown/status/1"),
    *(
        "/@andrewbrown/followers",
        "/messages/bayko",
        f"/messages/{UUID}/",
        f"/messages/{UUID}0",
        "/index.html",
        "/Search",
    ),
    *("/web", "/web/", f"/web/{'0' * 16}", f"/@andrewbrown/status/{UUID}/"),
]
UNKNOWN_ASSETS = ["index.html", "app.mjs", "APP.js", "..%2Fapp.py", "app.js%00", "app.js/", "", "."]
POLICY = {
    "default-src 'self'",
    "base-uri 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "object-src 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
}
LOGIN = "https://cruddur.auth.eu-west-1.amazoncognito.com"
# Text of an activity that no page may contain.
TEXT = "only-in-the-text"
CreateApp = Callable[..., Flask]


@pytest.fixture
def created(service_url: str, jwks_url: str) -> Iterator[CreateApp]:
    """Return a factory of applications with other settings."""
    with ExitStack() as stack:

        def create(**others: Any) -> Flask:
            limits: dict[str, Any] = settings.UNLIMITED
            given = {"connection_url": service_url, "frontend_urls": (FRONTEND,), **limits, **tokens.pool(jwks_url)}
            app = create_app(Config(**given | others))
            stack.callback(app.extensions["database_pool"].close)
            return app

        yield create


def policy(response: TestResponse) -> set[str]:
    """Return the directives of the page's Content-Security-Policy."""
    return set(response.headers["Content-Security-Policy"].split("; "))


def attribute(response: TestResponse, pattern: str) -> str | None:
    """Return an attribute's value in the HTML, by a pattern of the text before its quote."""
    found = re.search(f'{pattern}="([^"]*)"', response.text)
    return unescape(found[1]) if found else None


def open_graph(response: TestResponse) -> dict[str, str]:
    """Return the Open Graph values of the page by their property."""
    found = re.findall(r'<meta property="og:(\w+)" content="([^"]*)">', response.text)
    assert len(found) == response.text.count("og:")
    return {name: unescape(value) for name, value in found}


def status_path(activity: Activity) -> str:
    """Return the path of an activity's page."""
    return f"/@{activity.author.handle}/status/{activity.uuid}"


def is_page(response: TestResponse) -> bool:
    """Return whether the response has the page as its body, whose scripts and styles exist, and its policy."""
    targets = re.findall(r'<(?:link|script)[^>]* (?:href|src)="([^"]*)"', response.text)
    root = urljoin(response.request.path, attribute(response, "<base href") or "")
    return (
        response.content_type == HTML
        and policy(response) == POLICY
        and root == "/"
        and len(targets) >= 3
        and all(target.startswith(f"web/{assets().digest}/") for target in targets)
    )


def test_each_path_is_the_page(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for path, base in PATHS.items():
        with subtests.test(path):
            response = client.get(path)

            assert (response.status_code, response.content_type) == (200, HTML)
            assert is_page(response)
            assert attribute(response, "<base href") == base
            assert open_graph(response) == {}
            assert policy(response) == POLICY
            # No part of the path is in the page, and no other host.
            assert not re.search(r"andrewbrown|coffee|bayko|5eed|//", response.text)


def test_references_of_each_page_exist(subtests: pytest.Subtests, client: FlaskClient, make: Make) -> None:
    for path in (*PATHS, status_path(make.activity(make.user()))):
        with subtests.test(path):
            page = client.get(path)
            base = urljoin(path, attribute(page, "<base href") or "")
            targets = [target for target in re.findall(r'(?:href|src)="([^"]*)"', page.text) if target.strip("./")]

            assert base == "/"
            assert len(targets) >= 3
            assert [client.get(urljoin(base, target)).status_code for target in targets] == [200] * len(targets)


def test_unknown_path_stays_json(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for path in UNKNOWN_PATHS:
        with subtests.test(path):
            # A URL with a host, because the client would take the first part of `//x` for one.
            response = client.get("/", environ_overrides={"PATH_INFO": path, "REQUEST_URI": path})

            assert (response.status_code, response.json) == (404, ["not_found"])
            assert "Content-Security-Policy" not in response.headers


def test_page_responds_like_other_reads(subtests: pytest.Subtests, client: FlaskClient, make: Make) -> None:
    for path in (*PATHS, status_path(make.activity(make.user()))):
        with subtests.test(path):
            page, head, post, options = client.get(path), client.head(path), client.post(path), client.options(path)
            again = client.get(path, headers={"If-None-Match": page.headers["ETag"]})

            assert page.headers["Cache-Control"] == "no-cache"
            assert re.fullmatch('"[0-9a-f]+"', page.headers["ETag"])
            assert (again.status_code, again.data, again.headers["Cache-Control"]) == (304, b"", "no-cache")
            assert (head.status_code, head.data, head.headers["ETag"]) == (200, b"", page.headers["ETag"])
            assert (post.status_code, post.json) == (405, ["method_not_allowed"])
            assert post.headers["Allow"] == "GET, HEAD, OPTIONS"
            assert (options.status_code, options.data) == (200, b"")


def test_page_is_the_same_with_any_token(client: FlaskClient, sign_in: SignIn, make: Make) -> None:
    user = make.user()
    signed_in, refused = sign_in(user), {"Authorization": "Bearer a.b.c"}

    for path in ("/", status_path(make.activity(user))):
        expected = client.get(path)
        for response in (signed_in.get(path), client.get(path, headers=refused)):
            assert (response.status_code, response.data) == (200, expected.data)
            assert response.headers["Cache-Control"] == "no-cache"


def test_pages_and_assets_need_no_database_and_no_quota(created: CreateApp) -> None:
    client = created(connection_url="postgresql://127.0.0.1:1/none", rate_limit_anonymous_reads=1).test_client()

    for path in (*PATHS, f"/web/{assets().digest}/app.js"):
        responses = [client.get(path) for _ in range(2)]
        assert [response.status_code for response in responses] == [200, 200]
        assert not [response for response in responses if "RateLimit" in response.headers]


def test_assets_are_all_files_but_the_template(subtests: pytest.Subtests, client: FlaskClient) -> None:
    names = {path.name for path in WEB.iterdir()}
    assert names == {*assets().files, "index.html"}
    assert {"app.js", "style.css", "icon.svg"} <= assets().files.keys()

    for name in assets().files:
        with subtests.test(name):
            response = client.get(f"/web/{assets().digest}/{name}")

            assert (response.status_code, response.data) == (200, (WEB / name).read_bytes())
            assert response.content_type == CONTENT_TYPES[f".{name.rpartition('.')[2]}"]


def test_asset_of_this_version_never_changes_and_of_another_is_revalidated(client: FlaskClient) -> None:
    immutable = "public, max-age=31536000, immutable"
    for digest, cache_control in ((assets().digest, immutable), ("0" * 16, "no-cache"), ("x", "no-cache")):
        path = f"/web/{digest}/style.css"
        response = client.get(path)
        again = client.get(path, headers={"If-None-Match": response.headers["ETag"]})
        changed = client.get(path, headers={"If-None-Match": '"other"'})

        assert (response.status_code, response.data) == (200, (WEB / "style.css").read_bytes())
        assert response.content_type == "text/css; charset=utf-8"
        assert response.headers.getlist("Cache-Control") == [cache_control]
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers.getlist("Cache-Control") == [cache_control]
        assert changed.status_code == 200


def test_unknown_asset_is_not_found(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for name in UNKNOWN_ASSETS:
        with subtests.test(name):
            response = client.get(f"/web/{assets().digest}/{name}")

            assert (response.status_code, response.json) == (404, ["not_found"])
            assert response.headers["Cache-Control"] == "private, no-store"


def test_digest_depends_on_names_and_contents(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routes.pages.WEB", tmp_path)

    def digest(**files: bytes) -> str:
        for path in tmp_path.iterdir():
            path.unlink()
        for name, content in files.items():
            (tmp_path / name.replace("_", ".")).write_bytes(content)
        return assets.__wrapped__().digest

    one = digest(a_js=b"1", b_js=b"2")
    assert re.fullmatch("[0-9a-f]{16}", one)
    assert digest(b_js=b"2", a_js=b"1") == one
    # Neither the template nor an editor's copy is an asset.
    assert digest(a_js=b"1", b_js=b"2", index_html=b"", a_js_swp=b"") == one
    others = [
        digest(a_js=b"2", b_js=b"1"),
        digest(a_js=b"12", b_js=b""),
        digest(a_js=b"1", c_js=b"2"),
        digest(a_js=b"1"),
    ]
    assert len({one, *others}) == 5


def test_link_to_an_activity_has_a_preview_without_its_text(client: FlaskClient, make: Make) -> None:
    author = make.user("LinYue", display_name="Lin Yue")
    activity = make.activity(author, TEXT)
    make.owner.execute("UPDATE activities SET expires_at = '2126-12-02 14:57:59.9+01' WHERE uuid = %s", [activity.uuid])
    reply = make.activity(author, TEXT, reply_to=make.activity(make.user(), ttl=None), ttl=None)

    response = client.get(f"/@linyue/status/{activity.uuid}")

    assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-cache")
    assert is_page(response)
    assert attribute(response, "<base href") == "../../"
    title = {"site_name": "Cruddur", "type": "article", "title": "Lin Yue (@LinYue) on Cruddur"}
    assert open_graph(response) == title | {"description": "Disappears at 2 December 2126, 13:57 UTC."}
    lasting = client.get(status_path(reply))
    assert open_graph(lasting) == title | {"description": "Does not disappear."}
    assert TEXT not in response.text + lasting.text


@pytest.mark.parametrize(
    ("display_name", "shown"),
    [
        ('"><script>alert(1)</script>', '"><script>alert(1)</script>'),
        ("Tom & 'Jerry' &lt;", "Tom & 'Jerry' &lt;"),
        ("{{ sign_in }} {% raw %}", "{{ sign_in }} {% raw %}"),
        # The service accepts no such name, and the schema does.
        ("\u202ekcatta\u2066", "kcatta"),
        ("محمد", "محمد"),
    ],
)
def test_name_in_a_preview_is_escaped(client: FlaskClient, make: Make, display_name: str, shown: str) -> None:
    activity = make.activity(make.user("lin", display_name=display_name), TEXT)

    response = client.get(status_path(activity))

    assert open_graph(response)["title"] == f"{shown} (@lin) on Cruddur"
    assert response.text.count("<script") == client.get("/").text.count("<script")
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", response.text)


def test_page_of_an_activity_that_is_not_live_is_404_and_not_stored(
    subtests: pytest.Subtests, client: FlaskClient, sign_in: SignIn, make: Make
) -> None:
    author, stranger = make.user("author"), make.user("stranger")
    deleted = make.activity(author, TEXT)
    assert sign_in(author).delete(f"/api/activities/{deleted.uuid}").status_code == 200
    paths = {
        "expired": status_path(make.activity(author, TEXT, age="1 hour", ttl="1 hour")),
        "deleted": status_path(deleted),
        "another's": f"/@{stranger.handle}/status/{make.activity(author, TEXT).uuid}",
        "of an unknown user": f"/@missing/status/{make.activity(author, TEXT).uuid}",
        "unknown": f"/@author/status/{uuid4()}",
    }
    for case, path in paths.items():
        with subtests.test(case):
            response = client.get(path)

            assert response.status_code == 404
            assert is_page(response)
            assert attribute(response, "<base href") == "../../"
            assert response.headers.getlist("Cache-Control") == ["private, no-store"]
            assert "ETag" not in response.headers
            assert open_graph(response) == {}
            assert TEXT not in response.text
            problem = client.get(path, headers={"Accept": PROBLEM})
            assert (problem.status_code, problem.content_type, problem.json["codes"]) == (404, PROBLEM, ["not_found"])
            assert client.head(path).status_code == 404


def test_cached_preview_ends_with_its_activity(client: FlaskClient, make: Make) -> None:
    activity, other = make.activity(make.user()), make.activity(make.user())
    first, theirs = client.get(status_path(activity)), client.get(status_path(other))
    revalidate = {"If-None-Match": first.headers["ETag"]}
    assert client.get(status_path(activity), headers=revalidate).status_code == 304

    make.expire(activity)

    assert client.get(status_path(activity), headers=revalidate).status_code == 404
    assert client.get(status_path(activity), headers={"If-None-Match": "*"}).status_code == 404
    assert client.get(status_path(other)).data == theirs.data


def test_preview_is_the_anonymous_one_despite_a_block(client: FlaskClient, sign_in: SignIn, make: Make) -> None:
    author, blocked = make.user(), make.user()
    make.block(author, blocked)
    path = status_path(make.activity(author))

    assert sign_in(blocked).get(f"/api/activities{path}").status_code == 404
    assert sign_in(blocked).get(path).data == client.get(path).data


def test_unreachable_database_is_a_503_with_the_page(created: CreateApp) -> None:
    client = created(connection_url="postgresql://127.0.0.1:1/none").test_client()
    path = f"/@andrewbrown/status/{UUID}"

    response = client.get(path)

    assert response.status_code == 503
    assert is_page(response)
    assert int(response.headers["Retry-After"]) > 0
    assert response.headers["Cache-Control"] == "private, no-store"
    assert set(response.headers.getlist("Vary")) == {"Accept", "Origin"}
    problem = client.get(path, headers={"Accept": PROBLEM})
    assert (problem.status_code, problem.json["codes"]) == (503, ["service_unavailable"])
    assert int(problem.headers["Retry-After"]) > 0


def test_rate_limit_is_a_429_with_the_page(created: CreateApp, make: Make) -> None:
    client, path = created(rate_limit_anonymous_reads=2).test_client(), status_path(make.activity(make.user()))
    first, second = client.get(path), client.get("/api/activities/home")
    assert [response.status_code for response in (first, second)] == [200, 200]
    assert first.headers["RateLimit"].startswith('"anonymous-reads";r=1;')

    response = client.get(path)

    assert response.status_code == 429
    assert is_page(response)
    assert open_graph(response) == {}
    assert response.headers["RateLimit-Policy"] == '"anonymous-reads";q=2;w=60'
    (seconds,) = re.findall('"anonymous-reads";r=0;t=([0-9]+)', response.headers["RateLimit"])
    assert response.headers["Retry-After"] == seconds
    assert client.get(path, headers={"Accept": PROBLEM}).json["codes"] == ["too_many_requests"]
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("domain", [None, LOGIN])
def test_development_pool_has_no_managed_login(created: CreateApp, domain: str | None) -> None:
    response = created(user_pool_id=DEVELOPMENT_POOL_ID, cognito_domain=domain).test_client().get("/")

    assert attribute(response, "data-sign-in") == "development"
    assert (attribute(response, "data-domain"), attribute(response, "data-client-id")) == (None, None)
    assert policy(response) == POLICY


def test_user_pool_with_a_domain_has_a_managed_login(created: CreateApp, make: Make) -> None:
    client = created(cognito_domain=LOGIN).test_client()
    for path in ("/", status_path(make.activity(make.user())), f"/@missing/status/{UUID}"):
        response = client.get(path)

        assert attribute(response, "data-sign-in") == "cognito"
        assert (attribute(response, "data-domain"), attribute(response, "data-client-id")) == (LOGIN, tokens.CLIENT_ID)
        assert policy(response) == POLICY - {"connect-src 'self'"} | {f"connect-src 'self' {LOGIN}"}


def test_user_pool_without_a_domain_has_no_sign_in(client: FlaskClient) -> None:
    response = client.get("/")

    assert attribute(response, "data-sign-in") == "none"
    assert (attribute(response, "data-domain"), attribute(response, "data-client-id")) == (None, None)

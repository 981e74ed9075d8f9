"""Hashtags: their form in a text, the activities with a hashtag, and trends."""

from datetime import timedelta
from urllib.parse import quote

import psycopg
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from lib import cache
from lib.cache import MAX_AGE_SECONDS
from lib.purge import purge_batch
from services import trends
from tests.clock import Clock
from tests.conftest import SignIn, links, walk
from tests.factories import Activity, Make, User

TRENDS = "/api/trends"
# Texts with the hashtag `cloud` alone.
CLOUD = [
    *("#Cloud", "#CLOUD!", "(#cloud)", "“#cloud”", "#cloud's", "#cloud.", "#cloud-native", "#cloud/", "#cloud++"),
    *(
        "no hashtag, #cloud",
        "#cloud#",
        "hello,#cloud",
        "@#cloud",
        "-#cloud",
        "#cloud#aws",
        "#cloud #Cloud",
        "\n#cloud\n",
    ),
    # Full width, also of the sign, as Japanese keyboards write it; and a soft hyphen.
    *("#\uff23\uff4c\uff4f\uff55\uff44", "\uff03cloud", "#clo\u00adud"),
    # Emoji and their invisible characters belong to no word.
    *("☁️#cloud☁️", "👩\u200d👧#cloud👩\u200d👧", "\u200b#cloud\ufeff"),
    # After a URL.
    *("https://example.com #cloud", "https://example.com、#cloud", "<www.example.com>#cloud", "a://b\n#cloud"),
]
NONE = [
    *(
        "#",
        "# cloud",
        "cloud",
        "##cloud",
        "\uff03#cloud",
        "a#cloud",
        "1#cloud",
        "_#cloud",
        "&#39;",
        "&#x27;",
        "/#cloud",
    ),
    *("é#cloud", "e\u0301#cloud", "今日は#cloud", "क्#cloud"),
    *("#👍", "#️⃣", "#\u0301cloud", "#-cloud", "#.", "#\u200dcloud", "#½", "#ﷺ", "#\u24d2"),
    # Within a URL, and before it.
    *("https://example.com#cloud", "https://example.com/ü?a=1#cloud", "www.example.com/#cloud", "example.com#cloud"),
    *("git+ssh://a.b:#cloud", "#https://example.com", "HTTPS://a/(#cloud)"),
    # One character too many, as written or folded.
    *("#" + "a" * 51, "#" + "\ufb03" * 17),
]
OTHERS = {
    "#straße #STRASSE": ["strasse"],
    "#e\u0301te\u0301 #\u00e9t\u00e9": ["\u00e9t\u00e9"],
    "#हिन्दी #தமிழ் #ไทย": ["हिन्दी", "தமிழ்", "ไทย"],
    # With a joiner, which a search ignores too.
    "#مرحبا #می\u200cخواهم": ["مرحبا", "میخواهم"],
    "#プログラミング #ﾌﾟﾛ #二〇二六年 #日本-語": ["プログラミング", "プロ", "二〇二六年", "日本"],
    "#한국어 #ελλάς #İzmir": ["한국어", "ελλάσ", "i\u0307zmir"],
    "#1 #2026 #٣ #_ #a_1": ["1", "2026", "٣", "_", "a_1"],
    "#" + "a" * 50: ["a" * 50],
    "#" + "\ufb03" * 16: ["ffi" * 16],
    " ".join(f"#{n}" for n in range(10, 0, -1)): [str(n) for n in range(10, 0, -1)],
    " ".join(f"#{n} #{n}" for n in range(11)): [str(n) for n in range(10)],
}
TEXTS = [*((text, ["cloud"]) for text in CLOUD), *((text, []) for text in NONE), *OTHERS.items()]


def post(client: FlaskClient, message: str) -> TestResponse:
    """Create an activity, which must succeed."""
    response = client.post("/api/activities", json={"message": message, "ttl": "1-day"})
    assert response.status_code == 200
    return response


def tagged(client: FlaskClient, tag: str, query: str = "") -> TestResponse:
    """Read the activities with a hashtag, which must succeed."""
    response = client.get(f"/api/activities/tagged/{quote(tag, safe='')}{query}")
    assert response.status_code == 200
    return response


def messages(response: TestResponse) -> list[str]:
    """Return the messages of a page."""
    return [activity["message"] for activity in response.json]


def stored(make: Make, uuid: str) -> set[str]:
    """Return the stored hashtags of an activity."""
    return {tag for (tag,) in make.owner.execute("SELECT tag FROM taggings WHERE activity_uuid = %s", [uuid])}


@pytest.mark.usefixtures("bystander")
def test_hashtags_of_texts(subtests: pytest.Subtests, sign_in: SignIn, make: Make) -> None:
    author = sign_in(make.user())

    for text, tags in TEXTS:
        with subtests.test(text):
            activity = post(author, text).json
            assert stored(make, activity["uuid"]) == set(tags)
            for tag in tags:
                assert tagged(author, tag).json[0] == activity


@pytest.mark.usefixtures("bystander")
def test_activities_and_replies_with_a_hashtag_are_listed_newest_first(
    client: FlaskClient, sign_in: SignIn, make: Make, cache_clock: Clock
) -> None:
    lin, kofi = sign_in(make.user("LinYue")), sign_in(make.user("kofi"))
    first = post(lin, "Up in the #Cloud").json
    post(lin, "cloud, without the sign")
    long = f"{'hello ' * 60}#CLOUD #late"
    reply = kofi.post(f"/api/activities/{first['uuid']}/reply", json={"message": long}).json
    liked = kofi.put(f"/api/activities/{first['uuid']}/like").json

    response = tagged(kofi, "cloud")

    assert response.json == [reply, liked | {"replies_count": 1}]
    assert [activity["liked"] for activity in response.json] == [False, True]
    assert response.headers["Cache-Control"] == "private, no-store"
    anonymous = tagged(client, "cloud")
    pairs = zip(anonymous.json, response.json, strict=True)
    assert all(activity.items() <= shown.items() for activity, shown in pairs)
    assert not any({"liked", "reposted"} & activity.keys() for activity in anonymous.json)
    assert "Authorization" in anonymous.headers.getlist("Vary")
    assert messages(tagged(client, "late")) == [long]
    assert messages(tagged(client, "bystander")) == ["a bystander's"]

    assert lin.delete(f"/api/activities/{first['uuid']}").status_code == 200
    cache_clock.now += MAX_AGE_SECONDS
    # The reply ends with its parent.
    assert tagged(client, "cloud").json == tagged(kofi, "late").json == []


def test_hashtag_of_a_path_is_folded_and_a_malformed_one_has_no_activities(
    subtests: pytest.Subtests, client: FlaskClient, make: Make
) -> None:
    make.tag(make.activity(make.user(), "there"), "étés", "a" * 50)

    for tag in (
        "étés",
        "ÉTÉS",
        "e\u0301te\u0301s",
        "\uff45\u0301t\u00e9s",
        "\u00e9t\u00e9\u017f",
        "é\u00adtés",
        "A" * 50,
    ):
        with subtests.test(tag):
            assert messages(tagged(client, tag)) == ["there"]
    for tag in ("unknown", "#étés", "étés ", "a" * 51, "é-té", "\0", "\n", "😀", "\u0301", "é/té", "ﷺ", "%"):
        with subtests.test(tag):
            response = client.get(f"/api/activities/tagged/{quote(tag, safe='')}?limit=5")
            # A slash begins another part of the path, also as `%2F`.
            expected = (404, ["not_found"]) if "/" in tag else (200, [])
            assert (response.status_code, response.json) == expected
            assert "Link" not in response.headers
    for path in ("/api/activities/tagged/%FF", "/api/activities/tagged/%ED%A0%80"):
        assert client.get(path).json == []
    for path in ("/api/activities/tagged", "/api/activities/tagged/"):
        assert client.get(path).json == ["not_found"]
    assert client.get("/api/activities/tagged/cloud?cursor=x").json == ["cursor_invalid"]


def test_expired_activities_are_omitted_and_pages_lead_both_ways(client: FlaskClient, make: Make) -> None:
    author = make.user()
    for n in range(25):
        # The second and the third are of one instant, and so on.
        age = f"{n // 2 + 60} minutes"
        make.tag(make.activity(author, str(n), age=age), "cloud", "aws")
        make.tag(make.activity(author, "gone", age=age, ttl="1 hour"), "cloud")
        make.tag(make.activity(author, "another"), "aws")
    make.owner.execute("UPDATE taggings SET created_at = date_trunc('minute', created_at)")
    make.owner.execute("UPDATE activities SET created_at = date_trunc('minute', created_at)")

    first = tagged(client, "cloud", "?limit=10")
    rows = walk(client, first, "next")
    last = tagged(client, "cloud", "?limit=10")
    while "next" in links(last):
        last = client.get(links(last)["next"])
    backwards = walk(client, last, "prev")

    assert sorted(int(activity["message"]) for activity in rows) == list(range(25))
    places = [(activity["created_at"], activity["uuid"]) for activity in rows]
    assert places == sorted(places, reverse=True)
    seen = [activity["uuid"] for activity in rows]
    assert [activity["uuid"] for activity in backwards[len(last.json) :]] == seen[-len(last.json) - 1 :: -1]
    assert len(tagged(client, "cloud").json) == 20


def test_activity_that_ends_before_its_time_is_omitted(client: FlaskClient, make: Make) -> None:
    one, other = make.user(), make.user()
    kept, ended = (make.tag(make.activity(author, author.handle), "cloud") for author in (one, other))
    make.expire(ended)

    assert messages(tagged(client, "cloud")) == [kept.message]
    assert client.get(TRENDS).json == []


def use(make: Make, tag: str, *users: User, age: str = "1 hour", ttl: str | None = "7 days") -> list[Activity]:
    """Insert an activity with a hashtag of each of `users`."""
    return [make.tag(make.activity(user, age=age, ttl=ttl), tag) for user in users]


def trend(hashtag: str, count: int, people: int) -> dict[str, str | int]:
    """Return a row of the trends."""
    return {"hashtag": hashtag, "count": count, "people": people}


def test_trends_are_the_hashtags_of_most_users(client: FlaskClient, sign_in: SignIn, make: Make) -> None:
    lin, kofi, bayko = make.user(), make.user(), make.user()
    # A single user makes no trend, with any number of activities.
    use(make, "alone", *[lin] * 9)
    use(make, "three", lin, kofi, bayko)
    use(make, "four", *[lin] * 3, kofi)
    # Of equal numbers the first in the order of code points.
    use(make, "b", lin, kofi)
    use(make, "a", kofi, lin)
    use(make, "é", kofi, lin)
    (question,) = use(make, "reply", lin)
    make.tag(make.activity(kofi, reply_to=question), "reply")
    post(sign_in(lin), "#Posted, #posted")
    post(sign_in(kofi), "#POSTED")

    response = client.get(TRENDS)

    assert response.json == [
        *(trend("three", 3, 3), trend("four", 4, 2), trend("a", 2, 2), trend("b", 2, 2)),
        *(trend("posted", 2, 2), trend("reply", 2, 2), trend("é", 2, 2)),
    ]
    assert response.headers["Cache-Control"] == "no-cache"
    assert "Vary" not in response.headers or "Authorization" not in response.headers.getlist("Vary")
    again = client.get(TRENDS, headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_trends_are_ten_of_one_day_and_of_activities_that_outlive_the_cache(client: FlaskClient, make: Make) -> None:
    lin, kofi = make.user(), make.user()
    assert trends.MAX_AGE_SECONDS == 60
    for n in range(8):
        use(make, f"tag{n}", lin, kofi)
    use(make, "a_day_ago", lin, kofi, age="23 hours 59 minutes")
    use(make, "older", lin, kofi, age="24 hours 1 second")
    use(make, "for_ever", lin, kofi, ttl=None)
    use(make, "ending", lin, age="1 hour", ttl="1 hour 59 seconds")
    use(make, "ending", kofi)
    use(make, "gone", lin, kofi, age="2 hours", ttl="1 hour")
    use(make, "last", lin, kofi, lin, age="1 hour", ttl="1 hour 65 seconds")

    rows = client.get(TRENDS).json

    assert [row["hashtag"] for row in rows] == ["last", "a_day_ago", "for_ever", *(f"tag{n}" for n in range(7))]
    assert len(rows) == 10


def test_trends_are_kept_for_a_minute(client: FlaskClient, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(cache, "time", clock)
    lin, kofi = make.user(), make.user()
    use(make, "first", lin, kofi)
    rows = client.get(TRENDS).json
    use(make, "second", lin, kofi, lin)

    clock.now += 59.9
    cached = client.get(TRENDS)
    assert cached.json == rows == [trend("first", 2, 2)]
    assert "db;dur=0.00" in cached.headers["Server-Timing"]
    clock.now += 0.1
    assert client.get(TRENDS).json == [trend("second", 3, 2), *rows]


def test_trends_visit_the_newest_hashtags_to_a_limit(
    client: FlaskClient, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trends, "MAX_TAGGINGS", 3)
    lin, kofi = make.user(), make.user()
    use(make, "new", lin, kofi, age="1 hour")
    use(make, "old", lin, kofi, age="2 hours")

    assert client.get(TRENDS).json == [trend("new", 2, 2)]


def test_failed_read_of_trends_is_not_cached(client: FlaskClient, owner: psycopg.Connection) -> None:
    owner.execute("ALTER TABLE taggings RENAME TO away")
    assert client.get(TRENDS).status_code == 500
    owner.execute("ALTER TABLE away RENAME TO taggings")

    assert client.get(TRENDS).json == []


def test_hashtags_end_with_the_rows_of_their_activity(make: Make) -> None:
    lin, kofi = make.user(), make.user()
    (mine,) = use(make, "cloud", lin)
    (theirs,) = use(make, "cloud", kofi)
    (expired,) = use(make, "cloud", kofi, age="2 hours", ttl="1 hour")
    make.tag(expired, *(f"tag{n}" for n in range(9)))
    purged = purge_batch(make.owner)
    assert purged is not None
    assert (purged.activities, stored(make, str(expired.uuid))) == (1, set())
    make.owner.execute("DELETE FROM users WHERE uuid = %s", [lin.uuid])

    assert (stored(make, str(mine.uuid)), stored(make, str(theirs.uuid))) == (set(), {"cloud"})
    with pytest.raises(psycopg.errors.CheckViolation):
        make.tag(theirs, "a" * 51)
    make.tag(theirs, "a" * 50)
    row = make.owner.execute("SELECT expires_at - created_at FROM taggings WHERE tag = 'cloud'").fetchone()
    assert row == (timedelta(days=7),)

"""Reports: POST `/api/reports`, the evidence, the limit, the operators' bin/db-reports, and the retention."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from flask import Flask

from lib.purge import purge_batch
from tests import processes
from tests.conftest import SignIn
from tests.factories import Activity, Make, User
from tests.in_process import fails, script, succeeds
from tests.tokens import bearer

REPORTS = "/api/reports"
NO_TEXT: list[object] = ["", " ", "\u3000", None, 1, [], {}, False]
THREADS = 16


def about(activity: Activity, category: str = "spam", **members: object) -> dict[str, Any]:
    """Return the body of a report of an activity."""
    return {"activity_uuid": str(activity.uuid), "category": category, **members}


def author(user: User, bio: str | None) -> dict[str, Any]:
    """Return an author as the evidence has it."""
    return {"uuid": str(user.uuid), "handle": user.handle, "display_name": user.display_name, "bio": bio}


def row(make: Make, uuid: str) -> tuple[Any, ...]:
    """Return the columns of a report."""
    statement = "SELECT reporter_uuid, reported_uuid, activity_uuid, evidence FROM reports WHERE uuid = %s"
    found = make.owner.execute(statement, [uuid]).fetchone()
    assert found is not None
    return found


@pytest.mark.usefixtures("bystander")
def test_report_of_an_activity_keeps_a_copy_of_it_its_author_and_its_parent(sign_in: SignIn, make: Make) -> None:
    lin, kofi, mira = make.user("lin"), make.user("kofi", bio="A bio."), make.user("mira", display_name="Mira")
    parent = make.activity(mira, "parent", age="1 hour", ttl=None)
    reply = make.activity(kofi, "a reply", reply_to=parent, ttl="1 day")
    make.like(reply, mira)
    shown = sign_in(mira).get(f"/api/activities/@mira/status/{parent.uuid}").json
    client = sign_in(lin)

    response = client.post(REPORTS, json=about(reply, "harassment", comment="é" * 1024, handle="mira", more=1))

    assert (response.status_code, set(response.json)) == (200, {"uuid"})
    assert response.headers["Cache-Control"] == "private, no-store"
    left_out = ("handle", "display_name", "liked", "reposted")
    copies = {
        name: {**{key: value for key, value in activity.items() if key not in left_out}, "author": author(user, bio)}
        for name, activity, user, bio in (
            ("activity", shown["replies"][0], kofi, "A bio."),
            ("parent", shown["activity"], mira, None),
        )
    }
    assert copies["activity"].keys() >= {"uuid", "message", "created_at", "expires_at", "likes_count", "author"}
    assert (copies["activity"]["likes_count"], copies["parent"]["replies_count"]) == (1, 1)
    expected = (lin.uuid, kofi.uuid, reply.uuid, copies)
    assert row(make, response.json["uuid"]) == expected
    assert make.reports() == [("lin", "kofi", "harassment", "é" * 1024)]
    # The evidence stays as it was, although its activities end.
    sign_in(mira).put("/api/profile/update", json={"display_name": "Renamed"})
    make.owner.execute("DELETE FROM activities WHERE uuid = %s", [parent.uuid])
    assert row(make, response.json["uuid"]) == expected

    own = client.post(REPORTS, json=about(make.activity(lin, "top level")))
    assert own.status_code == HTTPStatus.OK
    evidence = row(make, own.json["uuid"])[3]
    assert (evidence["activity"]["message"], evidence["parent"]) == ("top level", None)


@pytest.mark.usefixtures("bystander")
def test_report_of_a_user_keeps_a_copy_of_the_profile(sign_in: SignIn, make: Make) -> None:
    lin, kofi = make.user("lin"), make.user("kofi", bio="A bio.")
    make.follow(lin, kofi)
    client = sign_in(lin)
    profile = client.get("/api/activities/@kofi").json["profile"]

    for activity_uuid in (None, " ", 1):
        body = {"handle": "KOFI", "activity_uuid": activity_uuid, "category": "other", "comment": "\u3000" * 1025}
        response = client.post(REPORTS, json=body)

        assert (response.status_code, set(response.json)) == (200, {"uuid"})
        assert row(make, response.json["uuid"]) == (lin.uuid, kofi.uuid, None, {"user": profile})
    # A blank comment is none.
    assert make.reports() == [("lin", "kofi", "other", None)]


@pytest.mark.usefixtures("bystander")
def test_same_report_again_has_the_same_uuid(app: Flask, sign_in: SignIn, make: Make) -> None:
    lin, kofi = make.user("lin"), make.user("kofi")
    activity = make.activity(kofi)
    client = sign_in(lin)

    def uuid(body: dict[str, Any]) -> str:
        response = client.post(REPORTS, json=body)
        assert response.status_code == HTTPStatus.OK
        return str(response.json["uuid"])

    def first(_: int) -> str:
        response = app.test_client().post(REPORTS, json=about(activity), headers=bearer(lin.cognito_user_id))
        return str(response.json["uuid"])

    with ThreadPoolExecutor(THREADS) as pool:
        (of_activity,) = set(pool.map(first, range(THREADS)))
    of_user = uuid({"handle": "kofi", "category": "spam"})
    assert uuid(about(activity, comment="another comment", handle="nobody")) == of_activity
    assert uuid({"handle": "Kofi", "category": "spam"}) == of_user
    # Another category, activity or reporter makes another report.
    others = [uuid(about(activity, "legal")), uuid(about(make.activity(kofi)))]
    others.append(sign_in(make.user("mira")).post(REPORTS, json=about(activity)).json["uuid"])
    assert len({of_activity, of_user, *others}) == 5
    assert len(make.reports()) == 5
    # The activity has expired, and the report was closed.
    make.expire(activity)
    make.owner.execute("UPDATE reports SET closed_at = now() WHERE reporter_uuid = %s", [lin.uuid])
    assert (uuid(about(activity)), uuid({"handle": "kofi", "category": "spam"})) == (of_activity, of_user)
    # An expired report that the purge has not deleted yet does not count.
    make.owner.execute("UPDATE reports SET expires_at = now() WHERE reporter_uuid = %s", [lin.uuid])
    assert client.post(REPORTS, json=about(activity)).status_code == HTTPStatus.NOT_FOUND
    assert uuid({"handle": "kofi", "category": "spam"}) not in {of_activity, of_user, *others}


CATEGORY, SUBJECT, COMMENT = "report_category_blank", "report_subject_blank", "comment_exceed_max_chars"
INVALID: list[tuple[dict[str, Any], int, list[str]]] = [
    *(({"handle": "kofi", "category": category}, 422, [CATEGORY]) for category in (*NO_TEXT, "Spam", "spam ", "abuse")),
    *(({"handle": subject, "category": "spam"}, 422, [SUBJECT]) for subject in NO_TEXT),
    *(({"activity_uuid": subject, "category": "spam"}, 422, [SUBJECT]) for subject in NO_TEXT),
    ({"handle": "kofi", "category": "spam", "comment": "é" * 1025}, 422, [COMMENT]),
    ({}, 422, [CATEGORY, SUBJECT]),
    ({"comment": "é" * 1025}, 422, [CATEGORY, SUBJECT, COMMENT]),
    *(({"handle": "kofi", "category": "spam", "comment": comment}, 400, ["json_invalid"]) for comment in NO_TEXT[4:]),
]
UNKNOWN: list[dict[str, Any]] = [
    *({"handle": handle} for handle in ("nobody", "no-handle", "é", "\u212aofi", "@kofi", "kofi ", "a" * 2000)),
    *({"activity_uuid": text, "handle": "kofi"} for text in (str(uuid4()), "x", uuid4().hex, f"{uuid4()} ", "kofi")),
]


@pytest.mark.usefixtures("bystander")
def test_invalid_report_is_refused_with_every_code(
    subtests: pytest.Subtests, app: Flask, sign_in: SignIn, make: Make
) -> None:
    lin, kofi = make.user("lin"), make.user("kofi")
    expired = make.activity(kofi, age="2 hours", ttl="1 hour")
    client = sign_in(lin)
    for body, status, codes in INVALID:
        with subtests.test(ascii(body)[:80]):
            response = client.post(REPORTS, json=body)
            assert (response.status_code, response.json) == (status, codes)
    for body in (*UNKNOWN, {"activity_uuid": str(expired.uuid)}):
        with subtests.test(ascii(body)[:80]):
            response = client.post(REPORTS, json={**body, "category": "spam"})
            assert (response.status_code, response.json) == (404, ["not_found"])
    # The service validates a report before it looks for the user.
    for body, status in (({}, 422), ({"handle": "kofi", "category": "spam"}, 503)):
        assert app.test_client().post(REPORTS, json=body, headers=bearer("unknown")).status_code == status
    assert make.reports() == []


MANY = """
    INSERT INTO reports (reporter_uuid, reported_uuid, activity_uuid, category, evidence, created_at)
    SELECT %s, %s, gen_random_uuid(), 'spam', '{}', now() - %s::interval - n * interval '1 ms'
    FROM generate_series(1, %s) AS n
"""


@pytest.mark.usefixtures("bystander")
def test_reporter_makes_100_reports_within_24_hours_at_most(app: Flask, sign_in: SignIn, make: Make) -> None:
    lin, kofi, mira = make.user("lin"), make.user("kofi"), make.user("mira")
    for reporter, age, count in ((lin, "23:59", 98), (lin, "24 hours", 50), (mira, "1 hour", 100)):
        make.owner.execute(MANY, [reporter.uuid, kofi.uuid, age, count])
    client, activities = sign_in(lin), [make.activity(kofi) for _ in range(3 + THREADS)]

    responses = [client.post(REPORTS, json=about(activity)) for activity in activities[:3]]

    assert [response.status_code for response in responses] == [200, 200, 422]
    assert responses[2].json == ["reports_exceed_max"]
    # At the limit the same report again is no new one.
    assert client.post(REPORTS, json=about(activities[0])).json == responses[0].json
    # Of concurrent requests for one place, one gets it.
    make.owner.execute("DELETE FROM reports WHERE uuid = %s", [responses[1].json["uuid"]])
    with ThreadPoolExecutor(THREADS) as pool:
        headers = bearer(lin.cognito_user_id)
        results = pool.map(
            lambda activity: app.test_client().post(REPORTS, json=about(activity), headers=headers), activities[3:]
        )
        assert sorted(response.status_code for response in results) == [200] + [422] * (THREADS - 1)
    assert sign_in(kofi).post(REPORTS, json=about(activities[0])).status_code == HTTPStatus.OK


INSERT = "INSERT INTO reports (reporter_uuid, category, comment, evidence) VALUES (%s, %s, %s, '{}')"


@pytest.mark.usefixtures("bystander")
def test_report_has_checks_and_outlives_its_users(make: Make) -> None:
    lin, kofi, mira = make.user("lin"), make.user("kofi"), make.user("mira")
    for values, constraint in ((("abuse", None), "category"), (("spam", "é" * 1025), "comment")):
        with pytest.raises(psycopg.errors.CheckViolation) as refusal:
            make.owner.execute(INSERT, [lin.uuid, *values])
        assert refusal.value.diag.constraint_name == f"reports_{constraint}_check"
    activity = make.activity(kofi)
    # Two reporters of the same subject.
    for reporter in (lin, mira):
        make.report(reporter, kofi)
        make.report(reporter, kofi, activity=activity)

    make.owner.execute("DELETE FROM users WHERE handle IN ('lin', 'kofi', 'mira')")

    users = "SELECT reporter_uuid, reported_uuid FROM reports WHERE category = 'spam' AND evidence = '{}'"
    assert make.owner.execute(users).fetchall().count((None, None)) == 4


def shift(make: Make, uuid: UUID, days: str) -> None:
    """Make a report older."""
    make.owner.execute(
        "UPDATE reports SET created_at = created_at - age, closed_at = closed_at - age, expires_at = expires_at - age"
        " FROM (VALUES (%s::interval)) AS given (age) WHERE uuid = %s",
        [days, uuid],
    )


@pytest.mark.usefixtures("bystander")
def test_operator_lists_shows_and_closes_reports(sign_in: SignIn, make: Make, owner_url: str) -> None:
    lin, kofi = make.user("lin"), make.user("kofi")
    text = "\u202ethgir ot tfel \x1b]0;title\x07 \x7f \x9b31m \u2066 é"
    activity = make.activity(kofi, text)
    newest = sign_in(lin).post(REPORTS, json=about(activity, comment=text)).json["uuid"]
    oldest, expired = make.report(kofi, lin, category="legal", age="2 days"), make.report(kofi, lin, age="180 days")

    lines = processes.succeeds("db-reports", CONNECTION_URL=owner_url).splitlines()

    assert re.split(" {2,}", lines[0]) == ["created (UTC)", "report", "category", "subject", "reported", "reporter"]
    assert [re.split(" {2,}", line)[1:] for line in lines[1:]] == [
        [str(oldest), "legal", "user", "lin", "kofi"],
        [lines[2].split()[2], "spam", "user", "friend", "bystander"],
        [newest, "spam", "activity", "kofi", "lin"],
    ]
    output = processes.succeeds("db-reports", "prod", "show", newest, PROD_CONNECTION_URL=owner_url)
    assert re.fullmatch(r"[ -~\n]+", output)
    shown = json.loads(output)
    assert (shown["uuid"], shown["category"], shown["comment"], shown["closed_at"]) == (newest, "spam", text, None)
    assert (shown["reporter"], shown["reported"], shown["activity_uuid"]) == ("lin", "kofi", str(activity.uuid))
    assert shown["evidence"]["activity"]["message"] == text

    for deed in ("closed", "was closed already"):
        output = processes.succeeds("db-reports", "close", newest, CONNECTION_URL=owner_url)
        assert output == f"database {make.owner.info.dbname}: report {newest} {deed}\n"
        closed = "SELECT closed_at, expires_at - closed_at FROM reports WHERE uuid = %s"
        (closed_at, lifetime) = make.owner.execute(closed, [newest]).fetchone()
        assert lifetime.days == 90
        shift(make, UUID(newest), "1 day")
    assert closed_at is not None
    assert newest not in succeeds("db-reports", CONNECTION_URL=owner_url)
    assert json.loads(succeeds("db-reports", "show", newest, CONNECTION_URL=owner_url))["closed_at"]
    # An expired report that the purge has not deleted yet is unknown, as another uuid is.
    for command in ("show", "close"):
        for unknown in (expired, uuid4()):
            line = fails("db-reports", command, str(unknown), CONNECTION_URL=owner_url)
            assert line == f"cruddur: no report has the uuid {unknown}: bin/db-reports lists the open ones"
    for words in (("show",), ("close", "x"), ("delete", newest), ("show", newest, "more"), (newest,)):
        result = script("db-reports", *words, CONNECTION_URL=owner_url)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith("usage: bin/db-reports ")


def test_operator_sees_100_open_reports_and_the_number_of_the_others(make: Make, owner_url: str) -> None:
    lin, kofi = make.user("lin"), make.user("kofi")
    assert succeeds("db-reports", CONNECTION_URL=owner_url).endswith(": no open reports\n")
    make.owner.execute(MANY, [lin.uuid, kofi.uuid, "0 s", 100])
    assert len(succeeds("db-reports", CONNECTION_URL=owner_url).splitlines()) == 1 + 100

    make.owner.execute(MANY, [lin.uuid, kofi.uuid, "1 hour", 3])

    lines = succeeds("db-reports", CONNECTION_URL=owner_url).splitlines()
    assert (len(lines), lines[-1]) == (1 + 100 + 1, "and 3 more")


@pytest.mark.usefixtures("bystander")
def test_reports_are_purged_180_days_after_their_creation_or_90_after_their_closing(
    make: Make, owner_url: str, service_url: str
) -> None:
    lin, kofi = make.user("lin"), make.user("kofi")
    # Each report: its age when it is closed, and its age afterwards.
    closed = {
        make.report(lin, kofi, age=age): days
        for age, days in (("1 day", "89 days"), ("1 day", "90 days"), ("100 days", "79 days"), ("100 days", "80 days"))
    }
    for uuid, days in closed.items():
        succeeds("db-reports", "close", str(uuid), CONNECTION_URL=owner_url)
        shift(make, uuid, days)
    stay = [*[*closed][::2], make.report(lin, kofi, age="179 days")]
    for age in ("180 days", "200 days"):
        make.report(lin, kofi, age=age)
    locked = make.report(lin, kofi, age="300 days")
    with psycopg.connect(service_url, autocommit=True) as service, make.owner.transaction():
        make.owner.execute("SELECT FROM reports WHERE uuid = %s FOR UPDATE", [locked])

        batches = [purge_batch(service, 3) for _ in range(3)]

    # A batch that deletes reports has more to do.
    assert [batch and (batch.activities, batch.ended) for batch in batches] == [(0, 3), (0, 1), (0, 0)]
    remaining = make.owner.execute("SELECT uuid FROM reports WHERE reporter_uuid = %s", [lin.uuid]).fetchall()
    assert {uuid for (uuid,) in remaining} == {*stay, locked}

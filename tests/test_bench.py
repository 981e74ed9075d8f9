"""The reports of bin/bench: parsing, ratios, limits and the document. No test measures speed."""

import os
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import UUID
from xml.dom.minidom import parseString

import pytest
import urllib3

from bench import requests
from bench.comparison import Comparison, figures, ratio, spread
from bench.report import PROGRAM, TITLE, Findings, load, write
from bench.scenarios import COMPARISONS
from bench.servers import BARE, CRUDDUR, EACH, FASTAPI, JOURNAL, TENTH, Server, check, dressed
from harness.chart import Bar, chart
from harness.figures import at_least, at_most
from harness.markdown import marks, replaced, table
from harness.processes import Running, cpu_seconds, tree
from harness.stubs import StubRequest, StubResponse, http_stub
from harness.wrk import Request, Sample, pgbench_script, read_pgbench, read_wrk
from lib.command_errors import CommandError
from lib.queries import page_statement
from ops.command import ROOT
from services.user_activities import USER
from tests.processes import script

pytestmark = pytest.mark.slow

BEGIN, END = marks(PROGRAM)
PEERS = ROOT / "bench" / "peers"
FOUND = Sample(requests=1000, rate=200.0, p50=1.5, p99=9.0, server_us=100.0, postgres_us=50.0, memory_mb=80.0)
BAR = Bar("Feeds <&>", "Cruddur", "16 connections", 200.0, "200")


def test_wrk_result_is_its_last_line() -> None:
    output = 'Running 5s test\n  1 threads\n{"requests": 7, "seconds": 5.0, "p50": 1.0, "p99": 2.0, "faults": {}}\n'

    assert read_wrk(output)["requests"] == 7


def test_pgbench_result_is_its_rate() -> None:
    assert read_pgbench("latency average = 1 ms\ntps = 1234.5 (without initial connection time)\n") == 1234.5
    with pytest.raises(CommandError, match="pgbench: aborted"):
        read_pgbench("aborted\n")


def test_pgbench_runs_the_services_own_statement() -> None:
    statement = page_statement(USER, USER.order, is_first=False, is_default_limit=False)
    pgbench_text = pgbench_script(statement, limit="20", created_at="now()", uuid="gen_random_uuid()", handle=":handle")

    assert ":handle" in pgbench_text
    assert "%" not in pgbench_text
    assert pgbench_text.endswith(";\n")


def test_request_is_a_line_of_method_path_token_etag_and_body() -> None:
    assert Request("/api/activities/home").line() == "GET\t/api/activities/home\t\t\t"
    assert Request("/api/activities", "token", "{}", "POST").line() == "POST\t/api/activities\ttoken\t\t{}"
    assert Request("/like", "token", method="PUT", etag='"1"').line() == 'PUT\t/like\ttoken\t"1"\t'


def test_ratio_is_the_median_of_the_rounds_ratios() -> None:
    ours = [FOUND._replace(rate=rate) for rate in (100.0, 400.0, 90.0)]
    theirs = [FOUND._replace(rate=rate) for rate in (100.0, 200.0, 100.0)]

    assert ratio(ours, theirs) == 1.0


def test_spread_is_the_highest_rate_against_the_lowest() -> None:
    assert spread([FOUND._replace(rate=rate) for rate in (100.0, 125.0, 110.0)]) == "25%"
    assert spread([FOUND, FOUND._replace(rate=0.0)]) == ""


def test_failed_request_voids_its_figure() -> None:
    comparison = Comparison({(name, BARE, number): [] for name in ("ours", "theirs") for number in (16, 64)})
    for number in (16, 64):
        comparison.add("ours", BARE, number, FOUND)
        comparison.add("theirs", BARE, number, FOUND._replace(faults="1 not 200" if number == 64 else ""))

    assert comparison.ratios(BARE, "ours", "theirs") == [1.0, None]
    assert comparison.table()[4][:4] == ["theirs", BARE, "64", "void: 1 not 200"]
    assert [bar.text for bar in comparison.bars("Feeds")] == ["200", "200", "200", "void"]
    assert not at_least("feeds", 0.5, comparison.ratios(BARE, "ours", "theirs")).is_reached


def test_dresses_are_compared_within_themselves() -> None:
    comparison = Comparison({(name, dress, 16): [] for name in ("ours", "theirs") for dress in (BARE, TENTH)})
    for dress, rate in ((BARE, 100.0), (TENTH, 300.0)):
        comparison.add("ours", dress, 16, FOUND._replace(rate=rate))
        comparison.add("theirs", dress, 16, FOUND._replace(rate=200.0))

    table = {tuple(row[:2]): row for row in comparison.table()}
    assert table["ours", TENTH][3] == "300"
    assert {bar.panel for bar in comparison.bars("Feeds")} == {f"Feeds, {d}, requests a second" for d in (BARE, TENTH)}


def test_lost_log_lines_and_traces_are_counted(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text('{"status": 200}\nstarted\n{"status":200}\n{"message": "Queue full, dropping Span."}\n')
    comparison = Comparison({})

    comparison.count_lost(TENTH, 5, log, 0)
    comparison.count_lost(EACH, 2, log, 1)

    assert [row.measured for row in comparison.losses()] == ["3", "1", "0", "1", "1"]
    assert [row.what for row in comparison.losses() if row.is_reached] == [f"log lines lost, {EACH}"]


def test_surplus_lines_of_one_session_hide_no_loss_of_another(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text('{"status": 200}\n' * 5)
    comparison = Comparison({})

    comparison.count_lost(TENTH, 3, log, 0)
    comparison.count_lost(TENTH, 6, log, 0)

    assert comparison.losses()[0].measured == "1"


def test_zipf_draws_by_rank_and_not_by_order() -> None:
    paths = [f"/{n}" for n in range(100)]
    drawn = Counter(requests.zipf(paths, random.Random(1), count=200_000))
    counts = [count for _, count in drawn.most_common()]

    assert set(drawn) == set(paths)
    assert counts[0] / counts[1] == pytest.approx(2**requests.ZIPF, rel=0.05)
    assert counts[0] / counts[9] == pytest.approx(10**requests.ZIPF, rel=0.1)
    assert [path for path, _ in drawn.most_common(5)] != paths[:5]


def test_shares_of_the_mixed_load_are_those_of_a_visit() -> None:
    shares = requests.shares()

    assert sum(shares.values()) == pytest.approx(1)
    assert shares["poll", False] == shares["poll", True] == 12 * shares["first page", False]
    # Anonymous readers write nothing, and have no page of their own.
    assert {kind for (kind, is_signed_in), share in shares.items() if share and not is_signed_in} == {
        *("first page", "trends", "poll", "thread", "profile"),
    }


def test_sample_has_each_kind_and_writes_last() -> None:
    uuid = "5a4a3a2a-0000-4000-8000-000000000000"
    reads = [Request(f"/api/activities/@person_{n}", token) for n in range(50) for token in ("", "token")]
    writes = [Request(f"/api/activities/{uuid}/like", "token", method="PUT"), Request("/x", "token", "{}", "POST")]

    sample = requests.sample([*writes, *reads], seed=1)

    assert set(writes) <= set(sample)
    assert len(sample) < 12
    assert {request.token for request in sample if request.method == "GET"} == {"", "token"}
    methods = [request.method for request in sample]
    assert methods == sorted(methods, key=("GET", "POST", "PUT").index)


def test_each_server_is_checked_with_likes_of_its_own() -> None:
    likes = [Request(f"/api/activities/{UUID(int=n)}/like", "token", method="PUT") for n in range(10_000)]

    assert not set(requests.sample(likes, seed=0)) & set(requests.sample(likes, seed=1))


@pytest.mark.parametrize(
    ("request_", "body", "is_same"),
    [
        (Request("/api/activities/home"), b"[]", True),
        (Request("/api/activities/home"), b"[1]", False),
        (Request("/api/activities", "token", "{}", "POST"), b'{"handle": "lin", "uuid": "7"}', True),
        (Request("/api/activities", "token", "{}", "POST"), b'{"handle": "lin", "uuid": "8"}', False),
    ],
)
def test_peer_with_another_response_is_refused(request_: Request, body: bytes, *, is_same: bool) -> None:
    def ours(request: StubRequest) -> StubResponse:
        is_thread = "/status/" in request.path
        return StubResponse(body=b'{"activity": {"handle": "lin", "uuid": "7"}}' if is_thread else b"[]")

    with http_stub(lambda _: StubResponse(body=body)) as peer, http_stub(ours) as reference:
        servers = [Running(0, url, 0, Path()) for url in (peer, reference)]
        if is_same:
            check(servers[0], servers[1], [request_])
        else:
            with pytest.raises(CommandError, match="unlike this service"):
                check(servers[0], servers[1], [request_])


def test_peer_with_another_second_page_or_without_one_is_refused() -> None:
    def server(last: bytes, **headers: str) -> Callable[[StubRequest], StubResponse]:
        first = StubResponse(body=b"[1]", headers=headers)
        return lambda request: StubResponse(body=last) if "cursor" in request.path else first

    link = '<?cursor=1>; rel="next"'
    with (
        http_stub(server(b"[2]", Link=link)) as peer,
        http_stub(server(b"[3]", Link=link)) as reference,
        http_stub(server(b"")) as last_page,
    ):
        servers = [Running(0, url, 0, Path()) for url in (peer, reference, last_page)]
        check(servers[0], servers[0], [Request("/feed")])
        for one, shown in ((servers[0], "[[1], [2]]"), (servers[2], "[[1]]")):
            with pytest.raises(CommandError, match=re.escape(f"/feed: unlike this service: {shown}")):
                check(one, servers[1], [Request("/feed")])


def test_each_target_is_of_candidates_that_race() -> None:
    for scenario in COMPARISONS.values():
        names = {(server.name, dress) for server in scenario.servers for dress in scenario.dresses}
        names |= {(each.name, each.dress) for each in scenario.alone}
        for target in scenario.targets:
            assert {(target.one, target.dress), (target.other, target.dress)} <= names, scenario.title


def test_figure_that_does_not_apply_is_blank() -> None:
    assert figures([FOUND, FOUND._replace(memory_mb=float("nan"))])[-1] == ""
    assert figures([FOUND]) == ["200", "1.50", "9.0", "100", "50", "80"]


def test_limits_are_inclusive_and_hold_for_every_figure() -> None:
    assert at_least("speed", 1.2, [1.2, 1.3]).is_reached
    assert not at_least("speed", 1.2, [1.19, 1.3]).is_reached
    assert at_most("memory", 90, [90.0], " MB") == ("memory", "≤ 90 MB", "90.00 MB", True)
    assert not at_most("memory", 90, [90.1], " MB").is_reached


def test_document_keeps_text_around_the_marks(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"# Performance\n\nby hand\n\n{BEGIN}\n\nof last time\n\n{END}\n\nby hand too\n")
    findings = Findings("Feeds", "today", [["a", "b"], ["1", "2"]], [at_least("speed", 1, [1.0])], [BAR])

    for _ in range(2):
        write({"feeds": findings}, "Two cores.", document)

    text = document.read_text()
    assert text.startswith(f"# Performance\n\nby hand\n\n{BEGIN}\n\nTwo cores.\n\n![")
    assert text.endswith(f"{END}\n\nby hand too\n")
    assert "of last time" not in text
    assert text.count("### Feeds") == 1
    assert parseString((tmp_path / "performance.svg").read_text())


def test_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="unpack"):
        replaced("# Performance\n", PROGRAM, "what was found")


def test_performance_document_has_its_marks() -> None:
    assert BEGIN in replaced((ROOT / "docs" / "performance.md").read_text(), PROGRAM, "what was found")


def test_missing_findings_file_is_empty(tmp_path: Path) -> None:
    assert load(tmp_path / "performance.json") == {}


def test_chart_is_valid_xml_with_void_bars() -> None:
    document = parseString(chart(TITLE, [BAR, BAR._replace(panel="others", value=0.0, text="void")]))

    texts = [node.firstChild.nodeValue for node in document.getElementsByTagName("text")]
    assert texts.count("Feeds <&>") == 1
    assert texts.count("void") == 1
    assert document.getElementsByTagName("title")[0].firstChild.nodeValue == TITLE
    assert "prefers-color-scheme: dark" in chart(TITLE, [BAR])


def test_table_is_aligned() -> None:
    assert table([["a", "bb"], ["ccc", "d"]]) == "| a   | bb |\n|-----|----|\n| ccc | d  |"


def test_process_tree_starts_with_the_process_and_uses_cpu() -> None:
    assert tree(os.getpid())[0] == os.getpid()
    assert cpu_seconds(os.getpid()) > 0


def test_peers_are_pinned_by_hash_without_an_index_url() -> None:
    text = (PEERS / "requirements.txt").read_text()
    pins = re.findall(r"^[\w.\[\]-]+==\S+", text, re.MULTILINE)
    lock = (PEERS / "fastify" / "package-lock.json").read_text()

    assert len(re.findall(r"^[\w.\[\]-]+==.* \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)) == len(pins) > 20
    assert "://" not in text
    assert lock.count('"integrity": "sha512-') == lock.count('"node_modules/')
    assert '"resolved"' not in lock


def test_unknown_scenario_is_refused_at_once() -> None:
    result = script("bench", "guesses")

    assert result.returncode == 2
    names = "profiles, zipf, home, signed-in, following, thread, notifications, like, posting, mixed, growth, worker"
    assert f"there are {names}" in result.stderr


@pytest.mark.parametrize("server", [FASTAPI, JOURNAL])
def test_peer_in_production_has_a_module_of_its_own(server: Server) -> None:
    changed = set(dressed(server).command) - set(server.command)

    assert changed == {"production:app"}
    (folder,) = (word for word in server.command if isinstance(word, Path))
    assert (folder / "production.py").exists()
    assert dressed(CRUDDUR) == CRUDDUR


def test_stub_reads_a_body_in_chunks() -> None:
    # Node.js sends its spans without a Content-Length.
    bodies: list[bytes] = []

    def respond(request: StubRequest) -> StubResponse:
        bodies.append(request.body)
        return StubResponse()

    with http_stub(respond, keep_alive=True) as url, urllib3.PoolManager() as http:
        http.request("POST", url, body=iter([b"first, ", b"second"]), chunked=True)
        http.request("POST", url, body=b"the next request of the connection")

    assert bodies == [b"first, second", b"the next request of the connection"]

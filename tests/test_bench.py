"""The reports of bin/bench: parsing, ratios, limits and the document. No test measures speed."""

import os
import re
from pathlib import Path
from xml.dom.minidom import parseString

import pytest
import urllib3

from bench.chart import TITLE, Bar, chart
from bench.comparison import Comparison, figures, ratio
from bench.report import PROGRAM, Findings, at_least, at_most, load, write
from bench.servers import CRUDDUR, FASTAPI, JOURNAL, Server, dressed
from harness.markdown import marks, replaced, table
from harness.processes import cpu_seconds, tree
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
    statement = page_statement(USER, USER.order, is_default_limit=False)
    pgbench_text = pgbench_script(statement, limit="20", created_at="now()", uuid="gen_random_uuid()", handle=":handle")

    assert ":handle" in pgbench_text
    assert "%" not in pgbench_text
    assert pgbench_text.endswith(";\n")


def test_request_with_a_body_is_a_post() -> None:
    assert Request("/api/activities/home").line() == "GET\t/api/activities/home\t\t"
    assert Request("/api/activities", "token", "{}").line() == "POST\t/api/activities\ttoken\t{}"


def test_ratio_is_the_median_of_the_rounds_ratios() -> None:
    ours = [FOUND._replace(rate=rate) for rate in (100.0, 400.0, 90.0)]
    theirs = [FOUND._replace(rate=rate) for rate in (100.0, 200.0, 100.0)]

    assert ratio(ours, theirs) == 1.0


def test_failed_request_voids_its_figure() -> None:
    comparison = Comparison({(name, number): [] for name in ("ours", "theirs") for number in (16, 64)})
    for number in (16, 64):
        comparison.add("ours", number, FOUND)
        comparison.add("theirs", number, FOUND._replace(faults="1 not 200" if number == 64 else ""))

    assert comparison.ratios("ours", "theirs") == [1.0, None]
    assert comparison.table()[4][:3] == ["theirs", "64", "void: 1 not 200"]
    assert [bar.text for bar in comparison.bars("Feeds")] == ["200", "200", "200", "void"]
    assert not at_least("feeds", 0.5, comparison.ratios("ours", "theirs")).is_reached


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
    document = parseString(chart([BAR, BAR._replace(panel="others", value=0.0, text="void")]))

    texts = [node.firstChild.nodeValue for node in document.getElementsByTagName("text")]
    assert texts.count("Feeds <&>") == 1
    assert texts.count("void") == 1
    assert document.getElementsByTagName("title")[0].firstChild.nodeValue == TITLE
    assert "prefers-color-scheme: dark" in chart([BAR])


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
    assert "there are reads, production, production-traced, home, signed-in, posting, growth, worker" in result.stderr


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

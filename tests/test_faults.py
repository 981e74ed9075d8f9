"""The drills of bin/faults: the short ones on real processes, and the reports."""

import pytest

from faults.__main__ import DRILLS
from faults.drill import Drill, at_least, at_most, none_of
from faults.report import PROGRAM, Result, document, figures_table
from harness.load import NEVER, Answer, Answers
from harness.markdown import marks, replaced
from ops.command import ROOT
from tests.processes import script

SHORT = [name for name, drill in DRILLS.items() if drill.is_short]


def missed_figures(output: str) -> list[str]:
    """Return the figures that must be 0 and are not. Times depend on the machine and are for bin/faults."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if line[:2] == "| "]
    return [f"{figure}: {value}" for _, figure, wanted, value, reached in rows if (wanted, reached) == ("0", "no")]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_short_drill_reaches_its_figures(name: str) -> None:
    result = script("faults", name, "--short")

    assert "not run to its end" not in result.stdout, result.stdout + result.stderr
    assert missed_figures(result.stdout) == [], result.stdout
    assert "| yes " in result.stdout


@pytest.mark.slow
def test_drill_without_its_protection_misses_a_figure() -> None:
    result = script("faults", "idle-terminated", "--short", "--break")

    assert result.returncode == 0, result.stdout + result.stderr
    assert "| no " in result.stdout


def test_unknown_drill_is_refused_at_once() -> None:
    result = script("faults", "flood")

    assert result.returncode == 2
    assert f"unknown: flood; there are {', '.join(DRILLS)}\n" in result.stderr


def test_limits_are_inclusive() -> None:
    assert at_most("slowest", 250, 250, "ms") == ("slowest", "≤ 250 ms", "250 ms", True)
    assert not at_most("slowest", 250, 250.1, "ms").is_reached
    assert not at_most("first write", 5, NEVER, "s").is_reached
    assert at_least("answered", 80, 80, "%").is_reached
    assert not at_least("answered", 80, 79.9, "%").is_reached
    assert none_of("lost", 0).is_reached
    assert not none_of("lost", 1).is_reached


ANSWERS = Answers([Answer(sent=0, seconds=1, status=200), Answer(2, 0.1, 503), Answer(2, 3, 200), Answer(6, 0.1, 200)])


def test_first_success_after_an_outage_may_have_been_sent_during_it() -> None:
    assert ANSWERS.first_ok(since=4) == ANSWERS[2]
    assert ANSWERS.first_ok(since=4, limit=1) == ANSWERS[3]
    assert ANSWERS.first_ok(since=7) is None


def test_hanging_request_counts_in_the_interval_of_its_end() -> None:
    assert ANSWERS.within(3, 4) == [ANSWERS[2]]
    assert ANSWERS.slowest == 3
    assert Answers().slowest == 0
    assert ANSWERS.p99 < 3


def test_only_the_503_of_the_database_is_a_refusal() -> None:
    assert Answer(0, 1, 503, b'["service_unavailable"]').is_database_unavailable
    assert not Answer(0, 1, 503, b'["generic_500"]').is_database_unavailable
    assert not Answer(0, 1, 200, b"[]").is_database_unavailable


def drill(name: str) -> Drill:
    """Return a drill that is reported, and not run."""
    return Drill(name, "what is done", "what protects", lambda: iter([]), is_short=False, short={})


def test_failed_drill_is_neither_reached_nor_missed() -> None:
    finding = Result(drill("disk-full"), [], "mount: permission denied")

    assert not finding.is_reached
    assert not finding.is_missed
    assert "not run to its end: mount: permission denied" in figures_table([finding])


def test_document_keeps_text_around_the_marks() -> None:
    result = Result(drill("outage"), [at_most("first 200", 2, 0.5, "s"), none_of("lost", 3)])

    text = document([result], "Two cores.", (ROOT / "docs" / "failures.md").read_text())

    assert text.startswith("# ")
    assert text.count(marks(PROGRAM)[0]) == 1
    assert "| outage | first 200 | ≤ 2 s  | 0.5 s    | yes     |" in text
    assert "| outage | lost      | 0      | 3        | no      |" in text
    assert "| outage | what is done | what protects " in text
    with pytest.raises(ValueError, match="unpack"):
        replaced("# Failures\n", PROGRAM, "what was found")

"""The exporter: spans go by the batch, figures at their interval, and neither is in the other's way."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from lib.errors import is_fault
from lib.otlp import Exporter
from lib.telemetry import Destination, Telemetry
from lib.tracing import Trace, new_id
from tests.collector import Collector, collecting, spans_of
from tests.running import eventually

NEVER = 3600
AT_ONCE = 0.01


@pytest.fixture
def collector() -> Iterator[Collector]:
    """The collector."""
    with collecting() as collector:
        yield collector


def exporter(collector: Collector, **rules: Any) -> Exporter:
    """One that sends spans when a batch is full, and figures, of which there are none, at its end."""
    traces, metrics = Destination(f"{collector.url}/v1/traces", {}), Destination(f"{collector.url}/v1/metrics", {})
    usual = Telemetry(traces=traces, metrics=metrics, interval=NEVER, delay=NEVER)
    return Exporter(replace(usual, **rules), list)


def trace() -> Trace:
    """A trace of one span."""
    made = Trace(new_id(16), None, is_fault)
    with made.root("GET"):
        return made


def sizes(collector: Collector) -> list[int]:
    """How many spans each request brought."""
    return [len(spans_of(request)) for request in collector.traces]


def test_spans_go_by_the_batch_also_when_some_come_meanwhile(collector: Collector) -> None:
    sending = exporter(collector, batch=2)

    # While the first batch is being sent, the fifth is half of one.
    collector.is_open.clear()
    for _ in range(5):
        sending.keep(trace())
    collector.is_open.set()
    eventually(lambda: sum(sizes(collector)) >= 4)
    sending.keep(trace())
    sending.close()

    assert sizes(collector) == [2, 2, 2]


def test_what_is_no_batch_goes_when_its_time_has_come(collector: Collector) -> None:
    sending = exporter(collector, batch=100, delay=AT_ONCE)
    sending.keep(trace())

    eventually(lambda: sizes(collector) == [1])
    sending.close()


def test_a_queue_takes_what_it_holds_and_again_once_that_is_sent(collector: Collector) -> None:
    sending = exporter(collector, batch=2, queue=3)
    collector.is_open.clear()
    for _ in range(2):
        sending.keep(trace())
    # What is under way waits no more.
    eventually(lambda: sending.waiting == 0)

    for _ in range(5):
        sending.keep(trace())
    collector.is_open.set()
    sending.close()

    assert sum(sizes(collector)) == 2 + 3


def test_figures_alone_leave_nothing_waiting(collector: Collector) -> None:
    sending = exporter(collector, traces=None, interval=AT_ONCE, delay=AT_ONCE)
    eventually(lambda: len(collector.metrics) >= 3)
    sending.close()

    assert sending.waiting == 0
    assert collector.traces == []


def test_batches_that_keep_coming_do_not_hold_the_figures_up(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending, take = exporter(collector, batch=1, interval=AT_ONCE), collector.take

    def one_for_one(*request: Any) -> None:
        take(*request)
        if not collector.metrics and len(collector.traces) < 500:
            sending.keep(trace())

    # While a batch is being sent the next is filled: there is always one.
    monkeypatch.setattr(collector, "take", one_for_one)
    sending.keep(trace())
    eventually(lambda: bool(collector.metrics))

    assert len(collector.traces) < 500
    sending.close()

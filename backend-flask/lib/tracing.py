"""Spans, in OpenTelemetry's terms: one trace a request, of which the hot path keeps plain values and no more.

The SDK takes 19 us to record a span and 14 to encode it, three times a request; this takes 2 and 2. What
goes out is the same: lib/otlp_messages.py fills the protocol's own messages. docs/performance.md has the figures.
"""

import random
import re
import time
from collections.abc import Mapping
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

# https://www.w3.org/TR/trace-context/#traceparent-header; of a later version its first parts count.
TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SAMPLED = 1
SAMPLERS = [f"{kind}{name}" for kind in ("", "parentbased_") for name in ("always_on", "always_off", "traceidratio")]


class Parent(NamedTuple):
    """The span that a request came from."""

    trace_id: bytes
    span_id: bytes
    is_sampled: bool
    state: str = ""

    @classmethod
    def of(cls, environ: Mapping[str, Any]) -> Self | None:
        """What the headers `traceparent` and `tracestate` of a request say; None where the first is none."""
        found = TRACEPARENT.fullmatch(environ["HTTP_TRACEPARENT"])
        if found is None or (found[1] == "00" and found[5]):
            return None
        flags = int(found[4], 16)
        return cls(
            bytes.fromhex(found[2]), bytes.fromhex(found[3]), bool(flags & SAMPLED), environ.get("HTTP_TRACESTATE", "")
        )


class Span:
    """A step of a request, from when it is entered to when it is left. Times are in nanoseconds since the epoch."""

    __slots__ = ("_token", "attributes", "end", "error", "name", "parent_id", "span_id", "start", "trace")

    def __init__(self, trace: "Trace", name: str, parent_id: bytes) -> None:
        self.trace = trace
        self.name = name
        self.parent_id = parent_id
        self.span_id = new_id(8)
        self.attributes: dict[str, str | int | float] = {}
        # The class of the exception that was our fault. Its text may quote a row.
        self.error = ""
        self.start = time.time_ns()
        self.end = 0
        self._token: Token[Span | None] | None = None

    def set_attribute(self, name: str, value: str | float) -> None:
        """Say something of it."""
        self.attributes[name] = value

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(self, _: object, error: BaseException | None, traceback: object) -> None:
        self.end = time.time_ns()
        if self._token is not None:
            _current.reset(self._token)
        if error is not None and self.trace.is_fault(error):
            self.error = type(error).__name__
        self.trace.spans.append(self)


class NoSpan:
    """In place of a span that nobody will see."""

    def set_attribute(self, name: str, value: str | float) -> None:
        """Forget it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


NO_SPAN = NoSpan()
_current: ContextVar[Span | None] = ContextVar("span", default=None)


class Trace:
    """The spans of one request, in the order in which they ended."""

    __slots__ = ("is_fault", "parent", "spans", "trace_id")

    def __init__(self, trace_id: bytes, parent: Parent | None, is_fault: Any) -> None:
        self.trace_id = trace_id
        self.parent = parent
        self.is_fault = is_fault
        self.spans: list[Span] = []

    def root(self, name: str) -> Span:
        """The request's own span."""
        return Span(self, name, self.parent.span_id if self.parent else b"")


def span(name: str) -> Span | NoSpan:
    """A span around one step, below the one that is current; nothing where the request is not traced."""
    current = _current.get()
    return NO_SPAN if current is None else Span(current.trace, name, current.span_id)


def use_case(name: str) -> Span | NoSpan:
    """A span around one use case, with the time of day that it is for."""
    current = span(name)
    if current is not NO_SPAN:
        current.set_attribute("app.now", datetime.now(UTC).isoformat())
    return current


def set_attribute(name: str, value: str | float) -> None:
    """Say something of the step that is current."""
    current = _current.get()
    if current is not None:
        current.set_attribute(name, value)


def new_id(size: int) -> bytes:
    """A random id of so many bytes (https://www.w3.org/TR/trace-context/#randomness-of-trace-id). Not for secrets."""
    return random.getrandbits(8 * size).to_bytes(size, "big")


class Sampler(NamedTuple):
    """Which requests are traced: a share of them, and, when `follows`, those whose parent is."""

    share: float = 1.0
    follows: bool = True

    @classmethod
    def of(cls, name: str, share: float) -> Self:
        """The one of that name in OTEL_TRACES_SAMPLER, with the share that OTEL_TRACES_SAMPLER_ARG gives."""
        kind = name.removeprefix("parentbased_")
        shares = {"always_on": 1.0, "always_off": 0.0, "traceidratio": share}
        return cls(shares[kind], follows=name != kind)

    def takes(self, trace_id: bytes, parent: Parent | None) -> bool:
        """Whether a request is traced: by its trace's id, so that all who see it decide alike."""
        if self.follows and parent is not None:
            return parent.is_sampled
        return int.from_bytes(trace_id[8:], "big") < self.share * 2**64

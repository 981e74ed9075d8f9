"""A trace on the terminal, as a tree."""

import sys

from lib.tracing import Span, Trace


def show(trace: Trace) -> None:
    """Print the trace, each span below the one that it is part of, in one write."""
    ids = {span.span_id for span in trace.spans}
    roots = [span for span in trace.spans if span.parent_id not in ids]
    sys.stderr.write("".join(f"{line}\n" for root in roots for line in lines(trace, root, 0)))


def lines(trace: Trace, span: Span, depth: int) -> list[str]:
    """The span and all below it."""
    said = " ".join(f"{name}={value}" for name, value in span.attributes.items())
    fault = f" FAILED {span.error}" if span.error else ""
    line = f"{'  ' * depth}{span.name} {(span.end - span.start) / 1e6:.2f} ms{fault} {said}"
    below = sorted((each for each in trace.spans if each.parent_id == span.span_id), key=lambda each: each.start)
    return [line, *(line for each in below for line in lines(trace, each, depth + 1))]

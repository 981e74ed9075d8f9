"""Tables in Markdown, and the part of a document that a program writes between two marks."""

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table with aligned columns. The first row is its heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *body = [f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows]
    return "\n".join([head, f"|{'|'.join('-' * (width + 2) for width in widths)}|", *body])


def marks(program: str) -> tuple[str, str]:
    """Return the lines before and after the part that the program writes."""
    return f"<!-- What follows is written by {program}. -->", f"<!-- What precedes is written by {program}. -->"


def replaced(text: str, program: str, block: str) -> str:
    """Return the text with `block` as the program's part. Raises `ValueError` without marks."""
    begin, end = marks(program)
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n\n{block}\n\n{end}{after}"

"""bin/screenshot, which makes the README's pictures."""

from pathlib import Path

import pytest

from tests.processes import script

pytestmark = pytest.mark.slow

SIGNATURE = b"\x89PNG"


def test_pictures_are_taken(tmp_path: Path, chromium: object) -> None:
    assert chromium
    result = script("screenshot", str(tmp_path))

    assert result.stdout == f"Wrote page-light.png, page-dark.png into {tmp_path}\n"
    pictures = [(tmp_path / f"page-{scheme}.png").read_bytes() for scheme in ("light", "dark")]
    assert [picture[:4] for picture in pictures] == [SIGNATURE, SIGNATURE]
    assert pictures[0] != pictures[1]

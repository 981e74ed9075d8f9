"""As many requests as wrk can make, and how many answers there were of each status."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.environment import Ground
from harness.wrk import output

LUA = Path(__file__).with_name("rush.lua")


class Rush(NamedTuple):
    """A run: how long it took, milliseconds of all but the slowest hundredth, answers by status, and no answers."""

    seconds: float
    p99: float
    answers: dict[str, int]
    unanswered: int

    @property
    def rate(self) -> float:
        """Answers of 200 a second."""
        return self.answers.get("status 200", 0) / self.seconds

    @property
    def odd(self) -> int:
        """How many requests were answered neither 200 nor 503, or not at all."""
        odd = sum(count for status, count in self.answers.items() if status not in {"status 200", "status 503"})
        return odd + self.unanswered


def rush(url: str, paths: Sequence[str], connections: int, seconds: int) -> Rush:
    """Ask the server at `url` for the paths, at random. Raises `CommandError`."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("".join(f"{path}\n" for path in paths))
        file.flush()
        options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(LUA)]
        said = output("wrk", *options, url, "--", file.name)
    return Rush(**json.loads(said.splitlines()[-1]))


def profiles(postgres: Ground) -> list[str]:
    """Everybody's page, which is read from the database each time."""
    return [f"/api/activities/@{person.handle}" for person in postgres.people]

"""Users who write, and repeat a message until it is acknowledged."""

import time
from collections.abc import Sequence
from itertools import count

from faults.drill import Figures, none_of
from harness.environment import Person, Postgres
from harness.figures import Figure
from harness.load import Answer, Answers, Client
from harness.waiting import wait_until

PREFIX = "a drill's message"
PATH = "/api/activities"
PAUSE, PATIENCE = 0.02, 60
WRITTEN = "SELECT activities.message, activities.uuid FROM activities WHERE activities.message LIKE %s"


class Writers:
    """The messages of `people` and the answers to them. For many threads.

    With `keyed` each repetition has the Idempotency-Key of the first attempt.
    """

    def __init__(self, people: Sequence[Person], *, keyed: bool = True) -> None:
        self.answers = Answers()
        # The messages' uuids by their texts.
        self.acknowledged: dict[str, str] = {}
        self._people = people
        self._keyed = keyed
        self._numbers = count()

    def write(self, client: Client) -> Answer:
        """Write a new message, as often as it takes. Return the last answer."""
        number = next(self._numbers)
        author = self._people[number % len(self._people)]
        message, key = f"{PREFIX} {number}", f"drill-{number}" if self._keyed else ""
        begun = time.monotonic()
        while True:
            answer = client.post(PATH, author.token, {"message": message, "ttl": "1-day"}, key)
            self.answers.append(answer)
            if answer.is_ok:
                self.acknowledged[message] = answer.json()["uuid"]
            if answer.is_ok or time.monotonic() - begun > PATIENCE:
                return answer
            time.sleep(PAUSE)

    def wait_for(self, more: int) -> None:
        """Wait until so many more messages are acknowledged. Raises `CommandError`."""
        goal = len(self.acknowledged) + more
        wait_until(lambda: len(self.acknowledged) >= goal, f"the acknowledgement of {goal} messages", PATIENCE)

    def lost_and_doubled(self, postgres: Postgres) -> Figures:
        """Yield the figures of acknowledged messages that the database does not have, and of those it has twice."""
        rows = [(text, str(uuid)) for text, uuid in postgres.rows(WRITTEN, f"{PREFIX}%")]
        lost = self.acknowledged.items() - set(rows)
        yield none_of(f"lost of {len(self.acknowledged):,} acknowledged writes", len(lost))
        yield none_of("doubled", len(rows) - len({text for text, _ in rows}))

    def neither_200_nor_503(self) -> Figure:
        """Return the figure of other answers than 200 and the 503 of the database."""
        odd = sum(not answer.is_ok and not answer.is_database_unavailable for answer in self.answers)
        return none_of("answers that are neither 200 nor 503", odd)

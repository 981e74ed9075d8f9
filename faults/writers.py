"""People who write, and do not give up on a message before it is acknowledged."""

import time
from collections.abc import Sequence
from http import HTTPStatus
from itertools import count

from harness.environment import Ground, Person
from harness.load import Answer, Client
from lib.command_errors import CommandError

PREFIX = "a drill's message"
PATH = "/api/activities"
PAUSE, GIVE_UP_SECONDS = 0.02, 60


def is_refusal(answer: Answer) -> bool:
    """Whether it is the 503 of a database that is away, too slow or full."""
    return answer.status == HTTPStatus.SERVICE_UNAVAILABLE and answer.json() == ["service_unavailable"]


class Writers:
    """What `people` have written, and what they were told of it. For many threads.

    A message is sent again until it is acknowledged, with the same Idempotency-Key each time if they are `keyed`.
    """

    def __init__(self, people: Sequence[Person], *, keyed: bool = True) -> None:
        self.answers: list[Answer] = []
        # The messages' uuids by their texts.
        self.acknowledged: dict[str, str] = {}
        self._people = people
        self._keyed = keyed
        self._numbers = count()

    def write(self, client: Client) -> Answer:
        """Write a new message, as often as it takes. The last answer."""
        number = next(self._numbers)
        author = self._people[number % len(self._people)]
        message = f"{PREFIX} {number}"
        begun = time.monotonic()
        while True:
            answer = client.post(PATH, author.token, {"message": message, "ttl": "1-day"}, self._key(number))
            self.answers.append(answer)
            if answer.is_ok:
                self.acknowledged[message] = answer.json()["uuid"]
            if answer.is_ok or time.monotonic() - begun > GIVE_UP_SECONDS:
                return answer
            time.sleep(PAUSE)

    def _key(self, number: int) -> str:
        return f"drill-{number}" if self._keyed else ""

    def wait_for(self, more: int) -> None:
        """Wait until so many more messages are acknowledged. Raises `CommandError`."""
        wanted = len(self.acknowledged) + more
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while len(self.acknowledged) < wanted:
            if time.monotonic() > deadline:
                raise CommandError(f"only {len(self.acknowledged)} of {wanted} messages are acknowledged")
            time.sleep(0.01)

    def lost(self, postgres: Ground) -> int:
        """How many acknowledged messages the database does not have."""
        kept = {(text, str(uuid)) for text, uuid in self._kept(postgres)}
        return sum(each not in kept for each in self.acknowledged.items())

    def doubled(self, postgres: Ground) -> int:
        """How many messages the database has more than once."""
        texts = [text for text, _ in self._kept(postgres)]
        return len(texts) - len(set(texts))

    def odd(self) -> int:
        """How many answers were neither 200 nor 503 with its code."""
        return sum(not answer.is_ok and not is_refusal(answer) for answer in self.answers)

    def _kept(self, postgres: Ground) -> list[tuple[str, str]]:
        statement = "SELECT activities.message, activities.uuid FROM activities WHERE activities.message LIKE %s"
        return [(text, uuid) for text, uuid in postgres.rows(statement, f"{PREFIX}%")]

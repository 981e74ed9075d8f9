"""Cognito's keys away: who has a token of a key that is known goes on."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread

from joserfc.jwk import RSAKey

from bench.processes import Running
from faults.drill import Figure, at_most, none_of
from faults.ground import PROCESSES, Ground, ground, serving
from faults.load import Answer, Client, load, not_ok
from faults.silent import silent
from lib.cognito import MIN_REFRESH_INTERVAL_SECONDS
from lib.command_errors import CommandError
from ops import dev_keys
from ops.dev_token import create_access_token

# Who is signed in asks for what is theirs alone.
PATH = "/api/activities/notifications"
# New connections come slowly enough that the machine does not run out of ports for them.
KNOWN, STRANGERS, PAUSE = 4, 2, 0.02
WAIT_SECONDS = 10
SUBS = "SELECT users.cognito_user_id FROM users ORDER BY users.uuid"


class KeySet(BaseHTTPRequestHandler):
    """The pool's key set, until it is gone."""

    def do_GET(self) -> None:
        """Send it."""
        self.send_response(HTTPStatus.OK)
        self.end_headers()
        self.wfile.write(dev_keys.jwks_path().read_bytes())
        self.server.asked += 1  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class KeyServer(ThreadingHTTPServer):
    """Where the key set is. It counts."""

    asked = 0


@contextmanager
def key_server() -> Iterator[KeyServer]:
    """Where the key set is, while this lasts; the port is free again afterwards."""
    with KeyServer(("127.0.0.1", 0), KeySet) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def keys_away(seconds: int, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Have the keys away for so many seconds; `broken`: before they were ever known."""
    stranger = RSAKey.generate_key(2048, {"kid": "stranger"}, auto_kid=False)
    with ground() as postgres, key_server() as server:
        url = f"http://127.0.0.1:{server.server_port}/jwks.json"
        with serving(postgres.url, AWS_COGNITO_JWKS_URL=url) as service:
            if not broken:
                make_known(service, server, postgres)
            server.shutdown()
            server.server_close()
            with (
                silent(server.server_port) as nobody,
                load(service.url, KNOWN, asking(dev_keys.load_or_create(), postgres), pause=PAUSE) as known,
                load(service.url, STRANGERS, asking(stranger, postgres), pause=PAUSE) as strange,
            ):
                time.sleep(seconds)
            look_ups = len(nobody.connections)
    taken_in = sum(answer.status != HTTPStatus.UNAUTHORIZED for answer in strange)
    each = 1 + seconds // MIN_REFRESH_INTERVAL_SECONDS
    yield none_of(f"refused of {len(known):,} tokens of a known key", not_ok(known))
    yield none_of(f"answered other than 401 of {len(strange):,} tokens of an unknown key", taken_in)
    yield at_most(f"look-ups by {PROCESSES} processes in {seconds} s", int(PROCESSES) * each, look_ups, "look-ups")


def make_known(service: Running, server: KeyServer, postgres: Ground) -> None:
    """Ask until each of the service's processes has asked for the keys. Raises `CommandError`."""
    ask = asking(dev_keys.load_or_create(), postgres)
    deadline = time.monotonic() + WAIT_SECONDS
    while server.asked < int(PROCESSES):
        ask(Client(service.url))
        if time.monotonic() > deadline:
            raise CommandError("not every process of the service asks for the keys")


def asking(key: RSAKey, postgres: Ground) -> Callable[[Client], Answer]:
    """A step: to ask for one's notifications, as somebody else and with a new token each time."""
    subs = [str(sub) for (sub,) in postgres.rows(SUBS)]
    numbers = count()

    def ask(client: Client) -> Answer:
        answer = client.get(PATH, create_access_token(key, subs[next(numbers) % len(subs)]))
        # The next one comes to whichever process has a turn.
        client.close()
        return answer

    return ask

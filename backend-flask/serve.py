"""The service as it runs in production: granian, and an application in each of its processes."""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server import MPServer

from app import create_app
from lib.config import Config
from lib.draining import drain
from lib.failure import Failure
from lib.logs import REQUESTS, STDERR, configure_logging
from lib.pool import THREADS
from lib.request_log import log_context
from lib.startup import check_database, check_key_set, check_port

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# From the word to stop to the end, drained or not: what still runs is cut off after this many seconds.
STOP_SECONDS = 24
# Longer ones, such as files, are not held in memory as a whole.
MAX_JOINED_BYTES = 1024 * 1024


# What is called of granian here has no types: hence each `no-untyped-call`.
class Server(MPServer):
    """granian, which on SIGTERM first has everybody told to go elsewhere, while it serves on."""

    drain_seconds = 0

    def signal_handler_interrupt(self, *given: Any, **named: Any) -> None:
        """Note that it is to stop. Ctrl-C is in a hurry, and so is whoever says it twice."""
        if given[0] == signal.SIGINT or self.interrupt_signal:
            self.drain_seconds = 0
        super().signal_handler_interrupt(*given, **named)  # type: ignore[no-untyped-call]

    def shutdown(self, exit_code: int = 0) -> None:
        """Drain, and stop."""
        drain()
        end = time.monotonic() + self.drain_seconds
        # Not by an event: the handler that would set it runs in this thread, perhaps while the event's lock is held.
        while time.monotonic() < end and self.drain_seconds:
            time.sleep(0.05)
        super().shutdown(exit_code)  # type: ignore[no-untyped-call]


def worker() -> "WSGIApplication":
    """The application of one worker process, whose pool and exporter start after the fork."""
    config = Config.load()
    configure_logging(is_json=not os.isatty(STDERR), context=log_context)
    logging.getLogger(REQUESTS).setLevel(config.log_level.upper())
    return with_short_bodies_joined(create_app(config))


def with_short_bodies_joined(app: "WSGIApplication") -> "WSGIApplication":
    """Return the application with each short body of known length as a list.

    Flask's response is an iterable, which granian asks for piece by piece: docs/performance.md has what that costs.
    A streamed response has no length, and stays as it is.
    """

    def joined(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        lengths: list[str] = []

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            lengths.extend(value for name, value in headers if name == "Content-Length")
            return start_response(status, headers, *exc_info)

        body = app(environ, start)
        if not lengths or int(lengths[0]) > MAX_JOINED_BYTES:
            return body
        try:
            return [b"".join(body)]
        finally:
            if hasattr(body, "close"):
                body.close()

    return joined


def end_on_signals() -> None:
    """Let SIGTERM and SIGINT end this process at once."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def main() -> None:
    """Serve until SIGTERM or SIGINT. Exits with 1 and a line for each fault of the setup."""
    try:
        config = Config.load()
        check_port(config)
        check_key_set(config)
        check_database(config)
    except Failure as failure:
        sys.exit("\n".join(f"cruddur: {line}" for line in str(failure).splitlines()))
    # A worker inherits the handlers of granian's main process, which in a worker do nothing: a
    # signal that comes before granian has set the worker's own would be lost, and the worker stay.
    os.register_at_fork(after_in_child=end_on_signals)
    server = Server(
        "serve:worker",
        factory=True,
        interface=Interfaces.WSGI,
        address=config.host,
        port=config.port,
        workers=config.workers,
        blocking_threads=THREADS,
        # Its warnings tell of a worker that "refused to stop" also when it has just stopped.
        log_level=LogLevels.error,
        # Without handlers of its own, which print to standard output: its records come to ours.
        log_dictconfig={"loggers": {}},
        respawn_failed_workers=True,
        respawn_interval=0.2,
        workers_kill_timeout=STOP_SECONDS - config.drain,
    )
    server.drain_seconds = config.drain
    configure_logging(is_json=not os.isatty(STDERR), context=dict)
    server.serve()


if __name__ == "__main__":
    main()

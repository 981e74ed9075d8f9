"""The service as it runs in production: granian, and an application in each of its processes."""

import os
import signal
import sys

from flask import Flask
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from app import create_app
from lib.config import Config
from lib.failure import Failure
from lib.pool import THREADS
from lib.startup import check_database, check_key_set, check_port
from lib.tracing import start_tracing

# Requests that still run at a stop are cut off after this many seconds.
KILL_TIMEOUT = 20


def worker() -> Flask:
    """The application of one worker process, whose pool and exporter start after the fork."""
    config = Config.from_env(os.environ)
    start_tracing(config.traces_exporter)
    return create_app(config)


def end_on_signals() -> None:
    """Let SIGTERM and SIGINT end this process at once."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def main() -> None:
    """Serve until SIGTERM or SIGINT. Exits with 1 and a line for each fault of the setup."""
    try:
        config = Config.from_env(os.environ)
        check_port(config)
        check_key_set(config)
        check_database(config)
    except Failure as failure:
        sys.exit("\n".join(f"cruddur: {line}" for line in str(failure).splitlines()))
    # A worker inherits the handlers of granian's main process, which in a worker do nothing: a
    # signal that comes before granian has set the worker's own would be lost, and the worker stay.
    os.register_at_fork(after_in_child=end_on_signals)
    Granian(
        "serve:worker",
        factory=True,
        interface=Interfaces.WSGI,
        address=config.host,
        port=config.port,
        workers=config.workers,
        blocking_threads=THREADS,
        # Its warnings tell of a worker that "refused to stop" also when it has just stopped.
        log_level=LogLevels.error,
        respawn_failed_workers=True,
        respawn_interval=0.2,
        workers_kill_timeout=KILL_TIMEOUT,
    ).serve()


if __name__ == "__main__":
    main()

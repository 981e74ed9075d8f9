"""The service as it runs in production: granian, and an application in each of its processes."""

import logging
import multiprocessing
import os
import resource
import signal

# Python's own handler would show a traceback, here of the imports that follow. granian sets another.
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import socket
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import MPServer

from app import create_app
from lib import telemetry
from lib.checks import check_database, check_key_set, check_port
from lib.command_errors import ConfigError, deprecated
from lib.config import Config
from lib.draining import drain
from lib.logs import REQUESTS, STDERR, configure_logging
from lib.pool import THREADS
from lib.purge import purge_forever
from lib.request_log import log_context

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# From the word to stop to the end, drained or not: what still runs is cut off after this many seconds.
STOP_SECONDS = 24
# Longer ones, such as files, are not held in memory as a whole.
MAX_JOINED_BYTES = 1024 * 1024
# A request's line and headers. granian answers longer ones with 431.
MAX_HEADER_BYTES = 16 * 1024
# Of one worker; more wait in the socket's backlog. Each may hold the largest response, 0.4 MB.
MAX_CONNECTIONS = 1024
# For each connection, and all else that a process opens.
DESCRIPTORS = 2 * MAX_CONNECTIONS
# Of which granian and the pool may have more than 64 besides connections. A worker without them does not start.
MIN_DESCRIPTORS = 256
# For how long a client may leave a response unread.
UNREAD_SECONDS = 20
# From linux/tcp.h: the module socket has it on Linux alone.
TCP_USER_TIMEOUT = 18


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
    logging.getLogger(REQUESTS).setLevel(logging.INFO if config.has_access_log else logging.WARNING)
    threading.Thread(target=end_with_parent, name="end with parent", daemon=True).start()
    threading.Thread(target=limit_unread_responses, args=[config.port], name="listener", daemon=True).start()
    app = create_app(config)
    # After create_app, which sets up what it exports its metrics by.
    threading.Thread(target=purge_forever, args=[config.conninfo()], name="purge", daemon=True).start()
    return with_short_bodies_joined(app)


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


def end_with_parent() -> None:
    """Stop this worker when the main process has ended without stopping it: the next start needs the port."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def limit_unread_responses(port: int) -> None:
    """Have the kernel end connections whose client leaves a response unread for `UNREAD_SECONDS`. On Linux alone.

    granian has no such limit, and no access to its listening socket, from which connections inherit the option.
    """
    descriptors = Path("/proc/self/fd")
    while descriptors.exists():
        for descriptor in descriptors.iterdir():
            # One that has been closed meanwhile, or is no socket: the copy would stay open.
            if not descriptor.is_socket():
                continue
            with suppress(OSError), socket.socket(fileno=os.dup(int(descriptor.name))) as listener:
                if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and listener.getsockname()[1] == port:
                    listener.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
                    return
        time.sleep(0.01)


def raise_descriptor_limit() -> int:
    """Allow this process and its workers as many open files as they may need, or as many as the system lets them.

    Return the limit. Raises `ConfigError` when a worker could not even start.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if wanted < MIN_DESCRIPTORS:
        raise ConfigError(f"the limit of open files is {hard}: raise it (ulimit -Hn) to {MIN_DESCRIPTORS} or more")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def max_connections(descriptors: int) -> int:
    """Return how many connections a worker may accept: a worker that runs out of open files crashes."""
    return min(MAX_CONNECTIONS, descriptors // 2)


def end_on_signals() -> None:
    """Let SIGTERM and SIGINT end this process at once."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def main() -> None:
    """Serve until SIGTERM or SIGINT. Exits with 1 and a line for each fault of the setup."""
    try:
        config = Config.load()
        telemetry.check(config)
        check_port(config)
        check_key_set(config)
        check_database(config)
        descriptors = raise_descriptor_limit()
    except ConfigError as failure:
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
        # Never HTTP/2 without TLS, which granian would take: 8 KB of it can hold a worker for a minute.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=config.idle_timeout * 1000, max_buffer_size=MAX_HEADER_BYTES),
        websockets=False,
        backpressure=max_connections(descriptors),
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
    if config.log_level:
        access_log = "on" if config.has_access_log else "off"
        logging.getLogger("cruddur").warning(deprecated("LOG_LEVEL", f"ACCESS_LOG={access_log}"))
    server.serve()


if __name__ == "__main__":
    main()

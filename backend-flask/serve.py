"""The production server: granian, with one application in each worker process."""

import logging
import multiprocessing
import os
import resource
import signal

# On Ctrl-C Python's handler would print a traceback of the imports below. granian later sets its own handler.
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
from lib.checks import check_database, check_key_set, check_port, check_standby
from lib.command_errors import ConfigError, deprecated
from lib.config import Config
from lib.draining import drain
from lib.logs import REQUESTS, STDERR, configure_logging
from lib.pool import THREADS
from lib.purge import purge_forever
from lib.request_log import log_context

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# The limit from the stop signal to the process's end, draining included. Requests that still run then are cut off.
STOP_SECONDS = 24
# The largest body that is joined in memory. Longer ones, such as files, are streamed.
MAX_JOINED_BYTES = 1024 * 1024
# A request's line and headers. granian answers longer ones with 431.
MAX_HEADER_BYTES = 16 * 1024
# Connections of one worker. More wait in the socket's backlog. Each may hold the largest response, 0.4 MB.
MAX_CONNECTIONS = 1024
# Open files of one worker: its connections, and all other files of the process.
DESCRIPTORS = 2 * MAX_CONNECTIONS
# Besides connections granian and the pool may have more than 64 open files. A worker with fewer does not start.
MIN_DESCRIPTORS = 256
# The time for which a client may leave a response unread.
UNREAD_SECONDS = 20
# From linux/tcp.h. Python's module socket has this constant on Linux alone.
TCP_USER_TIMEOUT = 18


# granian's methods have no types: hence each `no-untyped-call`.
class Server(MPServer):
    """granian with graceful shutdown: after SIGTERM it serves on for `drain_seconds` while clients go elsewhere."""

    drain_seconds = 0

    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:
        """Start the shutdown. After SIGINT, or a second signal, it skips draining."""
        if args[0] == signal.SIGINT or self.interrupt_signal:
            self.drain_seconds = 0
        # granian's methods have no types.
        super().signal_handler_interrupt(*args, **kwargs)  # type: ignore[no-untyped-call]

    def shutdown(self, exit_code: int = 0) -> None:
        """Drain, and stop."""
        drain()
        end = time.monotonic() + self.drain_seconds
        # This loop polls: a signal handler runs in this thread, and could deadlock on the lock of an event.
        while time.monotonic() < end and self.drain_seconds:
            time.sleep(0.05)
        super().shutdown(exit_code)  # type: ignore[no-untyped-call]


def worker() -> "WSGIApplication":
    """Return the application of one worker process. Its pool and exporters start here, after the fork."""
    config = Config.load()
    configure_logging(is_json=not os.isatty(STDERR), context=log_context)
    logging.getLogger(REQUESTS).setLevel(logging.INFO if config.has_access_log else logging.WARNING)
    threading.Thread(target=end_with_parent, name="end with parent", daemon=True).start()
    threading.Thread(target=limit_unread_responses, args=[config.port], name="listener", daemon=True).start()
    app = create_app(config)
    # The purge starts after create_app, which sets up the exporter of its metrics.
    ledger = Path(config.deletion_ledger) if config.deletion_ledger else None
    threading.Thread(target=purge_forever, args=[config.conninfo(), ledger], name="purge", daemon=True).start()
    return with_short_bodies_joined(app)


def with_short_bodies_joined(app: "WSGIApplication") -> "WSGIApplication":
    """Return the application with each short body of known length as a list.

    granian reads the iterable of a Flask response piece by piece: docs/performance.md has the cost.
    A streamed response has no length, and stays unchanged.
    """

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
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

    return application


def end_with_parent() -> None:
    """Stop this worker when the main process has died without stopping it: the next start needs the port."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def limit_unread_responses(port: int) -> None:
    """Have the kernel close connections whose client leaves a response unread for `UNREAD_SECONDS`. On Linux alone.

    granian has no such limit. Connections inherit the option from the listening socket, which granian does not expose.
    """
    descriptors = Path("/proc/self/fd")
    while descriptors.exists():
        for descriptor in descriptors.iterdir():
            # A closed descriptor, or one that is no socket. socket() would fail for it and leave its duplicate open.
            if not descriptor.is_socket():
                continue
            with suppress(OSError), socket.socket(fileno=os.dup(int(descriptor.name))) as listener:
                if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and listener.getsockname()[1] == port:
                    listener.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
                    return
        time.sleep(0.01)


def raise_descriptor_limit() -> int:
    """Raise this process's and its workers' limit of open files to `DESCRIPTORS`, or as far as the system allows.

    Return the limit. Raises `ConfigError` when a worker could not even start.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if limit < MIN_DESCRIPTORS:
        raise ConfigError(f"the limit of open files is {hard}: raise it (ulimit -Hn) to {MIN_DESCRIPTORS} or more")
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def max_connections(descriptors: int) -> int:
    """Return the number of connections that a worker may accept: a worker that runs out of open files crashes."""
    return min(MAX_CONNECTIONS, descriptors // 2)


def end_on_signals() -> None:
    """Let SIGTERM and SIGINT end this process at once."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def load_and_check_config() -> tuple[Config, int]:
    """Return the configuration and the limit of open files. Raises `ConfigError` with a line for each fault."""
    config = Config.load()
    telemetry.check(config)
    check_port(config)
    check_key_set(config)
    check_database(config)
    check_standby(config)
    return config, raise_descriptor_limit()


def main() -> None:
    """Serve until SIGTERM or SIGINT. Exit with 1 and a line for each fault of the configuration."""
    try:
        config, descriptors = load_and_check_config()
    except ConfigError as failure:
        sys.exit("\n".join(f"cruddur: {line}" for line in str(failure).splitlines()))
    # A worker inherits the signal handlers of granian's main process, which do nothing in a worker. A signal
    # before granian has set the worker's own handlers would be lost, and the worker would stay.
    os.register_at_fork(after_in_child=end_on_signals)
    server = Server(
        "serve:worker",
        factory=True,
        interface=Interfaces.WSGI,
        address=config.host,
        port=config.port,
        workers=config.workers,
        blocking_threads=THREADS,
        # granian would accept HTTP/2 without TLS, of which 8 KB can occupy a worker for a minute.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=config.idle_timeout * 1000, max_buffer_size=MAX_HEADER_BYTES),
        websockets=False,
        backpressure=max_connections(descriptors),
        # granian's warnings report that a worker "refused to stop" also when it has just stopped.
        log_level=LogLevels.error,
        # granian's own handlers print to standard output. Without them its records reach our handler.
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

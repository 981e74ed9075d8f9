"""A load balancer on 127.0.0.1: it sends each new connection to an instance whose /readyz says 200, in turn."""

import asyncio
import threading
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from lib.command_errors import CommandError

HOST = "127.0.0.1"
# Between two questions to an instance whether it is ready, and for its answer.
PAUSE_SECONDS, ANSWER_SECONDS = 0.2, 1.0
WAIT_SECONDS = 20
CHUNK_BYTES = 1 << 16
QUESTION = f"GET /readyz HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()


class Balancer:
    """What stands in front of the instances on `ports`, which may come and go. It asks nobody a second time."""

    def __init__(self, ports: Sequence[str]) -> None:
        self.url = ""
        self._ports = ports
        # In the order in which they are next.
        self._ready: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        """Listen, on a port of its own, and look after the instances."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def stop(self) -> None:
        """End, with all connections."""
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait_for(self, port: str) -> None:
        """Wait until the instance on `port` gets connections. Raises `CommandError`."""
        deadline = time.monotonic() + WAIT_SECONDS
        while port not in self._ready:
            if time.monotonic() > deadline:
                raise CommandError("an instance does not become ready")
            time.sleep(0.01)

    async def _listen(self) -> None:
        listener = await asyncio.start_server(self._link, HOST, 0)
        self.url = f"http://{HOST}:{listener.sockets[0].getsockname()[1]}"
        self._watches = [asyncio.create_task(self._watch(port)) for port in self._ports]

    async def _finish(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, port: str) -> None:
        while True:
            ready = await is_ready(port)
            if ready and port not in self._ready:
                self._ready.append(port)
            elif not ready and port in self._ready:
                self._ready.remove(port)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _link(self, client: StreamReader, to_client: StreamWriter) -> None:
        with suppress(OSError, IndexError):
            port = self._ready.pop(0)
            self._ready.append(port)
            server, to_server = await asyncio.open_connection(HOST, int(port))
            ways = [asyncio.create_task(way) for way in (pass_on(client, to_server), pass_on(server, to_client))]
            # Whichever side is the first to close, has closed for both.
            _, others = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in others:
                way.cancel()
            to_server.close()
        to_client.close()


async def pass_on(source: StreamReader, sink: StreamWriter) -> None:
    """Pass on what comes, until no more does."""
    with suppress(OSError):
        while data := await source.read(CHUNK_BYTES):
            sink.write(data)
            await sink.drain()


async def is_ready(port: str) -> bool:
    """Whether the instance on `port` says so."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            answer, question = await asyncio.open_connection(HOST, int(port))
            try:
                question.write(QUESTION)
                return b" 200 " in await answer.readline()
            finally:
                question.close()
    return False


@contextmanager
def balancing(ports: Sequence[str]) -> Iterator[Balancer]:
    """A balancer for the instances on `ports`, while this lasts."""
    made = Balancer(ports)
    made.start()
    try:
        yield made
    finally:
        made.stop()

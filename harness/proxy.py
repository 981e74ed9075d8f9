"""A TCP proxy on 127.0.0.1: a network that can be slow, drop packets, or reset connections.

The proxy stands between an unaware client and server, as in
`with proxy(postgres.cluster.port) as network, serving(make_conninfo(url, port=network.port)) as service:`
"""

import asyncio
import socket
import struct
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from harness.ports import HOST

CHUNK_BYTES = 1 << 16
STOP_SECONDS = 5
# SO_LINGER on, and 0 seconds: to close is to send RST.
ABORT = struct.pack("ii", 1, 0)


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine there, and wait for its end."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def stop(self) -> None:
        """Stop for good."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class NetworkConditions:
    """The conditions for what is sent. Each event is set while nothing of its kind is wrong."""

    def __init__(self) -> None:
        self.on_time, self.requests, self.responses, self.fin = (asyncio.Event() for _ in range(4))
        self.delay = 0.0

    def recover(self) -> None:
        """Let everything pass, and what was held arrive."""
        for event in (self.on_time, self.requests, self.responses, self.fin):
            event.set()

    async def may_request(self) -> None:
        """Wait until a request passes."""
        await self.requests.wait()

    async def may_respond(self) -> None:
        """Wait until a piece of a response passes."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.on_time.wait(), self.delay)
        await self.responses.wait()

    async def may_close(self) -> None:
        """Wait until the client may see that the server has closed."""
        await self.responses.wait()
        await self.fin.wait()


class Proxy:
    """Forwards connections to `target`, a port of this machine.

    A condition holds for all connections, old and new, until `recover`.
    """

    def __init__(self, target: str) -> None:
        self.target = int(target)
        self.port = "0"
        self._loop = Loop()
        self._listener: asyncio.Server | None = None
        self._writers: set[StreamWriter] = set()
        self._conditions = NetworkConditions()
        self._abandoned: list[NetworkConditions] = []
        self.recover()

    def stop(self) -> None:
        """Reset all connections and stop, for good."""
        self._loop.run(self._stop())
        self._loop.stop()

    def recover(self) -> None:
        """Be a good network. Held bytes that were not reset arrive now, as TCP would send them again."""
        self._loop.run(self._recover())

    def recover_for_new(self) -> None:
        """Be a good network for new connections. Those that are there stay as they are, for good."""
        self._loop.run(self._abandon())

    def delay(self, seconds: float) -> None:
        """Have each piece of a response arrive that much later."""
        self._loop.run(self._delay(seconds))

    def blackhole(self) -> None:
        """Let nothing through. New connections are accepted, and get no response."""
        self._loop.run(self._hold(self._conditions.requests, self._conditions.responses))

    def drop_responses(self) -> None:
        """Let requests through and no responses."""
        self._loop.run(self._hold(self._conditions.responses))

    def drop_fin(self) -> None:
        """Hide from clients that the server has closed their connections: their requests get no response."""
        self._loop.run(self._hold(self._conditions.fin))

    def reset(self) -> None:
        """Reset all connections, with what is on its way, and refuse new ones."""
        self._loop.run(self._reset())

    async def _recover(self) -> None:
        self._conditions.recover()
        if self._listener is None:
            self._listener = await asyncio.start_server(self._forward, HOST, int(self.port))
            self.port = str(self._listener.sockets[0].getsockname()[1])

    async def _abandon(self) -> None:
        self._abandoned.append(self._conditions)
        self._conditions = NetworkConditions()
        await self._recover()

    async def _delay(self, seconds: float) -> None:
        self._conditions.delay = seconds
        self._conditions.on_time.clear()

    async def _hold(self, *events: asyncio.Event) -> None:
        for event in events:
            event.clear()

    async def _reset(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for writer in self._writers:
            if not writer.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            writer.transport.abort()
        self._writers.clear()

    async def _stop(self) -> None:
        await self._reset()
        for conditions in (self._conditions, *self._abandoned):
            conditions.recover()
        if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)

    async def _forward(self, client: StreamReader, to_client: StreamWriter) -> None:
        conditions = self._conditions
        self._writers.add(to_client)
        await conditions.may_request()
        with suppress(OSError):
            server, to_server = await asyncio.open_connection(HOST, self.target)
            self._writers.add(to_server)
            await asyncio.gather(
                pump(client, to_server, conditions.may_request, conditions.may_request),
                pump(server, to_client, conditions.may_respond, conditions.may_close),
            )
            self._writers.discard(to_server)
        to_client.close()
        self._writers.discard(to_client)


async def pump(
    source: StreamReader,
    sink: StreamWriter,
    may_pass: Callable[[], Awaitable[None]],
    may_close: Callable[[], Awaitable[None]],
) -> None:
    """Forward each piece when it may pass, and at the end, when it may, close."""
    await forward(source, sink, may_pass)
    await may_close()
    sink.close()


async def forward(
    source: StreamReader, sink: StreamWriter, may_pass: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Forward each piece when it may pass, until the source ends."""
    with suppress(OSError):
        while data := await source.read(CHUNK_BYTES):
            if may_pass is not None:
                await may_pass()
            sink.write(data)
            await sink.drain()


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """Run a proxy to the port `target` while this lasts; `port` is its own."""
    network = Proxy(target)
    try:
        yield network
    finally:
        network.stop()

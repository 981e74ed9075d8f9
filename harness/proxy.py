"""A TCP proxy on 127.0.0.1: a network that can be slow, fall silent, or break.

It stands between a client and a server that know nothing of it, as in
`with proxy(postgres.cluster.port) as network, serving(postgres.by_way_of(network.port)) as service:`
"""

import asyncio
import socket
import struct
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

HOST = "127.0.0.1"
CHUNK_BYTES = 1 << 16
STOP_SECONDS = 5
# SO_LINGER on, and 0 seconds: to close is to send RST.
ABORT = struct.pack("ii", 1, 0)


class Weather:
    """What becomes of what is sent: each is set while nothing of its kind is wrong."""

    def __init__(self) -> None:
        self.punctual, self.requests, self.answers, self.farewells = (asyncio.Event() for _ in range(4))
        self.delay = 0.0

    def clear_up(self) -> None:
        """Let all be well, and what was held arrive."""
        for event in (self.punctual, self.requests, self.answers, self.farewells):
            event.set()

    async def may_ask(self) -> None:
        """Wait until a request gets through."""
        await self.requests.wait()

    async def may_answer(self) -> None:
        """Wait until a piece of an answer gets through."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.punctual.wait(), self.delay)
        await self.answers.wait()

    async def may_take_leave(self) -> None:
        """Wait until the client may hear that the server has closed."""
        await self.answers.wait()
        await self.farewells.wait()


class Proxy:
    """Passes connections on to `target`, a port of this machine, until it is told to behave otherwise.

    What it is told holds for all connections, old and new, until `pass_on`.
    """

    def __init__(self, target: str) -> None:
        self.target = int(target)
        self.port = "0"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._listener: asyncio.Server | None = None
        self._ends: set[StreamWriter] = set()
        self._weather = Weather()
        self._left_behind: list[Weather] = []

    def start(self) -> None:
        """Listen, on a port of its own."""
        self._thread.start()
        self.pass_on()

    def stop(self) -> None:
        """Cut all off and end, for good."""
        self._have(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def pass_on(self) -> None:
        """Be a good network. What was swallowed and not cut off arrives now, as TCP would send it again."""
        self._have(self._pass_on())

    def pass_on_new(self) -> None:
        """Be a good network for connections to come. Those that are there stay as they are, for good."""
        self._have(self._leave_behind())

    def delay(self, seconds: float) -> None:
        """Let each piece of an answer come that much later."""
        self._have(self._slow_down(seconds))

    def swallow(self) -> None:
        """Let nothing through. New connections are accepted, and hear nothing."""
        self._have(self._hold(self._weather.requests, self._weather.answers))

    def swallow_answers(self) -> None:
        """Let requests through and no answers."""
        self._have(self._hold(self._weather.answers))

    def swallow_farewells(self) -> None:
        """Keep from clients that the server has closed their connections: what they send gets no answer."""
        self._have(self._hold(self._weather.farewells))

    def cut(self) -> None:
        """Reset all connections, with what is on its way, and refuse new ones."""
        self._have(self._cut())

    def _have(self, deed: Coroutine[Any, Any, None]) -> None:
        # Whoever tells it something is another thread, and goes on when it is done.
        asyncio.run_coroutine_threadsafe(deed, self._loop).result()

    async def _pass_on(self) -> None:
        self._weather.clear_up()
        if self._listener is None:
            self._listener = await asyncio.start_server(self._link, HOST, int(self.port))
            self.port = str(self._listener.sockets[0].getsockname()[1])

    async def _leave_behind(self) -> None:
        self._left_behind.append(self._weather)
        self._weather = Weather()
        await self._pass_on()

    async def _slow_down(self, seconds: float) -> None:
        self._weather.delay = seconds
        self._weather.punctual.clear()

    async def _hold(self, *events: asyncio.Event) -> None:
        for event in events:
            event.clear()

    async def _cut(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for end in self._ends:
            if not end.is_closing():
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            end.transport.abort()
        self._ends.clear()

    async def _finish(self) -> None:
        await self._cut()
        for weather in (self._weather, *self._left_behind):
            weather.clear_up()
        if links := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(links, timeout=STOP_SECONDS)

    async def _link(self, client: StreamReader, to_client: StreamWriter) -> None:
        weather = self._weather
        self._ends.add(to_client)
        await weather.may_ask()
        with suppress(OSError):
            server, to_server = await asyncio.open_connection(HOST, self.target)
            self._ends.add(to_server)
            await asyncio.gather(
                pump(client, to_server, weather.may_ask, weather.may_ask),
                pump(server, to_client, weather.may_answer, weather.may_take_leave),
            )
            self._ends.discard(to_server)
        to_client.close()
        self._ends.discard(to_client)


async def pump(
    source: StreamReader,
    sink: StreamWriter,
    may_pass: Callable[[], Awaitable[None]],
    may_close: Callable[[], Awaitable[None]],
) -> None:
    """Send on what comes, each piece when it may pass, and at its end, when it may, close."""
    with suppress(OSError):
        while data := await source.read(CHUNK_BYTES):
            await may_pass()
            sink.write(data)
            await sink.drain()
    await may_close()
    sink.close()


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A proxy to the port `target` that passes all on at first; `port` is its own."""
    made = Proxy(target)
    made.start()
    try:
        yield made
    finally:
        made.stop()

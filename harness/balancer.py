"""A load balancer on 127.0.0.1: each new connection goes to the next instance whose /readyz says 200."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from harness.ports import HOST
from harness.proxy import Loop, forward
from harness.waiting import wait_until

# Between two health checks of an instance, and for each response.
PAUSE_SECONDS, RESPONSE_SECONDS = 0.2, 1.0
WAIT_SECONDS = 20
HEALTH_CHECK = f"GET /readyz HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()


class Balancer:
    """A load balancer without retries, in front of the instances on `ports`, which may come and go."""

    def __init__(self, ports: Sequence[str]) -> None:
        self.url = ""
        self._ports = ports
        # In the order of their next turns.
        self._ready: list[str] = []
        self._loop = Loop()
        self._loop.run(self._listen())

    def stop(self) -> None:
        """Stop, with all connections."""
        self._loop.run(self._stop())
        self._loop.stop()

    def wait_for(self, port: str) -> None:
        """Wait until the instance on `port` gets connections. Raises `CommandError`."""
        wait_until(lambda: port in self._ready, "the readiness of an instance", WAIT_SECONDS)

    async def _listen(self) -> None:
        listener = await asyncio.start_server(self._forward, HOST, 0)
        self.url = f"http://{HOST}:{listener.sockets[0].getsockname()[1]}"
        self._watches = [asyncio.create_task(self._watch(port)) for port in self._ports]

    async def _stop(self) -> None:
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

    async def _forward(self, client: StreamReader, to_client: StreamWriter) -> None:
        with suppress(OSError, IndexError):
            port = self._ready.pop(0)
            self._ready.append(port)
            server, to_server = await asyncio.open_connection(HOST, int(port))
            directions = [
                asyncio.create_task(each) for each in (forward(client, to_server), forward(server, to_client))
            ]
            # The first side to close has closed for both.
            _, pending = await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            for direction in pending:
                direction.cancel()
            to_server.close()
        to_client.close()


async def is_ready(port: str) -> bool:
    """Return whether the instance on `port` is ready."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(RESPONSE_SECONDS):
            response, request = await asyncio.open_connection(HOST, int(port))
            try:
                request.write(HEALTH_CHECK)
                return b" 200 " in await response.readline()
            finally:
                request.close()
    return False


@contextmanager
def balancing(ports: Sequence[str]) -> Iterator[Balancer]:
    """Run a balancer for the instances on `ports` while this lasts."""
    balancer = Balancer(ports)
    try:
        yield balancer
    finally:
        balancer.stop()

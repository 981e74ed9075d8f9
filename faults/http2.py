"""HTTP/2 without TLS, whose compressed headers turn 8 KB into 16 MB; and headers that are long as they are."""

import struct
from collections.abc import Iterator
from http import HTTPStatus

from faults.drill import Figure, at_most, none_of
from faults.unprotected import without
from harness.environment import SERVE, ground, serving
from harness.load import slowest
from harness.processes import Running, cpu_seconds, memory_mb, tree
from harness.raw_clients import ask_repeatedly, exchange, raw_clients

# RFC 9113, section 3.4: the preface, and an empty SETTINGS frame, with which each HTTP/2 connection begins.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">IBBI", 0, 4, 0, 0)[1:]
# RFC 7541: GET, http, /livez, and `accept` into the dynamic table, of which one byte, 0xbe, is a copy.
VALUE = b"a," * 2000
COPIES = 3_900
LIMIT = 16 * 1024
CONNECTIONS, QUESTIONS = 16, 20
# Without the protection each takes a minute of a core.
BROKEN_CONNECTIONS = 2
SERVER = "no HTTP/2, and at most 16 KiB of headers (here granian's defaults)"


def http2_bomb() -> bytes:
    """Return a connection's first bytes: one request, its header `accept` thousands of times."""
    path = b"/unknown"
    value = b"\x7f" + varint(len(VALUE) - 127) + VALUE
    block = b"\x82\x86" + b"\x44" + bytes([len(path)]) + path + b"\x41\x01a" + b"\x53" + value + b"\xbe" * COPIES
    return PREFACE + struct.pack(">I", len(block))[1:] + struct.pack(">BBI", 1, 5, 1) + block


def varint(number: int) -> bytes:
    """Return the rest of an integer as RFC 7541, section 5.1, writes it."""
    encoded = b""
    while number >> 7:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def request(header_bytes: int) -> bytes:
    """Return a request whose line and headers are so long."""
    start = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept: "
    return start + b"a" * (header_bytes - len(start) - 4) + b"\r\n\r\n"


def http2(broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Send the bombs and the long headers, and ask how the service is."""
    with ground() as postgres, serving(postgres.url, without("server") if broken else SERVE) as service:
        ask_repeatedly(service.url, "/api/activities/home", 20, 0)
        memory, cpu = resident(service), cpu_seconds(service.pid)
        count = BROKEN_CONNECTIONS if broken else CONNECTIONS
        with raw_clients(service.url, count, http2_bomb()):
            alive = ask_repeatedly(service.url, "/livez", QUESTIONS, 0.1)
        answered = exchange(service.url, http2_bomb(), 1)
        statuses = {length: status(exchange(service.url, request(length))) for length in (LIMIT, LIMIT + 1, 400_000)}
        after, used = resident(service), cpu_seconds(service.pid) - cpu
    size = len(http2_bomb())
    yield none_of("bytes of HTTP/2 in the answer", 0 if answered.startswith(b"HTTP/1.1") else len(answered))
    yield none_of("/livez not answered under 1 s", sum(not each.is_ok or each.seconds > 1 for each in alive))
    yield at_most(f"slowest /livez beside {count} times {size:,} bytes", 1, slowest(alive), "s")
    yield at_most("computed meanwhile", 2, used, "s")
    yield at_most("memory of a worker, against before", 1.1, after / memory, "times")
    yield none_of("headers of 16 KiB refused", int(statuses[LIMIT] != HTTPStatus.OK))
    refused = (statuses[LIMIT + 1], statuses[400_000])
    yield none_of("longer headers taken", sum(each != HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE for each in refused))


def status(answer: bytes) -> int:
    """Return the status of an answer, 0 where there is none."""
    line = answer.partition(b"\r\n")[0].split()
    return int(line[1]) if len(line) > 1 and line[1].isdigit() else 0


def resident(service: Running) -> float:
    """Return the megabytes that the largest of the service's processes holds."""
    return max(memory_mb(pid, "VmRSS") for pid in tree(service.pid))

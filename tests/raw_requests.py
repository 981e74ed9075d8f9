"""Bytes that are almost a request: smuggled bodies, odd headers, halves. Made up at random, the same for a seed."""

import re
import socket
from random import Random
from typing import NamedTuple

# Parts of a request that are odd, and requests that are broken off.
ODD, BROKEN = 0.1, 0.1
PATHS = ["/api/activities/home", "/api/activities", "/api/activities/search?term=x", "/livez", "/docs", "/nope", "/"]
METHODS = [
    "GET",
    "POST",
    "HEAD",
    "OPTIONS",
    "PUT",
    "DELETE",
    "get",
    "PRI",
    "CONNECT",
    "TRACE",
    "X" * 300,
    "G\x00T",
    "G T",
]
TARGETS = [
    "*",
    "http://other/livez",
    "//livez",
    "/%2f",
    "/%00",
    "/%zz",
    "/\xff",
    "/..//../livez",
    "",
    "livez",
    "/" + "x" * 9_000,
]
VERSIONS = ["HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.10", "http/1.1", "HTTP/1.1 x", "HTTP/11", ""]
HOSTS = [
    "Host: a",
    "",
    "Host: a\r\nHost: b",
    "Host:",
    "Host: a b",
    "Host : a",
    " Host: a",
    "Host: \xff",
    "HOST: a:99999",
]
FRAMINGS = [
    *("", "Content-Length: 5", "Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nContent-Length: 6"),
    *("Content-Length: +5", "Content-Length: -5", "Content-Length: 5, 6", "Content-Length: 0x5", "Content-Length: 5\t"),
    *("Content-Length: 99999999999999999999", "Content-Length: ", "Content-Length : 5", "Content-Length:\x0b5"),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5", "Transfer-Encoding: xchunked"),
    *("Transfer-Encoding: chunked, identity", "Transfer-Encoding:\x0bchunked", "Transfer-Encoding: gzip, chunked"),
    *(
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: CHUNKED",
    ),
]
HEADERS = [
    *(
        "X: \x00",
        "X: \xff\xfe",
        "X",
        ": x",
        "X\x00: x",
        "X: a\r\n b",
        "X: a\nY: b",
        "X: a\rY: b",
        "(X): a",
        "X:" + "y" * 17_000,
    ),
    *("Content-Type: application/json", "Content-Type: ;;;", "Authorization: Bearer null", "Authorization: \xff"),
    *("Accept: " + "a," * 500, "If-None-Match: " + '"x",' * 200, "Cookie: " + "a=b;" * 300, "Expect: 100-continue"),
    *(
        "Connection: keep-alive, close, x",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA",
    ),
    *(
        "X-Forwarded-For: \xff, ::1%x, 999.9.9.9",
        "X-Request-Start: t=9e99",
        "traceparent: 00-x",
        "tracestate: " + "a=b," * 200,
    ),
    *("Idempotency-Key: \xff", "Origin: null", "Range: bytes=0-,0-,0-", "Sec-WebSocket-Key: x\r\nUpgrade: websocket"),
]
BODIES = [
    *(
        "",
        "hello",
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        "5;x=y\r\nhello\r\n0\r\n\r\n",
    ),
    *(
        "ffffffffffffffff\r\n",
        "-1\r\n",
        "zz\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
    ),
    *(
        '{"message": "x", "ttl": "1-day"}',
        "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "\x00" * 100,
        "x" * 70_000,
    ),
]


class Reply(NamedTuple):
    """Result of some bytes: the statuses of the responses, and whether the connection was closed in time."""

    statuses: list[int]
    is_closed: bool


def raw_request(random: Random) -> bytes:
    """Return a request, each part of which is right more often than not."""

    def pick(usual: list[str], odd: list[str]) -> str:
        return random.choice(odd if random.random() < ODD else usual)

    line = f"{pick(METHODS[:6], METHODS)} {pick(PATHS, TARGETS)} {pick(['HTTP/1.1'], VERSIONS)}"
    headers = [pick(["Host: a"], HOSTS), random.choice(FRAMINGS), *random.sample(HEADERS, random.randrange(4))]
    head = "\r\n".join([line, *filter(None, headers), "", ""])
    sent = (head + random.choice(BODIES)).encode("latin-1")
    if random.random() < BROKEN:
        # Half of it, or noise in the middle.
        cut = random.randrange(len(sent))
        sent = sent[:cut] + random.choice([b"", random.randbytes(8) + sent[cut:]])
    return sent


def send(port: str, sent: bytes, seconds: float) -> Reply:
    """Send the bytes and nothing after them. Return the answers, and whether the server closes within `seconds`."""
    received = b""
    with socket.create_connection(("127.0.0.1", int(port)), timeout=seconds) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                received += data
        except TimeoutError:
            return Reply(statuses(received), is_closed=False)
        except OSError:
            # A server that has refused the head does not take the rest.
            pass
    return Reply(statuses(received), is_closed=True)


def statuses(received: bytes) -> list[int]:
    """Return the status of each answer among these bytes."""
    return [int(status) for status in re.findall(rb"^HTTP/1\.[01] ([0-9]{3}) ", received, re.MULTILINE)]

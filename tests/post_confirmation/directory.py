"""A directory that judges passwords for Postgres, as on RDS something else than Postgres judges tokens."""

import socketserver


class Directory(socketserver.BaseRequestHandler):
    """An LDAP server (RFC 4511) that lets everybody in, and keeps their passwords: so the test sees what came."""

    passwords: list[str]

    def handle(self) -> None:
        """Answer the one request that Postgres makes."""
        data = self.request.recv(100_000)
        (_, message), *_ = parts(data)
        (_, number), (_, request), *_ = parts(message)
        _, _, (_, password), *_ = parts(request)
        self.passwords.append(password.decode())
        # A BindResponse: success, no DN, no words.
        self.request.sendall(b"\x30\x0c\x02\x01" + number + b"\x61\x07\x0a\x01\x00\x04\x00\x04\x00")


def parts(data: bytes) -> list[tuple[int, bytes]]:
    """The values that stand one after the other in BER, each with its tag."""
    found = []
    while data:
        start, length = 2, data[1]
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[2:start], "big")
        found.append((data[0], data[start : start + length]))
        data = data[start + length :]
    return found

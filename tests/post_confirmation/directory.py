"""An LDAP directory that checks passwords for Postgres, as a service of RDS's checks tokens."""

import socketserver


class Directory(socketserver.BaseRequestHandler):
    """An LDAP server (RFC 4511) that accepts every login and records the passwords for the test."""

    passwords: list[str]

    def handle(self) -> None:
        """Answer Postgres's one request."""
        data = self.request.recv(100_000)
        (_, message), *_ = parts(data)
        (_, number), (_, request), *_ = parts(message)
        _, _, (_, password), *_ = parts(request)
        self.passwords.append(password.decode())
        # A BindResponse: success, an empty DN, and an empty message.
        self.request.sendall(b"\x30\x0c\x02\x01" + number + b"\x61\x07\x0a\x01\x00\x04\x00\x04\x00")


def parts(data: bytes) -> list[tuple[int, bytes]]:
    """Return consecutive BER values, each with its tag."""
    values = []
    while data:
        start, length = 2, data[1]
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[2:start], "big")
        values.append((data[0], data[start : start + length]))
        data = data[start + length :]
    return values

"""Outgoing requests through a forward proxy: Cognito's keys, and the export to the collector."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from socket import create_connection
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest

from harness.certificates import Identity, signed
from harness.collector import collecting
from harness.ports import free_port
from harness.stubs import listening
from harness.waiting import wait_until
from lib.cognito import Cognito
from lib.exceptions import UpstreamUnavailable
from tests import tokens
from tests.cognito import FakeCognito, fake_cognito
from tests.factories import Make
from tests.processes import running
from tests.service import RIGHT, get

pytestmark = pytest.mark.slow

# Names that no resolver can resolve.
COGNITO, COLLECTOR = "cognito.example", "collector.example"


class Proxy:
    """A CONNECT proxy (RFC 9110, section 9.3.6) that terminates TLS as a company's may, and its recorded requests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, str]] = []
        # The port of the server behind each host name.
        self.ports: dict[str, int] = {}
        self.url = ""
        self._ca = signed("The company")
        (folder / "ca.pem").write_bytes(self._ca.pem())

    @property
    def ca(self) -> str:
        """The path of the company's certificate."""
        return str(self.folder / "ca.pem")

    def tls(self, host: str) -> ssl.SSLContext:
        """Return a TLS context for a host, with a certificate of the company's."""
        identity: Identity = signed(host, self._ca)
        file = self.folder / f"{host}-{threading.get_ident()}.pem"
        file.write_bytes(identity.pem() + identity.key_pem())
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    """Run the proxy."""
    proxy = Proxy(tmp_path)

    class Handler(StreamRequestHandler):
        """A tunnel."""

        def handle(self) -> None:
            """Forward one request and its response."""
            target = self.rfile.readline().decode().split()[1]
            lines = (line.decode().strip().partition(": ") for line in iter(self.rfile.readline, b"\r\n"))
            headers = {name.lower(): value for name, _, value in lines}
            host = target.partition(":")[0]
            proxy.asked.append((target, headers.get("proxy-authorization", "")))
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with (
                suppress(OSError),
                proxy.tls(host).wrap_socket(self.connection, server_side=True) as client,
                client.makefile("rb") as request,
                create_connection(("127.0.0.1", proxy.ports[host])) as server,
            ):
                head = [line for line in iter(request.readline, b"\r\n") if not line.lower().startswith(b"connection:")]
                lengths = [int(line.split()[1]) for line in head if line.lower().startswith(b"content-length:")]
                server.sendall(b"".join([*head, b"Connection: close\r\n\r\n", request.read(sum(lengths))]))
                while data := server.recv(65_536):
                    client.sendall(data)

    server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with listening(server) as port:
        proxy.url = f"http://me:p%40ss@127.0.0.1:{port}"
        yield proxy


@contextmanager
def cognito_behind(proxy: Proxy) -> Iterator[FakeCognito]:
    """Run a fake Cognito that only the proxy can reach."""
    with fake_cognito() as fake:
        proxy.ports[COGNITO] = int(fake.url.rpartition(":")[2])
        yield fake


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_jwks_and_attributes_are_fetched_through_the_proxy(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", proxy.ca)
    monkeypatch.setenv(name, proxy.url)
    pool = tokens.user_pool(f"https://{COGNITO}/jwks.json", f"https://{COGNITO}")
    with cognito_behind(proxy) as fake:
        fake.people["sub-lin"] = {"name": "Lin"}
        cognito = Cognito(pool)

        token = cognito.verify(tokens.token("sub-lin", key=fake.keys[0]))

        assert cognito.attributes(token)["name"] == "Lin"
    # The credentials of the proxy's URL, percent-decoded.
    assert proxy.asked == [(f"{COGNITO}:443", "Basic bWU6cEBzcw==")] * 2


@pytest.mark.parametrize("exempt", [COGNITO, ".example", "*"])
def test_host_in_no_proxy_is_reached_directly(proxy: Proxy, monkeypatch: pytest.MonkeyPatch, exempt: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", exempt)

    with pytest.raises(UpstreamUnavailable):
        Cognito(tokens.user_pool(f"https://{COGNITO}/jwks.json")).verify(tokens.token("sub"))

    assert proxy.asked == []


def test_loopback_is_reached_without_a_proxy(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    with fake_cognito() as fake:
        assert Cognito(fake.user_pool).verify(tokens.token("sub", key=fake.keys[0])).sub == "sub"
    assert proxy.asked == []


@pytest.mark.parametrize("url", ["nonsense://a", "http://[", "socks5://127.0.0.1:1", "127.0.0.1:1"])
def test_invalid_proxy_url_is_upstream_unavailable(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)

    with pytest.raises(UpstreamUnavailable):
        Cognito(tokens.user_pool(f"https://{COGNITO}/jwks.json")).verify(tokens.token("sub"))


def test_service_behind_a_proxy_authenticates_and_exports(proxy: Proxy, service_url: str, make: Make) -> None:
    user = make.user("lin")
    port = free_port()
    settings = {
        **RIGHT,
        "CONNECTION_URL": service_url,
        "PORT": port,
        "HTTPS_PROXY": proxy.url,
        "SSL_CERT_FILE": proxy.ca,
        "REQUESTS_CA_BUNDLE": proxy.ca,
        "AWS_COGNITO_JWKS_URL": f"https://{COGNITO}/jwks.json",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://{COLLECTOR}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with cognito_behind(proxy) as fake, collecting() as collector:
        proxy.ports[COLLECTOR] = int(collector.url.rpartition(":")[2])
        with running("serve", **settings):
            assert get(port, "/livez")[0] == 200
            bearer = f"Bearer {tokens.token(user.cognito_user_id, key=fake.keys[0])}"
            with closing(HTTPConnection("127.0.0.1", int(port), timeout=10)) as connection:
                connection.request("GET", "/api/message_groups", headers={"Authorization": bearer})
                response = connection.getresponse()
                assert (response.status, json.loads(response.read())) == (200, [])
            wait_until(lambda: collector.trees() != [])

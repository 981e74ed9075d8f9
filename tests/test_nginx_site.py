"""docs/nginx-site.conf, installed by its own commands, in front of the service."""

import os
import re
import shlex
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import urllib3

from harness.certificates import Identity, signed
from harness.nginx import BEHIND, MAIN, PROGRAM
from harness.ports import free_port
from harness.processes import started
from lib.body import MAX_BYTES
from ops.command import ROOT
from tests.service import serving

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="nginx is not installed")]

SITE = ROOT / "docs" / "nginx-site.conf"
NAME = "cruddur.example"
CHALLENGE = "/.well-known/acme-challenge/token"


class Site(NamedTuple):
    """The site's ports and its certificate."""

    http: str
    https: str
    certificate: Identity

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> urllib3.BaseHTTPResponse:
        """Send a request by TLS. The certificate and its name are verified, although the name has no address here."""
        pem = self.certificate.pem().decode()
        pool = urllib3.HTTPSConnectionPool(
            "127.0.0.1",
            int(self.https),
            ssl_context=ssl.create_default_context(cadata=pem),
            server_hostname=NAME,
            assert_hostname=NAME,
            retries=False,
        )
        with pool:
            return pool.request(method, path, body=body, headers={"Host": NAME, **headers})


def install(folder: Path, http: str, https: str, backend: str) -> None:
    """Run the commands of the file, with other ports, and with folders of the test's own."""
    commands = "\n".join(re.findall(r"^#   (.*)$", SITE.read_text(), re.MULTILINE)).split("nginx -t")[0]
    site = folder / "site.conf"
    text = SITE.read_text()
    for old, new in (
        ("/etc/nginx", str(folder)),
        ("/var/www/html", str(folder / "html")),
        ("listen 80;", f"listen 127.0.0.1:{http};"),
    ):
        assert old in text
        text = text.replace(old, new)
    site.write_text(text)
    for old, new in (
        ("/etc/nginx", str(folder)),
        ("/srv/cruddur/docs/nginx-site.conf", str(site)),
        # A clone's path may have a space.
        ("/srv/cruddur", shlex.quote(str(ROOT))),
        ("127.0.0.1:4567", backend),
        ("443 ssl", f"127.0.0.1:{https} ssl"),
    ):
        assert old in commands
        commands = commands.replace(old, new)
    subprocess.run(["bash", "-euc", commands], check=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Create a folder that nginx's workers can read: those of root's nginx have another user."""
    with tempfile.TemporaryDirectory(prefix="cruddur-nginx-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def site(service_url: str, folder: Path) -> Iterator[Site]:
    """Run nginx with the site in front of the service."""
    http, https, certificate = free_port(), free_port(), signed(NAME)
    (folder / "conf.d").mkdir()
    (folder / f"{NAME}.pem").write_bytes(certificate.pem())
    (folder / f"{NAME}.key").write_bytes(certificate.key_pem())
    challenge = folder / "html" / CHALLENGE.lstrip("/")
    challenge.parent.mkdir(parents=True)
    challenge.write_text("proof")
    (folder / "nginx.conf").write_text(MAIN.replace("include cruddur.conf", "include conf.d/*.conf"))
    command = (str(PROGRAM), "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr")
    with serving(service_url, **BEHIND) as port:
        install(folder, http, https, f"127.0.0.1:{port}")
        url = f"http://127.0.0.1:{http}{CHALLENGE}"
        with started(command, url=url, environ=dict(os.environ), folder=folder, log=folder / "log"):
            yield Site(http, https, certificate)


def test_http_is_redirected_to_https_with_its_path_and_method(site: Site) -> None:
    with urllib3.PoolManager(retries=False) as client:
        url = f"http://127.0.0.1:{site.http}"
        response = client.request("POST", f"{url}/api/activities?limit=1", redirect=False)

        assert response.status == 308
        assert response.headers["Location"] == f"https://{NAME}/api/activities?limit=1"
        assert client.request("GET", f"{url}{CHALLENGE}").data == b"proof"


def test_service_responds_by_tls_with_composes_limits(site: Site) -> None:
    ready = site.ask("GET", "/readyz")
    assert (ready.status, ready.json()) == (200, {"success": True})
    assert ready.headers["Strict-Transport-Security"] == "max-age=31536000"
    for size, status in ((MAX_BYTES, 401), (MAX_BYTES + 1, 413)):
        response = site.ask(
            "POST", "/api/activities", b"x" * size, **{"Content-Type": "application/json", "Origin": f"https://{NAME}"}
        )
        assert response.status == status
    assert response.headers["Access-Control-Allow-Origin"] == f"https://{NAME}"
    assert response.json() == ["payload_too_large"]


def test_old_tls_is_refused(subtests: pytest.Subtests, site: Site) -> None:
    for version, is_accepted in (("tls1_1", False), ("tls1_2", True), ("tls1_3", True)):
        with subtests.test(version):
            # At security level 0 the client itself would still speak the old version.
            command = ["openssl", "s_client", f"-{version}", "-cipher", "ALL:@SECLEVEL=0"]
            done = subprocess.run(
                [*command, "-connect", f"127.0.0.1:{site.https}"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            assert ("Cipher is (NONE)" not in done.stdout) == is_accepted

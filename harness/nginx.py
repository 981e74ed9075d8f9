"""nginx on 127.0.0.1 with the project's own configuration, as docker-compose.yml has it in front of the service."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.ports import free_port
from harness.postgres import NOTHING
from harness.processes import Running, program, started
from lib.command_errors import CommandError
from ops.command import ROOT

TEMPLATE = ROOT / "nginx" / "cruddur.conf.template"
PROGRAM = program("nginx")
# The settings of a service behind nginx, as in docker-compose.yml.
BEHIND = {"TRUSTED_PROXIES": "1", "IDLE_TIMEOUT_SECONDS": "75"}
# The image's own nginx.conf around ours, with no file outside of its folder.
MAIN = """
daemon off;
pid nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include cruddur.conf;
}
"""


@contextmanager
def nginx(
    backend: str, *, frontend: str = "http://localhost:3000", tls: str = "", changed: Mapping[str, str] = NOTHING
) -> Iterator[Running]:
    """Run nginx in front of the server at `backend` (host:port) while this lasts. Raises `CommandError` without nginx.

    `tls` has directives for TLS; `changed` maps text of the configuration to its replacement.
    """
    if PROGRAM is None:
        raise CommandError("nginx is not installed: apt-get install nginx")
    port = free_port()
    text = TEMPLATE.read_text()
    settings = {"BACKEND": backend, "LISTEN": f"127.0.0.1:{port}", "FRONTEND_URL": frontend}
    for old, new in {**changed, **{f"${{{name}}}": value for name, value in settings.items()}}.items():
        if old not in text:
            raise CommandError(f"{TEMPLATE.name} has no {old}")
        text = text.replace(old, new)
    with tempfile.TemporaryDirectory(prefix="cruddur-nginx-") as name:
        folder = Path(name)
        # Root's nginx has workers of another user.
        folder.chmod(0o755)
        (folder / "tls").mkdir()
        (folder / "tls" / "tls.conf").write_text(tls)
        (folder / "cruddur.conf").write_text(text)
        (folder / "nginx.conf").write_text(MAIN)
        command = (PROGRAM, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr")
        url = f"http://127.0.0.1:{port}/livez"
        with started(command, url=url, environ=dict(os.environ), folder=folder, log=folder / "log") as running:
            yield running

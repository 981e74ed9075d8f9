"""Take pictures of the page as bin/dev serves it to a user of the seed, with Chromium."""

import re
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory
from typing import Literal

from playwright.sync_api import ViewportSize, sync_playwright

from harness.browser import CHROMIUM, OPTIONS
from harness.ports import free_port
from harness.processes import CLEAN, launch
from lib.command_errors import CommandError
from ops.command import ROOT, run

HANDLE = "andrewbrown"
SIZE = ViewportSize(width=1100, height=760)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def sign_in_link(lines: Iterable[str]) -> str:
    """Return the link of HANDLE among the lines that bin/dev prints. Raises `CommandError`."""
    for line in lines:
        link = re.search(rf"{HANDLE}: (http\S+#token=\S+)", line)
        if link:
            return link[1]
    raise CommandError("bin/dev printed no link to sign in with")


def take(link: str, folder: Path) -> None:
    """Write a picture of the page behind `link` for each colour scheme."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        for scheme in SCHEMES:
            page = browser.new_page(viewport=SIZE, color_scheme=scheme)
            page.goto(link)
            page.get_by_role("article").first.wait_for()
            page.get_by_role("complementary").get_by_role("listitem").first.wait_for()
            page.screenshot(path=folder / f"page-{scheme}.png")
        browser.close()


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(prog="bin/screenshot", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs", metavar="FOLDER")
    folder = parser.parse_args().folder
    if CHROMIUM is None:
        raise CommandError("bin/screenshot needs Chromium: install the package chromium")
    with TemporaryDirectory() as data:
        port = free_port()
        # The browser resolves no names.
        settings = {"CRUDDUR_DATA_DIR": data, "PORT": port, "BACKEND_URL": f"http://127.0.0.1:{port}"}
        with launch([ROOT / "bin" / "dev"], env=CLEAN | settings, stdout=PIPE, text=True) as server:
            try:
                take(sign_in_link(server.stdout or []), folder)
            finally:
                server.terminate()
                server.communicate()
    print(f"Wrote {', '.join(f'page-{scheme}.png' for scheme in SCHEMES)} into {folder}")


if __name__ == "__main__":
    run(main)

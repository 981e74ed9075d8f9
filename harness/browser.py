"""The browser that tests run, and its options."""

import shutil

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = [
    # Root and containers have no sandbox.
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    # No requests of its own.
    *("--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    # No host but this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
# Print the page as it is after ten seconds of its own time.
DUMP_OPTIONS = [*OPTIONS, "--virtual-time-budget=10000", "--dump-dom"]

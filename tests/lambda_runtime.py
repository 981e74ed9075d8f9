"""AWS Lambda for a function: a folder with the zip's files, a Python with AWS's packages, and the Runtime API.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4
from zipfile import ZipFile

from harness.processes import CLEAN, launch
from harness.stubs import StubRequest, StubResponse, http_stub
from ops.command import ROOT
from ops.lambda_build import PYTHON, build

# What Cognito waits for, and Lambda is told to.
SECONDS = 5
# What a function may take to start: on a loaded machine it takes longer than the 10 s of Lambda.
INIT_SECONDS = 60
NEXT = "/2018-06-01/runtime/invocation/next"
REGION = "eu-west-1"
# Nobody's: AWS's own example.
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}


class Function(NamedTuple):
    """A function that can be started: its files, and the Python and the packages that the runtime brings."""

    files: Path
    python: str
    packages: Path


class Answer(NamedTuple):
    """How an invocation has ended: `response`, or `error`, and with what."""

    how: str
    body: Any


class Lambda:
    """A function that runs, for one invocation at a time."""

    def __init__(self, log: Path) -> None:
        # What an invocation is told that it may take.
        self.seconds: float = SECONDS
        self._log = log
        self._events: Queue[bytes | None] = Queue()
        self._answers: Queue[Answer] = Queue()
        # Set at the function's first request for an event. Lambda does not count the time before.
        self.initialised = Event()

    def invoke(self, event: dict[str, Any]) -> Answer:
        """Call the function. Raises `queue.Empty` when it has not answered in its time, as Lambda would end it."""
        self.initialised.wait(INIT_SECONDS)
        self._events.put(json.dumps(event).encode())
        return self._answers.get(timeout=SECONDS)

    def output(self) -> str:
        """Return the function's log."""
        return self._log.read_text()

    def told(self) -> dict[str, str]:
        """Return the last line of the log that is JSON."""
        lines = [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]
        return dict(lines[-1])

    def next(self) -> bytes | None:
        """Return the next event, once there is one; None at the end."""
        self.initialised.set()
        return self._events.get()

    def take(self, how: str, body: bytes) -> None:
        """Keep the function's response."""
        self._answers.put(Answer(how, json.loads(body)))

    def end(self) -> None:
        """End the function's wait for an event."""
        self._events.put(None)


@contextmanager
def started(function: Function, folder: Path, **settings: str) -> Iterator[Lambda]:
    """Run the function with these settings while this lasts; its log is in `folder`."""
    log = folder / f"{uuid4()}.log"
    running = Lambda(log)
    with runtime_api(running) as api, log.open("wb") as output:
        environ = {
            "AWS_LAMBDA_RUNTIME_API": api,
            "LAMBDA_TASK_ROOT": str(function.files),
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(folder / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
            **KEYS,
            "PYTHONPATH": f"{function.files}:{function.packages}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [function.python, "-s", "-m", "awslambdaric", "post_confirmation.handler"]
        process = launch(command, env=CLEAN | environ | settings, cwd=function.files, stdout=output)
        try:
            yield running
        finally:
            process.kill()
            process.wait()


@contextmanager
def runtime_api(function: Lambda) -> Iterator[str]:
    """Run the Runtime API for one function. Yields its host and port."""

    def respond(request: StubRequest) -> StubResponse | None:
        if request.method == "POST":
            function.take(request.path.rpartition("/")[2], request.body)
            return StubResponse(202)
        event = function.next() if request.path == NEXT else None
        if event is None:
            # The function is gone.
            return None
        headers = {
            "Lambda-Runtime-Aws-Request-Id": str(uuid4()),
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + function.seconds) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": f"arn:aws:lambda:{REGION}:123456789012:function:it",
            "Content-Type": "application/json",
        }
        return StubResponse(body=event, headers=headers)

    with http_stub(respond) as url:
        try:
            yield urlsplit(url).netloc
        finally:
            function.end()


def unpacked(folder: Path, ca: Path) -> Function:
    """Build the function's zip for this machine with `ca`, and unpack it.

    In Lambda's version of Python where this machine has that, else in ours, and with the wheels for that.
    """
    python, version = runtime_python()
    files, packages = folder / "files", folder / "packages"
    with ZipFile(build(platform.machine(), folder, ca=ca, python=version)) as built:
        built.extractall(files)
    subprocess.run(
        [
            *(ROOT / ".venv" / "bin" / "uv", "pip", "install", "--quiet", "--python", python, "--target", packages),
            *("--constraint", ROOT / "requirements-test.txt", "awslambdaric", "botocore"),
        ],
        check=True,
    )
    return Function(files, python, packages)


def runtime_python() -> tuple[str, str]:
    """Return a Python without our packages, and its version."""
    lambdas = shutil.which(f"python{PYTHON}")
    if lambdas and subprocess.run([lambdas, "-c", ""], capture_output=True, check=False).returncode == 0:
        return lambdas, PYTHON
    ours = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    return str(ours), f"3.{sys.version_info.minor}"

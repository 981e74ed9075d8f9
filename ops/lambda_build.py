"""Build the zips of the Lambda that Cognito calls, one for each of Lambda's architectures.

The same sources give the same bytes, wherever and whenever they are built, as long as zlib is the same.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from lib.command_errors import CommandError
from ops.command import ROOT, run

NAME = "cruddur-post-confirmation"
SOURCE = ROOT / "aws" / "lambdas" / NAME
OUTPUT = ROOT / "dist" / "lambda"
# Lambda's runtime, `python3.13` in its words. It brings botocore, which is not in the zip.
PYTHON = "3.13"
ARCHITECTURES = ("x86_64", "aarch64")
# The glibc of Amazon Linux 2023, which the runtime is of, is newer.
PLATFORM = "manylinux_2_28"
# What it shares with the service, below backend-flask.
SHARED = ("lib/__init__", "lib/conninfo", "lib/command_errors", "lib/text", "services/__init__", "services/new_user")
# What an installer writes down of its own doings: uv's and pip's differ.
INSTALLERS = {"INSTALLER", "RECORD", "REQUESTED"}
# Where the handler looks for the CA. https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem
CA = "rds-ca.pem"
# The earliest that a zip can say.
EPOCH = (1980, 1, 1, 0, 0, 0)
FILE_MODE = 0o100644
UNIX = 3


def build(architecture: str, output: Path, *, ca: Path | None = None, python: str = PYTHON) -> Path:
    """Build the zip for one of `ARCHITECTURES` into the folder `output`. Returns its path. Raises `CommandError`."""
    with tempfile.TemporaryDirectory(prefix="cruddur-lambda-") as folder:
        content = Path(folder) / "content"
        install(content, architecture, python)
        copy_sources(content)
        if ca:
            copy_ca(ca, content / CA)
        unfinished = Path(folder) / "zip"
        pack(content, unfinished)
        output.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(unfinished, output / f"{NAME}-{architecture}.zip"))


def install(content: Path, architecture: str, python: str) -> None:
    """Install what the Lambda needs besides, wheels only and each by its hash, for its machine and not for this one.

    Raises `CommandError`.
    """
    # pip would ask this machine's Python what the markers in the requirements mean.
    command = [
        *(str(ROOT / ".venv" / "bin" / "uv"), "pip", "install", "--quiet", "--target", str(content)),
        *("--python-platform", f"{architecture}-{PLATFORM}", "--python-version", python),
        *("--only-binary=:all:", "--require-hashes", "--requirements", str(SOURCE / "requirements.txt")),
    ]
    # uv trusts only its own list of authorities otherwise, and pip the machine's.
    environ = {"UV_SYSTEM_CERTS": "true", **os.environ}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"{NAME}'s requirements could not be installed:\n{done.stderr.strip()}")


def copy_sources(content: Path) -> None:
    """Put the handler, its SQL, and what it shares with the service beside what is installed."""
    for source in [*SOURCE.glob("*.py"), *SOURCE.glob("*.sql")]:
        shutil.copy(source, content / source.name)
    for name in SHARED:
        target = content / f"{name}.py"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "backend-flask" / f"{name}.py", target)


def copy_ca(ca: Path, target: Path) -> None:
    """Put the CA's certificates at `target`. Raises `CommandError` when the file is something else."""
    try:
        text = ca.read_bytes()
    except OSError as error:
        raise CommandError(f"--ca {ca} can't be read: {error.strerror}") from error
    if b"-----BEGIN CERTIFICATE-----" not in text:
        raise CommandError(f"--ca {ca} holds no certificate in PEM form: see docs/aws.md for where RDS's are")
    target.write_bytes(text)


def pack(content: Path, target: Path) -> None:
    """Write the zip of a folder, in which nothing tells of when and where it was made."""
    with ZipFile(target, "w", ZIP_DEFLATED, compresslevel=9) as packed:
        for name in sorted(members(content)):
            entry = ZipInfo(name, EPOCH)
            entry.create_system, entry.external_attr, entry.compress_type = UNIX, FILE_MODE << 16, ZIP_DEFLATED
            packed.writestr(entry, (content / name).read_bytes())


def members(content: Path) -> Iterator[str]:
    """The files that belong into the zip, as it names them."""
    for path in content.rglob("*"):
        if path.is_file() and path.suffix != ".pyc" and path.name not in INSTALLERS and path.name != ".lock":
            yield path.relative_to(content).as_posix()


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(prog="bin/lambda-build", description=__doc__)
    parser.add_argument("--ca", metavar="FILE", type=Path, help="the certificates of RDS's CA, to go into the zip")
    parser.add_argument("--output", metavar="FOLDER", type=Path, default=OUTPUT, help="without it: dist/lambda")
    args = parser.parse_args()
    for architecture in ARCHITECTURES:
        built = build(architecture, args.output, ca=args.ca)
        digest = hashlib.sha256(built.read_bytes()).hexdigest()
        print(f"{built}: {built.stat().st_size:,} bytes, sha256 {digest}")


if __name__ == "__main__":
    run(main)

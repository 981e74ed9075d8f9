"""Build the zips of the Lambda that Cognito calls, one for each of Lambda's architectures.

The builds are reproducible: equal sources and an equal zlib give equal bytes.
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
# Lambda's runtime `python3.13`. It includes botocore, so the zip does not.
PYTHON = "3.13"
ARCHITECTURES = ("x86_64", "aarch64")
# The runtime is based on Amazon Linux 2023, whose glibc is newer than this.
PLATFORM = "manylinux_2_28"
# The modules that the Lambda shares with the service, below backend-flask.
SHARED = ("lib/__init__", "lib/conninfo", "lib/command_errors", "lib/text", "services/__init__", "services/new_user")
# An installer's own records. Those of uv and pip differ.
INSTALLERS = {"INSTALLER", "RECORD", "REQUESTED"}
# The handler reads the CA's certificates from this file. https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem
CA = "rds-ca.pem"
# The earliest date that a zip can hold.
EPOCH = (1980, 1, 1, 0, 0, 0)
FILE_MODE = 0o100644
UNIX = 3


def build(architecture: str, output: Path, *, ca: Path | None = None, python: str = PYTHON) -> Path:
    """Build the zip for one of `ARCHITECTURES` into the folder `output`. Returns its path. Raises `CommandError`."""
    with tempfile.TemporaryDirectory(prefix="cruddur-lambda-") as folder:
        content = Path(folder) / "content"
        install_requirements(content, architecture, python)
        copy_sources(content)
        if ca:
            copy_ca(ca, content / CA)
        unfinished = Path(folder) / "zip"
        write_zip(content, unfinished)
        output.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(unfinished, output / f"{NAME}-{architecture}.zip"))


def install_requirements(content: Path, architecture: str, python: str) -> None:
    """Install the Lambda's requirements for its own platform, wheels only, with their hashes checked.

    Raises `CommandError`.
    """
    # Not pip: it evaluates the markers in requirements for this machine's Python.
    command = [
        *(str(ROOT / ".venv" / "bin" / "uv"), "pip", "install", "--quiet", "--target", str(content)),
        *("--python-platform", f"{architecture}-{PLATFORM}", "--python-version", python),
        *("--only-binary=:all:", "--require-hashes", "--requirements", str(SOURCE / "requirements.txt")),
    ]
    # By default uv trusts only its own list of authorities. pip trusts the machine's.
    environ = {"UV_SYSTEM_CERTS": "true", **os.environ}
    process = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if process.returncode:
        raise CommandError(f"{NAME}'s requirements could not be installed:\n{process.stderr.strip()}")


def copy_sources(content: Path) -> None:
    """Copy the handler, its SQL and the shared modules into the folder of the installed packages."""
    for source in [*SOURCE.glob("*.py"), *SOURCE.glob("*.sql")]:
        shutil.copy(source, content / source.name)
    for name in SHARED:
        target = content / f"{name}.py"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "backend-flask" / f"{name}.py", target)


def copy_ca(ca: Path, target: Path) -> None:
    """Copy the CA's certificates to `target`. Raises `CommandError` unless the file holds PEM certificates."""
    try:
        text = ca.read_bytes()
    except OSError as error:
        raise CommandError(f"--ca {ca} can't be read: {error.strerror}") from error
    if b"-----BEGIN CERTIFICATE-----" not in text:
        raise CommandError(f"--ca {ca} holds no certificate in PEM form: see docs/aws.md for where RDS's are")
    target.write_bytes(text)


def write_zip(content: Path, target: Path) -> None:
    """Write the zip of a folder, without timestamps, file modes or the order of this machine."""
    with ZipFile(target, "w", ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(member_names(content)):
            entry = ZipInfo(name, EPOCH)
            entry.create_system, entry.external_attr, entry.compress_type = UNIX, FILE_MODE << 16, ZIP_DEFLATED
            archive.writestr(entry, (content / name).read_bytes())


def member_names(content: Path) -> Iterator[str]:
    """Yield the names of the zip's members: the files of a folder, without caches and installers' records."""
    for path in content.rglob("*"):
        if path.is_file() and path.suffix != ".pyc" and path.name not in INSTALLERS and path.name != ".lock":
            yield path.relative_to(content).as_posix()


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(prog="bin/lambda-build", description=__doc__)
    parser.add_argument("--ca", metavar="FILE", type=Path, help="the certificates of RDS's CA, to include in the zip")
    parser.add_argument("--output", metavar="FOLDER", type=Path, default=OUTPUT, help="by default dist/lambda")
    args = parser.parse_args()
    for architecture in ARCHITECTURES:
        zip_path = build(architecture, args.output, ca=args.ca)
        digest = hashlib.sha256(zip_path.read_bytes()).hexdigest()
        print(f"{zip_path}: {zip_path.stat().st_size:,} bytes, sha256 {digest}")


if __name__ == "__main__":
    run(main)

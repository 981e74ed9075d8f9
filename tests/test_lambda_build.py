"""bin/lambda-build: zips for Lambda's architectures, reproducible byte by byte."""

import hashlib
import re
import struct
from pathlib import Path
from zipfile import ZipFile

import pytest

from harness.certificates import signed
from ops.command import ROOT
from ops.lambda_build import ARCHITECTURES, CA, NAME, PYTHON, SHARED, SOURCE, build
from tests.processes import fails, succeeds

pytestmark = pytest.mark.slow

# e_machine of an ELF file, by the architecture's name at AWS's wheels.
MACHINES = {"x86_64": 62, "aarch64": 183}
REQUIREMENTS = SOURCE / "requirements.txt"


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a CA's certificate."""
    path = tmp_path_factory.mktemp("ca") / "bundle.pem"
    path.write_bytes(signed("A CA").pem())
    return path


@pytest.fixture(scope="module")
def built(ca: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Build the zips, and return their folder and the script's output."""
    output = tmp_path_factory.mktemp("dist") / "new"
    return output, succeeds("lambda-build", "--ca", str(ca), "--output", str(output))


def pins(path: Path) -> dict[str, str]:
    """Return the versions that a requirements file pins."""
    return dict(re.findall(r"^([\w-]+)(?:\[[^]]*\])?==(\S+)", path.read_text(), re.MULTILINE))


def test_each_architecture_has_a_zip_and_an_output_line(built: tuple[Path, str]) -> None:
    output, printed = built

    assert printed.splitlines() == [
        f"{path}: {path.stat().st_size:,} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in (output / f"{NAME}-{architecture}.zip" for architecture in ARCHITECTURES)
    ]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_compiled_modules_match_architecture_and_python(built: tuple[Path, str], architecture: str) -> None:
    with ZipFile(built[0] / f"{NAME}-{architecture}.zip") as packed:
        modules = [name for name in packed.namelist() if ".so" in name]
        machines = {struct.unpack_from("<H", packed.read(name), 18)[0] for name in modules}

    assert machines == {MACHINES[architecture]}
    extensions = [name for name in modules if name.startswith("psycopg_binary/")]
    assert extensions
    assert all(f".cpython-{PYTHON.replace('.', '')}-{architecture}-linux-gnu.so" in name for name in extensions)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_zip_holds_handler_and_shared_modules_only(built: tuple[Path, str], ca: Path, architecture: str) -> None:
    with ZipFile(built[0] / f"{NAME}-{architecture}.zip") as packed:
        names = packed.namelist()
        assert packed.read(CA) == ca.read_bytes()
        assert packed.read("post_confirmation.py") == (SOURCE / "post_confirmation.py").read_bytes()
        entries = packed.infolist()

    assert names == sorted(names)
    assert {"database.py", "post_confirmation.sql", *(f"{name}.py" for name in SHARED)} < set(names)
    assert [name for name in names if re.search(r"\.pyc$|/(RECORD|INSTALLER|REQUESTED)$|^botocore/", name)] == []
    assert {(entry.date_time, entry.external_attr >> 16) for entry in entries} == {((1980, 1, 1, 0, 0, 0), 0o100644)}


def test_build_is_reproducible(built: tuple[Path, str], ca: Path, tmp_path: Path) -> None:
    again = build("x86_64", tmp_path / "another folder", ca=ca)

    assert again.read_bytes() == (built[0] / again.name).read_bytes()


def test_packages_are_pinned_by_hash_in_the_services_versions(built: tuple[Path, str]) -> None:
    text, service = REQUIREMENTS.read_text(), pins(ROOT / "backend-flask" / "requirements.txt")

    assert {"psycopg", "psycopg-binary"} <= pins(REQUIREMENTS).keys()
    assert pins(REQUIREMENTS).items() <= service.items()
    blocks = re.findall(r"^[\w.\[\]-]+==.* \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(blocks) == len(pins(REQUIREMENTS))
    assert "://" not in text
    with ZipFile(built[0] / f"{NAME}-x86_64.zip") as packed:
        assert f"psycopg-{service['psycopg']}.dist-info/METADATA" in packed.namelist()


def test_invalid_ca_file_is_one_error_line(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"

    assert fails("lambda-build", "--ca", str(wrong), "--output", str(tmp_path)).endswith(
        "can't be read: No such file or directory"
    )
    wrong.write_text("<html>")
    assert "holds no certificate in PEM form" in fails("lambda-build", "--ca", str(wrong), "--output", str(tmp_path))
    assert list(tmp_path.glob("*.zip")) == []

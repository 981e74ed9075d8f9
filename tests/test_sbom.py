"""The software bill of materials: production's packages, each in its version and with its hashes."""

import json

import pytest

from tests.image import lines
from tests.processes import succeeds

pytestmark = pytest.mark.slow


def test_it_lists_what_the_image_installs() -> None:
    printed = succeeds("sbom")
    bill = json.loads(printed)

    assert bill["bomFormat"] == "CycloneDX"
    assert {(each["name"], each["version"]) for each in bill["components"]} == {
        (pin.name, str(pin.specifier).removeprefix("==")) for pin in lines()
    }
    hashed = [component for component in bill["components"] if component["externalReferences"][0]["hashes"]]
    assert len(hashed) == len(bill["components"])
    # So that two of one lock can be compared.
    assert succeeds("sbom") == printed

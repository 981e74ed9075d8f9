"""The software bill of materials: production's packages, each in its version and with its hashes."""

import json

import pytest

from tests.image import lines
from tests.processes import succeeds

pytestmark = pytest.mark.slow


def test_sbom_lists_the_packages_of_the_image() -> None:
    output = succeeds("sbom")
    bill = json.loads(output)

    assert bill["bomFormat"] == "CycloneDX"
    assert {(each["name"], each["version"]) for each in bill["components"]} == {
        (pin.name, str(pin.specifier).removeprefix("==")) for pin in lines()
    }
    with_hashes = [component for component in bill["components"] if component["externalReferences"][0]["hashes"]]
    assert len(with_hashes) == len(bill["components"])
    # Two bills of one lock file must be comparable.
    assert succeeds("sbom") == output

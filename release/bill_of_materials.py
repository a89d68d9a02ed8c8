"""Writes a bill of materials for each file of pins, in CycloneDX 1.6: python -m release.bill_of_materials DIR

Names, versions and conditions come from `constraints/`, licences and dependencies from the metadata of what
is installed here; of what is not, that is said. The same pins and packages give the same bytes.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import framemill

REPOSITORY = Path(__file__).resolve().parents[1]
NOT_SHIPPED = ("bench",)  # what only our own measurements install


def pin_sets(folder: Path = REPOSITORY / "constraints") -> dict[str, list[Requirement]]:
    """Name of a set -> its pins."""
    files = sorted(path for path in folder.glob("*.txt") if path.stem not in NOT_SHIPPED)
    return {
        path.stem: [Requirement(line) for line in path.read_text().splitlines() if line] for path in files
    }


def bill(name: str, pins: Iterable[Requirement]) -> dict[str, Any]:
    """The bill of one set, as the JSON of CycloneDX has it."""
    version = framemill.__version__
    pins = sorted(pins, key=lambda pin: (pin.name, str(pin)))
    refs: dict[str, list[str]] = {}  # of some packages a version for each Python
    for pin in pins:
        refs.setdefault(canonicalize_name(pin.name), []).append(_reference(pin))
    ours = f"pkg:pypi/framemill@{version}"
    components = [_component(pin) for pin in pins]
    dependencies = [{"ref": ours, "dependsOn": sorted(component["bom-ref"] for component in components)}]
    for package, versions in sorted(refs.items()):
        for reference in versions:
            found = _installed(package, reference.rpartition("@")[2])
            needed = {ref for name in _needs(found) if name != package for ref in refs.get(name, ())}
            dependencies.append({"ref": reference, "dependsOn": sorted(needed)})
    content = {"components": components, "dependencies": dependencies}
    serial = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps([name, version, content], sort_keys=True))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": ours,
                "name": "framemill",
                "version": version,
                "purl": ours,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
            "properties": [{"name": "framemill:pins", "value": f"constraints/{name}.txt"}],
        },
        **content,
    }


def _reference(pin: Requirement) -> str:
    (exact,) = pin.specifier
    return f"pkg:pypi/{canonicalize_name(pin.name)}@{exact.version}"


def _component(pin: Requirement) -> dict[str, Any]:
    reference = _reference(pin)
    version = reference.rpartition("@")[2]
    found = _installed(pin.name, version)
    properties = [{"name": "framemill:installed", "value": "yes" if found else "no: its licence is not told"}]
    if pin.marker is not None:
        properties.append({"name": "framemill:condition", "value": str(pin.marker)})
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": reference,
        "name": pin.name,
        "version": version,
        "purl": reference,
        "properties": properties,
    }
    if found is not None and (told := _licences(found)):
        component["licenses"] = told
    return component


def _installed(name: str, version: str) -> metadata.PackageMetadata | None:
    """The metadata of a package where this version of it is installed."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return found.metadata if found.version == version else None


def _licences(found: metadata.PackageMetadata) -> list[dict[str, Any]]:
    """An SPDX expression where there is one, else what classifiers or a short text call the licence."""
    if expression := found.get("License-Expression"):
        return [{"expression": expression}]
    classifiers = [c.rpartition(" :: ")[2] for c in found.get_all("Classifier") or () if c[:7] == "License"]
    names = classifiers or [(found.get("License") or "").strip()]
    return [{"license": {"name": name}} for name in names if name and len(name) < 100 and "\n" not in name]


def _needs(found: metadata.PackageMetadata | None) -> Iterable[str]:
    if found is None:
        return
    for text in found.get_all("Requires-Dist") or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def main() -> int:
    """Writes all bills, and tells of each how many packages it names."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    folder.mkdir(parents=True, exist_ok=True)
    for name, pins in pin_sets().items():
        made = bill(name, pins)
        path = folder / f"framemill-{name}.cdx.json"
        path.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
        told = sum("licenses" in component for component in made["components"])
        print(f"{path}: {len(made['components'])} packages, the licence of {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

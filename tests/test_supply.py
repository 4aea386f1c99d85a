"""What geodecloud is made of: the page of licences, the bill of materials, the version. The oracle is pip's metadata."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.utils import canonicalize_name

import geodecloud

ROOT = Path(__file__).parents[1]
#: Licences that let anybody use, change and pass on a package beside MIT code.
KIND = (
    "MIT",
    "BSD",
    "Apache",
    "ISC",
    "PSF",
    "MPL",
    "HPND",
    "Zlib",
    "Unlicense",
    "CC0",
    "0BSD",
    "Python",
)


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("dependencies")


def test_the_page_of_licences_is_that_of_the_pinned_versions(tools: ModuleType) -> None:
    found = tools.packages()
    pins = tools.pins()
    # 2.9.1+cpu is 2.9.1 from the index for CPUs
    versions = {p.name: p.version.partition("+")[0] for p in found}
    if other := [name for name, version in versions.items() if version != pins[name]]:
        pytest.skip(f"other versions than those of constraints.txt are installed: {other[:3]}")
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert page == importlib.import_module("licences").draw(found), "run: python tools/licences.py"
    foreign = [(p.name, p.licence) for p in found if not any(kind in p.licence for kind in KIND)]
    # of an extra: whoever changes it and passes that on does so under its licence
    assert foreign == [("s2cloudless", "CC-BY-SA-4.0")]


def test_the_list_with_hashes_is_that_of_the_pins(tools: ModuleType) -> None:
    """Mend it with: make hashes. pip refuses a requirement without a hash, and a file with another one."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in text.replace("\\\n", " ").splitlines() if not line.startswith("#")]
    found = {}
    for line in lines:
        pin, *hashes = line.split()
        name, version = pin.split("==")
        found[canonicalize_name(name)] = version
        assert hashes, pin
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), pin
    assert found == tools.pins()
    assert len(found) == len(lines)


def test_direct_dependencies_are_all_listed(tools: ModuleType) -> None:
    wanted = [
        re.split(r"[\s<>=!~\[;]", line)[0].lower().replace("_", "-")
        for line in importlib.metadata.requires("geodecloud") or []
        if "extra ==" not in line
    ]
    always = {package.name for package in tools.packages() if not package.extras}
    assert set(wanted) <= always


def test_the_bill_of_materials_names_all_parts_and_their_hashes(tools: ModuleType) -> None:
    sbom = importlib.import_module("sbom")
    bill = sbom.describe(tools.packages())
    assert json.dumps(bill) == json.dumps(sbom.describe(tools.packages()))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    refs = [part["bom-ref"] for part in bill["components"]]
    assert len(set(refs)) == len(refs)
    known = {*refs, bill["metadata"]["component"]["bom-ref"]}
    assert {d["ref"] for d in bill["dependencies"]} | {
        r for d in bill["dependencies"] for r in d["dependsOn"]
    } <= known
    models = {p["name"]: p["hashes"][0]["content"] for p in bill["components"] if "hashes" in p}
    shipped = sorted((ROOT / "geodecloud" / "models" / "shipped").glob("*.safetensors"))
    assert models == {p.stem: hashlib.sha256(p.read_bytes()).hexdigest() for p in shipped}
    versions = {p["name"]: p["version"] for p in bill["components"] if p["type"] == "library"}
    assert versions["torch"] == importlib.metadata.version("torch")
    sys.modules.pop("sbom")


def test_the_version_stands_in_one_place() -> None:
    version = geodecloud.__version__
    literal = re.compile(rf"(?<![\d.]){re.escape(version)}(?![\d.])")
    files = [ROOT / "pyproject.toml", *(ROOT / "geodecloud").rglob("*.py"), ROOT / "mkdocs.yml"]
    found = [p.name for p in files if literal.search(p.read_text(encoding="utf-8"))]
    assert found == ["_version.py"]

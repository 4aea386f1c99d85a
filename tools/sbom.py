"""Write a bill of materials: what geodecloud is made of, as CycloneDX 1.6 in JSON.

::

    python tools/sbom.py [FILE]          # dist/sbom.json

The same for the same versions, to the byte: it holds no time and no number by chance.
"""

from __future__ import annotations

import hashlib
import json
import runpy
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dependencies import PROJECT, Package, packages

NAME = "geodecloud"


def version() -> str:
    """That of geodecloud, from the one place where it stands."""
    return str(runpy.run_path(str(PROJECT / NAME / "_version.py"))["__version__"])


def describe(found: Sequence[Package]) -> dict[str, Any]:
    """The document."""
    models = [_model(path) for path in sorted((PROJECT / NAME / "models" / "shipped").iterdir())]
    own = _purl(NAME, version())
    always = [_purl(p.name, p.version) for p in found if not p.extras]
    refs = {package.name: _purl(package.name, package.version) for package in found}
    below = [
        {"ref": refs[package.name], "dependsOn": [refs[name] for name in package.needs]}
        for package in found
    ]
    parts = [*models, *(_library(package) for package in found)]
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(parts, sort_keys=True))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{number}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": NAME,
                "version": version(),
                "purl": own,
                "licenses": [{"license": {"id": "MIT"}}],
            }
        },
        "components": parts,
        "dependencies": [
            {"ref": own, "dependsOn": [*(model["bom-ref"] for model in models), *always]},
            *below,
        ],
    }


def _purl(name: str, number: str) -> str:
    return f"pkg:pypi/{name}@{quote(number)}"


def _library(package: Package) -> dict[str, Any]:
    purl = _purl(package.name, package.version)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "scope": "optional" if package.extras else "required",
        "purl": purl,
        "licenses": [{"license": {"name": package.licence}}],
    }
    if package.home:
        component["externalReferences"] = [{"type": "website", "url": package.home}]
    return component


def _model(path: Path) -> dict[str, Any]:
    """Weights that are shipped: no code, but what results depend on."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "type": "machine-learning-model",
        "bom-ref": f"{NAME}/{path.name}",
        "name": path.stem,
        "version": version(),
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT / "dist" / "sbom.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(describe(packages()), indent=1) + "\n", encoding="utf-8")
    print(target)

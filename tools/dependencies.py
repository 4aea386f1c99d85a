"""What geodecloud needs to run: all packages it depends on, itself or through others, as they are installed here."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1]
#: Extras of users; those of developers are not among them.
EXTRAS = ("openvino", "s2cloudless", "cluster", "s3", "metrics", "train")
#: What classifiers and long texts of licences come to.
_SHORT = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
}


@dataclass(frozen=True)
class Package:
    """One package.

    Attributes
    ----------
    name, version, licence, home : as its metadata say
    extras : through which of ours it comes; empty: always
    needs : names of the packages it depends on here
    """

    name: str
    version: str
    licence: str
    home: str
    extras: tuple[str, ...]
    needs: tuple[str, ...]


def pins() -> dict[str, str]:
    """Version of each package in constraints.txt, by its canonical name."""
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {canonicalize_name(name): version for name, version in pairs}


def packages() -> list[Package]:
    """All of them by name, of those that constraints.txt pins: builds of torch bring more of their own."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    found: dict[str, set[str]] = {}
    for line in project["dependencies"]:
        _follow(Requirement(line), "", found)
    for extra in EXTRAS:
        for line in extras[extra]:
            _follow(Requirement(line), extra, found)
    return [_package(name, found[name], found) for name in sorted(found)]


def _follow(requirement: Requirement, extra: str, found: dict[str, set[str]]) -> None:
    """Note a requirement and all below it, each once for an extra."""
    name = canonicalize_name(requirement.name)
    if name not in pins() or extra in found.get(name, ()):
        return
    try:
        needs = distribution(name).requires or []
    except PackageNotFoundError:
        return
    found.setdefault(name, set()).add(extra)
    for line in needs:
        below = Requirement(line)
        if _applies(below, requirement.extras):
            _follow(below, extra, found)


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _package(name: str, extras: set[str], found: Mapping[str, object]) -> Package:
    meta = distribution(name).metadata
    below = (Requirement(line) for line in distribution(name).requires or [])
    needs = {canonicalize_name(one.name) for one in below if _applies(one, set())}
    urls = dict(line.split(", ", 1) for line in meta.get_all("Project-URL") or [] if ", " in line)
    home = next(
        (urls[key] for key in ("Homepage", "homepage", "Home", "Source") if key in urls), ""
    )
    return Package(
        name,
        meta["Version"],
        licence_of(meta),
        meta.get("Home-page") or home,
        () if "" in extras else tuple(sorted(extras)),
        tuple(sorted(needs & found.keys())),
    )


def licence_of(meta: Mapping[str, str]) -> str:
    """A short name of the licence, from the surest place that says it; "not said": nowhere."""
    if expression := meta.get("License-Expression"):
        return expression
    classifiers = meta.get_all("Classifier") or []  # type: ignore[attr-defined]
    names = [c.rsplit(" :: ", 1)[-1] for c in classifiers if c.startswith("License :: OSI")]
    text = (meta.get("License") or "").strip()
    if found := re.search(r"^\s*#*\s*Attribution-ShareAlike (\d\.\d) International", text, re.M):
        return f"CC-BY-SA-{found[1]}"
    first = text.splitlines()[:1]
    if first and len(first[0]) < 40 and not re.match(r"Copyright|The ", first[0]):
        names = names or first
    said = [_SHORT.get(name, name) for name in names if name != "OSI Approved"]
    return " AND ".join(sorted(set(said))) or "not said"

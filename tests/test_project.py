"""The house keeps its own rules: imports, environments, file sizes, words."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent


def test_import_loads_no_torch() -> None:
    code = "import geodecloud, sys; print('torch' in sys.modules, 'xarray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    "order",
    [
        "import geodecloud, xarray",
        "import xarray, geodecloud",
        "import geodecloud, importlib.util; importlib.util.find_spec('xarray'); import xarray",
    ],
)
def test_accessor_is_there_in_any_order(order: str) -> None:
    code = f"{order}; print(hasattr(xarray.DataArray, 'geodecloud'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_front_door_opens() -> None:
    import geodecloud

    for name in geodecloud.__all__:
        assert getattr(geodecloud, name) is not None
    with pytest.raises(AttributeError, match="attribute nothing"):
        _ = geodecloud.nothing


def requirements(lines: list[str]) -> dict[str, str]:
    pairs = [re.sub(r"\[.*\]", "", line).split(">=") for line in lines]
    return {name.strip(): bound.strip() for name, bound in pairs}


def test_environment_is_equal_to_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = list(project["dependencies"])
    for extra in ("cluster", "openvino", "s2cloudless", "s3", "metrics", "train", "test", "dev"):
        wanted += extras[extra]
    expected = requirements([line for line in wanted if not line.startswith("geodecloud")])
    expected["pytorch"] = expected.pop("torch")
    expected["python"] = project["requires-python"].removeprefix(">=")
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    listed += next(line["pip"] for line in listed if isinstance(line, dict))
    others = ("pip", "--editable .")
    found = requirements([line for line in listed if isinstance(line, str) and line not in others])
    assert found == expected


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    for line in [*project["dependencies"], *(line for extra in extras.values() for line in extra)]:
        requirement = Requirement(line)
        if requirement.name != "geodecloud":
            assert requirement.specifier.contains(pins[requirement.name]), line


def test_files_name_no_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    words = ["/" + "work/", "/" + "root/", "pypi" + ".org"]
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yml", ".txt", ".sh", ""} and path.is_file():
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert not [word for word in words if word in text], name


@pytest.mark.parametrize(
    "page", sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]), ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target

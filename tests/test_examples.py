"""The scripts of examples/ run as a reader would run them."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
from conftest import textured_dn, write_raster

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(path for folder in (EXAMPLES, ROOT / "benchmarks") for path in folder.glob("*.py"))


def run(script: str, *args: object) -> str:
    command = [sys.executable, str(EXAMPLES / script), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = write_raster(tmp_path / "scene.tif", textured_dn(4, 90, 300), nodata=0)
    with rasterio.open(path, "r+") as dst:
        dst.scales = (1e-4,) * 4
    return path


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_scripts_import_what_there_is(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks take minutes, so that a name they lost is seen when somebody needs them."""
    monkeypatch.syspath_prepend(str(script.parent))
    before = set(sys.modules)
    try:
        runpy.run_path(str(script))
    finally:  # benchmarks import each other by names as plain as "memory"
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(str(script.parent)):
                del sys.modules[name]


def test_a_folder_on_a_cluster(small: Path, tmp_path: Path) -> None:
    said = run("cluster.py", small.parent, tmp_path / "clear")
    assert "scene.tif" in said
    assert "done" in said
    assert (tmp_path / "clear/scene_decloud.tif").is_file()


def test_a_pipeline_of_xarray(small: Path, tmp_path: Path) -> None:
    assert run("xarray_pipeline.py", small, tmp_path / "ndvi.tif").strip().endswith("ndvi.tif")
    with rasterio.open(tmp_path / "ndvi.tif") as src:
        assert (src.count, src.dtypes) == (1, ("float32",))


def test_a_series_in_zarr(small: Path, tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    said = run("zarr_series.py", small, tmp_path / "series.zarr", tmp_path / "clear.zarr")
    assert said.count("of the ground was seen") == 3

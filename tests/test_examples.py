"""The scripts of examples/ run as a reader would run them."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
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
    if script.name == "mutation.py":
        pytest.importorskip("mutmut", reason="it is in an extra of its own")
    monkeypatch.syspath_prepend(str(script.parent))
    before = set(sys.modules)
    try:
        runpy.run_path(str(script))
    finally:  # benchmarks import each other by names as plain as "memory"
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(str(script.parent)):
                del sys.modules[name]


def reflectance(path: Path) -> np.ndarray:
    """What a reader sees that heeds scale, offset and nodata, as QGIS does."""
    with rioxarray.open_rasterio(path, mask_and_scale=True) as opened:
        return opened.load().values


def test_a_made_up_scene(tmp_path: Path) -> None:
    run("make_scene.py", tmp_path / "scene.tif", "--clear", tmp_path / "truth.tif", "--size", 256)
    scene, truth = reflectance(tmp_path / "scene.tif"), reflectance(tmp_path / "truth.tif")
    for values in (scene, truth):
        assert 0 < np.nanmin(values) < np.nanmedian(values) < np.nanmax(values) < 1.5
    assert np.nanmean(scene) > np.nanmean(truth)


def test_a_folder_on_a_cluster(small: Path, tmp_path: Path) -> None:
    said = run("cluster.py", small.parent, tmp_path / "clear")
    assert "scene.tif" in said
    assert "done" in said
    before, after = reflectance(small), reflectance(tmp_path / "clear/scene_decloud.tif")
    assert 0 < (before == after).mean() < 1
    assert 0 < np.nanmin(after) < np.nanmax(after) < 1.5


def test_a_pipeline_of_xarray(small: Path, tmp_path: Path) -> None:
    """The index as numpy has it, wherever the ground was seen."""
    assert run("xarray_pipeline.py", small, tmp_path / "ndvi.tif").strip().endswith("ndvi.tif")
    with rasterio.open(tmp_path / "ndvi.tif") as src:
        assert (src.count, src.dtypes, src.descriptions) == (1, ("float32",), ("NDVI",))
        assert (src.scales, src.offsets, src.tags(1)) == ((1.0,), (0.0,), {})
    with rasterio.open(small) as src:
        dn = src.read().astype(float)
    expected = (dn[3] - dn[2]) / (dn[3] + dn[2])  # an offset of 0
    (ndvi,) = reflectance(tmp_path / "ndvi.tif")
    same = np.isclose(ndvi, expected, atol=1e-6)
    assert same.mean() > 0
    assert np.nanmax(np.abs(ndvi)) <= 1


def test_a_series_in_zarr(small: Path, tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    said = run("zarr_series.py", small, tmp_path / "series.zarr", tmp_path / "clear.zarr")
    assert said.count("of the ground was seen") == 3
    with rasterio.open(small) as src:
        first = src.read(1) * 1e-4
    with xr.open_zarr(tmp_path / "clear.zarr", consolidated=False) as clear:  # masks and scales
        assert set(np.unique(clear.provenance)) <= set(range(6))
        blue = clear.B02.isel(time=0).values
        assert np.isclose(blue, first, atol=1e-6).mean() > 0
        assert 0 < np.nanmin(blue) < np.nanmax(blue) < 1.5

"""The same command makes the same bytes; another processor or backend makes pixels that differ by 1 DN at most."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import BANDS, textured_dn, write_raster

LAYERS = ("provenance", "cloud-map", "confidence")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rough ground under a cloud, thin at its rim."""
    y, x = np.mgrid[:150, :190]
    cloud = np.clip(1.5 - np.hypot(y - 70, x - 90) / 40, 0, 1)
    dn = textured_dn(4, 150, 190, nodata=0) * (1 - cloud) + 7000 * cloud
    path = write_raster(tmp_path_factory.mktemp("in") / "scene.tif", dn.astype(np.uint16), nodata=0)
    with rasterio.open(path, "r+") as dst:
        dst.descriptions, dst.scales = BANDS, (1e-4,) * 4
    return path


def run(scene: Path, out: Path, *words: str, **environment: str) -> dict[str, bytes]:
    """The command in a process of its own, whose order of sets is another each time; name -> content."""
    out.mkdir()
    command = [sys.executable, "-m", "geodecloud", str(scene), "--out", str(out / "clear.tif")]
    for layer in LAYERS:
        command += [f"--{layer}", str(out / f"{layer}.tif")]
    told = {"PYTHONHASHSEED": "random", **environment}
    subprocess.run([*command, *words], check=True, env=os.environ | told, capture_output=True)
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def pixels(folder: Path, name: str) -> np.ndarray:
    with rasterio.open(folder / name) as src:
        return src.read().astype(np.float64)


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_the_same_command_makes_the_same_bytes(backend: str, scene: Path, tmp_path: Path) -> None:
    first = run(scene, tmp_path / "a", "--backend", backend)
    assert len(first) == 1 + len(LAYERS)
    assert run(scene, tmp_path / "b", "--backend", backend) == first
    one_thread = run(scene, tmp_path / "c", "--backend", backend, "--workers", "1")
    assert one_thread == first
    codes = pixels(tmp_path / "a", "provenance.tif")
    assert {1, 2, 3} <= set(np.unique(codes))  # there was something to do


@pytest.mark.parametrize("other", ["backend", "processor"])
def test_elsewhere_pixels_differ_by_1_dn_at_most(other: str, scene: Path, tmp_path: Path) -> None:
    """An older processor sums in another order: both libraries can be kept from newer instructions."""
    if other == "backend":
        words, environment = ["--backend", "openvino"], {}
    else:
        words, environment = ["--backend", "torch"], {"ATEN_CPU_CAPABILITY": "default"}
        environment["ONEDNN_MAX_CPU_ISA"] = "SSE41"
    run(scene, tmp_path / "a", "--backend", "torch")
    run(scene, tmp_path / "b", *words, **environment)
    one, two = (pixels(tmp_path / folder, "clear.tif") for folder in "ab")
    assert np.abs(one - two).max() <= 1
    codes = [pixels(tmp_path / folder, "provenance.tif") for folder in "ab"]
    assert (codes[0] != codes[1]).mean() < 1e-3  # where an opacity is at a threshold
    observed = (codes[0] == 1) & (codes[1] == 1)
    np.testing.assert_array_equal(*(np.where(observed, image, 0) for image in (one, two)))

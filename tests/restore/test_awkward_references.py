"""References as they come: what is said of each, and that a batch does its scenes without those that cannot be."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from conftest import BANDS, textured_dn, write_raster
from rasterio.transform import from_origin
from rasterio.warp import Resampling, calculate_default_transform, reproject

import geodecloud
from geodecloud.cli.commands import main
from geodecloud.restore.composite import Provenance

SIDE = 96
PLACE = {"crs": "EPSG:32633", "transform": from_origin(500000, 5000000, 10, 10), "nodata": 0}
GROUND = textured_dn(4, SIDE, SIDE)
HOLE = np.zeros((SIDE, SIDE), bool)
HOLE[30:60, 20:55] = True


def write(path: Path, dn: np.ndarray, classes: int | np.ndarray = 4, **place: object) -> Path:
    scl = np.broadcast_to(classes, dn.shape[1:])[None].astype(dn.dtype)
    write_raster(path, np.concatenate([dn, scl]), **(PLACE | place))
    with rasterio.open(path, "r+") as dst:
        dst.descriptions, dst.scales = (*BANDS, "SCL"), (1e-4,) * 4 + (1.0,)
    return path


def moved(path: Path, crs: str, res: float) -> Path:
    """The ground as rasterio brings it to another CRS and resolution."""
    left, bottom, right, top = rasterio.transform.array_bounds(SIDE, SIDE, PLACE["transform"])
    transform, width, height = calculate_default_transform(
        PLACE["crs"], crs, SIDE, SIDE, left, bottom, right, top, resolution=res
    )
    out = np.zeros((4, height, width), np.uint16)
    reproject(
        GROUND, out, src_crs=PLACE["crs"], src_transform=PLACE["transform"], src_nodata=0,
        dst_crs=crs, dst_transform=transform, dst_nodata=0, resampling=Resampling.bilinear,
    )  # fmt: skip
    return write(path, out, np.where(out[0] == 0, 0, 4), crs=crs, transform=transform)


def with_offset(path: Path) -> Path:
    """As baselines from 04.00 on have it."""
    write(path, GROUND + 1000)
    with rasterio.open(path, "r+") as dst:
        dst.offsets = (-0.1,) * 4 + (0.0,)
    return path


def truncated(path: Path) -> Path:
    write(path, GROUND)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


FAR = from_origin(700000, 5000000, 10, 10)
NAME = "T33_20200601.tif"
#: Kind -> how it is written.
KINDS: dict[str, Callable[[Path], Path]] = {
    "other UTM zone": lambda path: moved(path, "EPSG:32632", 10),
    "other resolution": lambda path: moved(path, "EPSG:32633", 20),
    "other offset": with_offset,
    "all cloud": lambda path: write(path, np.full_like(GROUND, 8000), 9),
    "no overlap": lambda path: write(path, GROUND, transform=FAR),
    "truncated": truncated,
    "8 bit": lambda path: write_raster(path, (GROUND // 50).astype(np.uint8), **PLACE),
    "other bands": lambda path: write_raster(path, GROUND[:2], **PLACE),
}
#: Kind -> what a run says of it. The others fill; of a date that is all cloud nothing is used.
REFUSED = {
    "no overlap": r"does not overlap the scene",
    "truncated": r"T33_20200601\.tif cannot be (opened as a raster|read, it may be cut off)",
    "other bands": r"has none of the scene's bands B02 B03 B04 B08",
    "the scene itself": r"is the scene itself; give other dates of its ground",
}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    dn = np.where(HOLE, 8000, GROUND).astype(np.uint16)
    return write(tmp_path / "in" / "T33_20200611.tif", dn, np.where(HOLE, 9, 4))


@pytest.mark.parametrize("kind", [*KINDS, "the scene itself"])
def test_a_run_says_what_is_wrong_or_fills(
    kind: str, scene: Path, toy_model: Path, tmp_path: Path
) -> None:
    reference = KINDS[kind](scene.parent / NAME) if kind in KINDS else scene
    out, codes = tmp_path / "out.tif", tmp_path / "codes.tif"
    words = [scene, "--out", out, "--model", toy_model, "--mask", f"{scene}:SCL"]
    words += ["--reference", reference, "--provenance", codes]
    result = CliRunner().invoke(main, list(map(str, words)))
    if kind in REFUSED:
        assert result.exit_code == 1
        assert re.search(REFUSED[kind], result.stderr), result.stderr
        assert "Traceback" not in result.stderr
        assert not out.exists()
        return
    assert result.exit_code == 0, result.stderr
    with rasterio.open(codes) as dst, rasterio.open(out) as image:
        filled = dst.read(1) == Provenance.OTHER_DATE
        error = np.abs(image.read()[:4].astype(int) - GROUND)
    says_so = f"{NAME} fills nothing" in result.stderr
    assert says_so == (kind == "all cloud"), result.stderr
    if says_so:
        assert not filled.any()
        return
    assert filled[HOLE].all()
    # the noise of single pixels does not survive another grid
    assert np.median(error[:, HOLE]) <= (5 if kind == "other offset" else 150)
    assert (error[:, ~HOLE] == 0).all()


@pytest.mark.filterwarnings("ignore:model toy does not restore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_does_the_scene_whatever_lies_beside_it(
    kind: str, scene: Path, toy_model: Path, tmp_path: Path
) -> None:
    KINDS[kind](scene.parent / NAME)
    report = geodecloud.decloud_folder(scene.parent, tmp_path / "out", model=str(toy_model))
    states = {Path(outcome.scene).name: outcome.state for outcome in report.outcomes}
    assert states[scene.name] == "done"
    assert (tmp_path / "out" / f"{scene.stem}_decloud.tif").exists()

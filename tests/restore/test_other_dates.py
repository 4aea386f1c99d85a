"""Holes filled from other dates, through every door; planted scenes say what is right."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401
import xarray as xr
from conftest import BANDS, Options, textured_dn, write_raster
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin
from waiting import journalled, wait_while

import geodecloud
from geodecloud.batch.dates import DatedScene, choose_references
from geodecloud.errors import BandError, OptionError, SceneError
from geodecloud.pipeline import decloud
from geodecloud.restore.composite import Provenance
from geodecloud.restore.fit import PATCH_PX, plan_patches
from geodecloud.windows.tiler import Window

HEIGHT, WIDTH = 150, 170
GRID = {"crs": "EPSG:32633", "transform": from_origin(500000, 5000000, 10, 10), "nodata": 0}


@pytest.fixture(scope="module")
def dates() -> dict[str, np.ndarray]:
    """Four dates of one ground, (4, H, W) DN; the first is a mixture of the others, known exactly."""
    rng = np.random.default_rng(3)
    ground = textured_dn(4, HEIGHT, WIDTH).astype(float)
    others = [
        np.clip(ground * gain + shift + rng.normal(0, 60, ground.shape), 1, 9000)
        for gain, shift in ((0.8, 200), (1.1, 100), (0.9, 400))
    ]
    scene = 0.5 * others[0] + 0.3 * others[1] + 0.15 * others[2] + 90
    return {
        f"2020-06-{day:02}": np.rint(image).astype(np.uint16)
        for day, image in zip((11, 1, 16, 21), (scene, *others), strict=True)
    }


@pytest.fixture(scope="module")
def hole() -> np.ndarray:
    """Where opaque cloud lies over the first date: in the midst, and at the edge of the scene."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return ((y - 70) ** 2 + (x - 60) ** 2 < 35**2) | (x > 150)


def cloudy(dates: dict[str, np.ndarray], hole: np.ndarray) -> np.ndarray:
    scene = dates["2020-06-11"].copy()
    scene[:, hole] = 8000
    return scene


def array(dn: np.ndarray, day: str, classes: np.ndarray | None = None) -> xr.DataArray:
    scl = np.full(dn.shape[1:], 4, np.uint8) if classes is None else classes
    left, top = 500000, 5000000
    return xr.DataArray(
        dn,
        dims=("band", "y", "x"),
        coords={
            "x": left + 5 + 10 * np.arange(dn.shape[2]),
            "y": top - 5 - 10 * np.arange(dn.shape[1]),
            "scl": (("y", "x"), scl),
            "time": np.datetime64(day, "ns"),
        },
        attrs={"long_name": BANDS, "_FillValue": 0},
    ).rio.write_crs("EPSG:32633")


def others(dates: dict[str, np.ndarray]) -> list[xr.DataArray]:
    return [array(dn, day) for day, dn in dates.items() if day != "2020-06-11"]


def fill(
    dates: dict[str, np.ndarray], hole: np.ndarray, toy_model: Path, **options: object
) -> geodecloud.pipeline.Declouded:
    scene = array(cloudy(dates, hole), "2020-06-11", np.where(hole, 9, 4).astype(np.uint8))
    asked = {"model": str(toy_model), "mask": "scl", "references": others(dates)} | options
    return decloud(scene, Options(**asked))


def test_a_hole_gets_the_ground_that_the_dates_make(
    dates: dict[str, np.ndarray], hole: np.ndarray, toy_model: Path
) -> None:
    result = fill(dates, hole, toy_model)
    truth = dates["2020-06-11"].astype(int)
    assert np.abs(result.image.values.astype(int) - truth)[:, hole].max() <= 3
    np.testing.assert_array_equal(result.image.values[:, ~hole], truth[:, ~hole])
    np.testing.assert_array_equal(result.provenance == Provenance.OTHER_DATE, hole)
    days = np.unique(result.source_date.values[hole])
    assert {np.datetime64(int(day), "D").item().isoformat() for day in days} <= set(dates)
    assert (result.source_date.values[~hole] == 0).all()
    np.testing.assert_array_equal(np.isfinite(result.confidence), hole)
    assert result.confidence.values[hole].max() < 0.005


@settings(max_examples=6)
@given(
    height=st.integers(40, 170), width=st.integers(40, 170), window=st.sampled_from([32, 64, 300])
)
def test_the_cut_changes_nothing(
    height: int,
    width: int,
    window: int,
    dates: dict[str, np.ndarray],
    hole: np.ndarray,
    toy_model: Path,
) -> None:
    whole = fill(dates, hole, toy_model, mask="auto")
    scene = array(cloudy(dates, hole), "2020-06-11", np.where(hole, 9, 4).astype(np.uint8))
    lazy = scene.chunk({"y": height, "x": width})
    asked = {"model": str(toy_model), "references": others(dates), "window": window}
    cut = decloud(lazy, Options(**asked))
    difference = np.abs(cut.image.values.astype(int) - whole.image.values)
    assert difference.max() <= 1
    assert (cut.provenance.values == whole.provenance.values).mean() > 0.999


def test_what_no_date_shows_is_left_or_made_up(
    dates: dict[str, np.ndarray], hole: np.ndarray, toy_model: Path
) -> None:
    """The dates are cloudy in a part of the hole."""
    both = hole & (np.arange(HEIGHT)[:, None] < 70)
    hidden = np.where(both, 9, 4).astype(np.uint8)
    references = [array(one.values, str(one.time.values)[:10], hidden) for one in others(dates)]
    made_up = fill(dates, hole, toy_model, references=references)
    left = fill(dates, hole, toy_model, references=references, synthesis=False)
    strict = fill(dates, hole, toy_model, references=references, strict=True)
    assert (made_up.provenance.values[both] == Provenance.SYNTHESISED).all()
    assert (left.provenance.values[both] == Provenance.LEFT).all()
    assert (left.image.values[:, both] == 8000).all()
    assert (left.provenance == Provenance.OTHER_DATE).any()
    assert (strict.provenance.values[hole] == Provenance.LEFT).all()
    assert (strict.image.values[:, hole] == 8000).all()


def test_each_date_of_a_stack_is_filled_from_the_others(
    dates: dict[str, np.ndarray], hole: np.ndarray, toy_model: Path
) -> None:
    scene = array(cloudy(dates, hole), "2020-06-11", np.where(hole, 9, 4).astype(np.uint8))
    stack = xr.concat([scene, *others(dates)], "time", coords="different", compat="equals").sortby(
        "time"
    )
    result = decloud(stack, Options(model=str(toy_model), mask="scl", references="time"))
    codes = result.provenance.sel(time="2020-06-11").values
    np.testing.assert_array_equal(codes == Provenance.OTHER_DATE, hole)
    alone = fill(dates, hole, toy_model)
    np.testing.assert_array_equal(result.image.sel(time="2020-06-11"), alone.image)
    for day in ("2020-06-01", "2020-06-16", "2020-06-21"):
        np.testing.assert_array_equal(result.image.sel(time=day).values, dates[day])


def test_a_date_on_another_grid_is_brought_to_the_scenes(
    dates: dict[str, np.ndarray], hole: np.ndarray, toy_model: Path
) -> None:
    """Smooth ground: what rasterio's own reprojection makes of it is as good a fill."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    smooth = 1500 + 400 * np.sin(x / 25) + 300 * np.cos(y / 30) + 2 * x
    dn = np.stack([smooth * gain for gain in (0.8, 1.0, 1.1, 1.6)]).astype(np.uint16)
    scene = array(
        np.where(hole, 8000, dn).astype(np.uint16),
        "2020-06-11",
        np.where(hole, 9, 4).astype(np.uint8),
    )
    other = array(dn, "2020-06-01")
    moved = other.drop_vars("scl").rio.reproject("EPSG:32634", resolution=14, nodata=0)
    moved = moved.assign_coords(
        scl=(("y", "x"), np.where((moved == 0).all("band"), 0, 4).astype(np.uint8))
    )
    moved.attrs["long_name"] = BANDS
    result = decloud(scene, Options(model=str(toy_model), mask="scl", references=[moved]))
    inner = hole & (x < 140)
    assert (result.provenance.values[inner] == Provenance.OTHER_DATE).mean() > 0.95
    filled = result.provenance.values == Provenance.OTHER_DATE
    error = np.abs(result.image.values.astype(int) - dn)[:, filled]
    assert np.median(error) < 10
    assert np.percentile(error, 95) < 60


def write(path: Path, dn: np.ndarray, classes: np.ndarray, **profile: object) -> Path:
    both = np.concatenate([dn, classes[None].astype(np.uint16)])
    write_raster(path, both, **(GRID | profile))
    with rasterio.open(path, "r+") as dst:
        dst.descriptions = (*BANDS, "SCL")
        dst.scales = (1e-4,) * 4 + (1.0,)
    return path


@pytest.fixture
def files(dates: dict[str, np.ndarray], hole: np.ndarray, tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "in").mkdir()
    found = {}
    for day, dn in dates.items():
        here = hole if day == "2020-06-11" else np.zeros_like(hole)
        pixels = cloudy(dates, hole) if day == "2020-06-11" else dn
        path = tmp_path / "in" / f"T33_{day.replace('-', '')}.tif"
        found[day] = write(path, pixels, np.where(here, 9, 4))
    return found


@pytest.mark.filterwarnings("ignore:model toy does not restore")
def test_a_file_is_filled_as_an_array_is(
    files: dict[str, Path],
    dates: dict[str, np.ndarray],
    hole: np.ndarray,
    toy_model: Path,
    tmp_path: Path,
) -> None:
    scene, *rest = files.values()
    out, days = tmp_path / "out.tif", tmp_path / "days.tif"
    report = geodecloud.decloud_scene(
        scene, out, model=str(toy_model), mask=f"{scene}:SCL", references=rest, source_date=days,
        confidence=tmp_path / "error.tif",
    )  # fmt: skip
    assert report.pixels["other_date"] == hole.sum()
    assert sum(report.references.values()) == hole.sum()
    truth = dates["2020-06-11"].astype(int)
    with rasterio.open(out) as dst, rasterio.open(days) as day:
        assert np.abs(dst.read()[:4].astype(int) - truth)[:, hole].max() <= 3
        np.testing.assert_array_equal(dst.read()[:4][:, ~hole], truth[:, ~hole])
        assert len(json.loads(dst.tags()["GEODECLOUD_PARAMETERS"])["references"]) == 3
        named = json.loads(dst.tags()["GEODECLOUD_REFERENCES"])
        assert sorted(named.values()) == ["2020-06-01", "2020-06-16", "2020-06-21"]
        assert set(named) == {path.name for path in rest}
        assert set(np.unique(day.read(1)[hole])) <= {18414, 18429, 18434}  # 2020-06-01, 16, 21
        assert (day.read(1)[~hole] == 0).all()


@pytest.mark.filterwarnings("ignore:model toy does not restore")
def test_a_batch_fills_each_date_from_the_others_and_goes_on(
    files: dict[str, Path], hole: np.ndarray, toy_model: Path, tmp_path: Path
) -> None:
    asked = {"model": str(toy_model), "provenance": True}
    report = geodecloud.decloud_folder(tmp_path / "in", tmp_path / "out", **asked)
    assert report.count("done") == 4
    with rasterio.open(tmp_path / "out" / "T33_20200611_provenance.tif") as dst:
        assert (dst.read(1)[hole] == Provenance.OTHER_DATE).mean() > 0.9
    assert (
        geodecloud.decloud_folder(tmp_path / "in", tmp_path / "out", **asked).count("skipped") == 4
    )
    alone = geodecloud.decloud_folder(
        tmp_path / "in", tmp_path / "alone", references="none", **asked
    )
    assert all(outcome.other_date == 0 for outcome in alone.outcomes)


def test_a_killed_batch_goes_on_to_the_same_bytes(
    files: dict[str, Path], toy_model: Path, tmp_path: Path
) -> None:
    """A scene done before the kill and one done after it see the same dates."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    command = [sys.executable, "-m", "geodecloud", "batch", str(tmp_path / "in"), "-q"]
    command += ["--model", str(toy_model), "--source-date", "--out-dir"]
    subprocess.run([*command, str(whole)], check=True)
    process = subprocess.Popen([*command, str(out)])
    wait_while(process, lambda: not journalled(out))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    subprocess.run([*command, str(out)], check=True)
    expected = {path.name: path.read_bytes() for path in whole.glob("*.tif")}
    assert len(expected) == 8
    assert {path.name: path.read_bytes() for path in out.glob("*.tif")} == expected


@pytest.mark.filterwarnings("ignore:model toy does not restore")
def test_a_batch_does_a_scene_without_a_date_that_is_damaged(
    files: dict[str, Path], toy_model: Path, tmp_path: Path
) -> None:
    damaged = files["2020-06-16"]
    damaged.write_bytes(damaged.read_bytes()[:60_000])
    report = geodecloud.decloud_folder(tmp_path / "in", tmp_path / "out", model=str(toy_model))
    assert [outcome.state for outcome in report.outcomes].count("done") == 3


@pytest.mark.filterwarnings("ignore:model toy does not restore")
def test_references_that_cannot_be(
    files: dict[str, Path], dates: dict[str, np.ndarray], toy_model: Path, tmp_path: Path
) -> None:
    scene, other, *_ = files.values()
    asked = {"model": str(toy_model)}
    with pytest.raises(SceneError, match="is the scene itself"):
        geodecloud.decloud_scene(scene, tmp_path / "o.tif", references=[scene], **asked)
    far = write(
        tmp_path / "far.tif",
        dates["2020-06-01"],
        np.full((HEIGHT, WIDTH), 4),
        transform=from_origin(700000, 5000000, 10, 10),
    )
    with pytest.raises(SceneError, match=r"far\.tif does not overlap the scene"):
        geodecloud.decloud_scene(scene, tmp_path / "o.tif", references=[far], **asked)
    with rasterio.open(far, "r+") as dst:
        dst.crs = 'LOCAL_CS["of a drawing",UNIT["metre",1]]'
    with pytest.raises(SceneError, match=r"the CRS of .*far\.tif cannot be brought to the scene's"):
        geodecloud.decloud_scene(scene, tmp_path / "o.tif", references=[far], **asked)
    radar = write_raster(tmp_path / "radar.tif", dates["2020-06-01"][:2], **GRID)
    with pytest.raises(BandError, match="has none of the scene's bands"):
        geodecloud.decloud_scene(scene, tmp_path / "o.tif", references=[radar], **asked)
    with pytest.raises(OptionError, match="source_date is about pixels that other dates filled"):
        geodecloud.decloud_scene(scene, tmp_path / "o.tif", source_date=tmp_path / "d.tif", **asked)
    with pytest.raises(OptionError, match="are no arrays"):
        geodecloud.open_scene(scene).geodecloud.remove_clouds(references=[str(other)], **asked)
    assert not (tmp_path / "o.tif").exists()


@given(st.integers(1, 12000), st.integers(1, 12000))
def test_patches_lie_in_the_scene_and_apart(height: int, width: int) -> None:
    extent = Window(0, 0, width, height)
    patches = plan_patches(extent)
    assert 1 <= len(patches) <= 36
    for patch in patches:
        assert patch.grow(0, extent) == patch
        assert patch.width <= 2 * PATCH_PX
    for i, one in enumerate(patches):
        assert not any(one.intersects(other) for other in patches[i + 1 :])


def test_a_batch_takes_near_and_clear_dates_of_the_same_ground() -> None:
    from datetime import date

    from shapely import box

    here, there = box(10, 45, 11, 46), box(20, 45, 21, 46)
    scenes = [DatedScene(f"{day}", date(2020, 6, day), here) for day in (1, 6, 11, 16, 21, 26)]
    scenes += [DatedScene("far", date(2020, 6, 12), there)]
    scenes += [DatedScene("overcast", date(2020, 6, 13), here, clear_share=0.05)]
    chosen = choose_references(scenes, 4)
    assert chosen["11"] == ("1", "6", "16", "21")
    assert chosen["far"] == ()


@pytest.fixture
def twelve_dates(real_data: Path, tmp_path: Path) -> Path:
    """A folder of twelve real dates of one place in Romania, as they come, under names that tell the day."""
    folder = tmp_path / "in"
    folder.mkdir()
    days = sorted((real_data / "series" / "romania").glob("2018-0*.tif"))[:12]
    assert len(days) == 12
    for day in days:
        shutil.copy(day, folder / f"romania_{day.stem.replace('-', '')}.tif")
    return folder


@pytest.mark.filterwarnings("ignore:model toy does not restore")
def test_twelve_real_dates_fill_each_other_and_a_killed_run_ends_in_the_same_bytes(
    twelve_dates: Path, toy_model: Path, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    command = [sys.executable, "-m", "geodecloud", "batch", str(twelve_dates), "-q", "--mask"]
    command += ["scl", "--model", str(toy_model), "--provenance", "--source-date", "--out-dir"]
    subprocess.run([*command, str(whole)], check=True)
    process = subprocess.Popen([*command, str(out)])
    wait_while(process, lambda: journalled(out) < 4)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(list(out.glob("*_decloud.tif"))) < 12
    subprocess.run([*command, str(out)], check=True)
    expected = {path.name: path.read_bytes() for path in whole.glob("*.tif")}
    assert len(expected) == 36
    assert {path.name: path.read_bytes() for path in out.glob("*.tif")} == expected
    filled = 0
    for scene in sorted(twelve_dates.iterdir()):
        pixels, classes = np.split(rasterio.open(scene).read(), [4])
        result = rasterio.open(out / f"{scene.stem}_decloud.tif").read()
        codes = rasterio.open(out / f"{scene.stem}_provenance.tif").read(1)
        days = rasterio.open(out / f"{scene.stem}_source_date.tif").read(1)
        observed = codes == Provenance.OBSERVED
        np.testing.assert_array_equal(result[:4][:, observed], pixels[:, observed])
        np.testing.assert_array_equal(result[4:], classes)
        np.testing.assert_array_equal(days > 0, codes == Provenance.OTHER_DATE)
        filled += bool((days > 0).any())
    assert filled >= 6

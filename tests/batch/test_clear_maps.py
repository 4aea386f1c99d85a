"""Clouds of dates that say nothing of them are looked for once in a batch, and change no pixel by that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

import geodecloud
from geodecloud.restore import other_dates

DAYS = ("01", "11", "21")
BANDS = ("B02", "B03", "B04", "B08")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three dates of one ground, each with an opaque cloud of its own, and no classification."""
    inside = tmp_path / "in"
    inside.mkdir()
    ground = np.random.default_rng(0).uniform(0.5, 1.5, (4, 20, 22)).repeat(8, 1).repeat(8, 2)
    ground *= np.array([500, 700, 600, 2500])[:, None, None]
    y, x = np.mgrid[:160, :176]
    for number, day in enumerate(DAYS):
        noise = np.random.default_rng(number + 1).normal(0, 15, ground.shape)
        dn = ground * (1 + 0.05 * number) + noise
        dn[:, np.hypot(y - 80, x - 40 - 45 * number) < 20] = 7000
        profile = {
            "driver": "GTiff", "width": 176, "height": 160, "count": 4, "dtype": "uint16", "nodata": 0,
            "crs": "EPSG:32633", "transform": from_origin(4e5, 5e6, 10, 10),
        }  # fmt: skip
        with rasterio.open(inside / f"T33_202006{day}.tif", "w", **profile) as dst:
            dst.write(np.rint(dn).astype(np.uint16))
            dst.descriptions, dst.scales = BANDS, (1e-4,) * 4
    return inside


def pixels_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as src:
        return src.read()


def test_each_date_is_looked_at_once_and_the_results_are_those_of_single_runs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    look = other_dates.look_at
    monkeypatch.setattr(
        "geodecloud.batch.clear_maps.look_at", lambda *a: looked.append(a[0].name) or look(*a)
    )
    out = tmp_path / "out"
    report = geodecloud.decloud_folder(folder, out, provenance=True)
    assert report.count("done") == 3
    assert sorted(Path(name).name for name in looked) == [f"T33_202006{day}.tif" for day in DAYS]
    for day in DAYS:
        others = [folder / f"T33_202006{other}.tif" for other in DAYS if other != day]
        one = tmp_path / f"{day}.tif"
        geodecloud.decloud_scene(folder / f"T33_202006{day}.tif", one, references=others)
        result = pixels_of(out / f"T33_202006{day}_decloud.tif")
        np.testing.assert_array_equal(result, pixels_of(one))
        codes = pixels_of(out / f"T33_202006{day}_provenance.tif")
        assert (codes == 5).sum() > 500  # other date

    # a date that is made anew is looked at anew, and only that
    looked.clear()
    dn = pixels_of(folder / "T33_20200611.tif")
    with rasterio.open(folder / "T33_20200611.tif", "r+") as dst:
        dst.write(dn + 1)
    assert geodecloud.decloud_folder(folder, out, provenance=True).count("done") == 3
    assert [Path(name).name for name in looked] == ["T33_20200611.tif"]

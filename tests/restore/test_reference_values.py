"""What other dates say of their numbers is held against the numbers; dates without a CRS, and dates that are the scene.

The oracle is the same date as DN with all declared.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from conftest import BANDS, textured_dn, write_raster
from hypothesis import given, settings
from hypothesis import strategies as st

import geodecloud
from geodecloud.errors import GeodecloudWarning, SceneError
from geodecloud.restore.other_dates import _Decoder
from geodecloud.scene.gaps import gap_rules
from geodecloud.scene.reflectance import Codec

GROUND = textured_dn(4, 48, 60)
CLOUDY = GROUND.copy()
CLOUDY[:, 10:30, 15:40] = 9000
CLOUD = np.zeros(GROUND.shape[1:], np.uint8)
CLOUD[10:30, 15:40] = 9


def dataset(dn: np.ndarray, classes: np.ndarray, crs: bool = False, **attrs: Any) -> xr.Dataset:
    made = xr.Dataset({b: (("y", "x"), dn[i], attrs) for i, b in enumerate(BANDS)})
    made["scl"] = (("y", "x"), np.where(classes > 0, 9, 4).astype(np.uint8))
    made = made.assign_coords(y=np.arange(48)[::-1] * 10.0 + 5, x=np.arange(60) * 10.0 + 5)
    return made.rio.write_crs("EPSG:32719") if crs else made


def cleared(other: xr.Dataset, model: Path, crs: bool = False) -> np.ndarray:
    scene = dataset(CLOUDY, CLOUD, crs, scale_factor=1e-4)
    clear = scene.geodecloud.remove_clouds(model=str(model), mask="scl", references=[other])
    return np.stack([clear[name].values for name in BANDS])


@pytest.mark.parametrize("crs", [False, True])
def test_a_classification_without_a_crs(crs: bool, toy_model: Path) -> None:
    """The same pixels lie over each other, wherever they are."""
    found = cleared(dataset(GROUND, CLOUD * 0, crs, scale_factor=1e-4), toy_model, crs)
    inside = np.s_[:, 16:24, 22:33]
    assert np.abs(found[inside].astype(int) - GROUND[inside]).mean() < 300
    np.testing.assert_array_equal(found[:, :3], CLOUDY[:, :3])


def test_a_date_of_reflectance_is_not_scaled_again(toy_model: Path) -> None:
    right = cleared(dataset(GROUND, CLOUD * 0, scale_factor=1e-4), toy_model)
    said = r"^reference 1 declares a scale of 0\.0001, but .* as they are$"
    with pytest.warns(GeodecloudWarning, match=said):
        found = cleared(dataset(GROUND * 1e-4, CLOUD * 0, scale_factor=1e-4), toy_model)
    np.testing.assert_allclose(found.astype(int), right.astype(int), atol=1)


@pytest.mark.parametrize(("times", "message"), [(1.0, "look like DN"), (1e-8, "scaled already")])
def test_a_lazy_date_that_cannot_be_is_refused(times: float, message: str, toy_model: Path) -> None:
    with pytest.raises(SceneError, match=f"reference 1 .*{message}"):
        cleared(dataset(GROUND * times, CLOUD * 0).chunk(), toy_model)


def test_a_file_of_reflectance(toy_model: Path, tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", CLOUDY, nodata=0)
    mask = write_raster(tmp_path / "mask.tif", CLOUD[None])
    other = write_raster(tmp_path / "june.tif", (GROUND * 1e-4).astype(np.float32))
    with rasterio.open(other, "r+") as dst:
        dst.scales = (1e-4,) * 4
    options = {"model": toy_model, "mask": f"{mask}:=9", "references": [other]}
    with pytest.warns(GeodecloudWarning, match=r"june\.tif declares a scale of 0\.0001, but"):
        report = geodecloud.decloud_scene(scene, tmp_path / "out.tif", **options)
    assert report.pixels["other_date"] > 100


def test_a_date_that_is_the_scene_raises_no_remark_of_numpy(toy_model: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        cleared(dataset(CLOUDY, CLOUD, scale_factor=1e-4), toy_model)


def test_a_result_that_is_declouded_again_tells_of_this_run_alone(
    toy_model: Path, tmp_path: Path
) -> None:
    first = write_raster(tmp_path / "first.tif", CLOUDY, nodata=0)
    with rasterio.open(first, "r+") as dst:
        dst.update_tags(GEODECLOUD_REFERENCES="{}", GEODECLOUD_SELF_CHECK="{}", OTHER="kept")
    geodecloud.decloud_scene(first, tmp_path / "out.tif", model="identity")
    with rasterio.open(tmp_path / "out.tif") as src:
        tags = src.tags()
    ours = {"VERSION", "MODEL", "WEIGHTS_SHA256", "PARAMETERS", "COMPUTED", "SOURCE"}
    assert {key for key in tags if key.startswith("GEO")} == {f"GEODECLOUD_{key}" for key in ours}
    assert tags["OTHER"] == "kept"


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["uint8", "int8", "uint16", "int16", "int32", "float32"]),
    st.sampled_from([(1e-4, 0.0), (1e-4, -0.1), (2.75e-5, -0.2), (1 / 255, 0.0), (-1e-4, 0.3)]),
    st.sampled_from([None, 0.0, 7.0, -5.0]),
    st.integers(0, 2**32 - 1),
)
def test_numbers_are_packed_one_by_one(
    dtype: str, formula: tuple[float, float], nodata: float | None, seed: int
) -> None:
    """Looked up or reckoned: ten-thousandths of reflectance, and no number where a band holds no measurement."""
    rng = np.random.default_rng(seed)
    low, high = (-200, 20_000) if dtype == "float32" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    dn = rng.integers(max(low, -40_000), min(high, 110_000), (3, 6, 7), endpoint=True).astype(dtype)
    dn[:, 2] = [[0], [0], [0]]
    dn[1, 3, 3] = max(low, 0) if nodata is None or nodata < low else nodata
    valid = rng.random((1, 6, 7)) > 0.1
    codec = Codec((formula[0],) * 2, (formula[1],) * 2, dtype, nodata, "as asked")
    gaps = gap_rules(codec, None)
    found = _Decoder(codec, gaps, (2, 0), "a date").packed(dn, valid)
    for y, x in np.ndindex(6, 7):
        pair = [float(dn[band, y, x]) for band in (2, 0)]
        is_gap = not valid[0, y, x] or (nodata is not None and nodata in pair)
        is_gap |= gaps.zeros and pair == [0, 0]
        is_gap |= any(pair == [number, number] for number in gaps.numbers)
        is_gap |= bool(gaps.low) and not all(gaps.low[0] <= one <= gaps.high[0] for one in pair)
        there = [np.float32(one * formula[0] + formula[1]) / np.float32(1e-4) for one in pair]
        want = [-32768 if is_gap else int(np.clip(np.rint(one), -32767, 32767)) for one in there]
        assert found[:, y, x].tolist() == want, (pair, y, x)

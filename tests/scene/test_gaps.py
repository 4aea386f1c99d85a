"""Gaps whose number nobody declared: kept, told, and kept from the ground beside them, in files and in arrays.

The oracle is the same scene with its number declared.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from conftest import BANDS, textured_dn, write_raster

import geodecloud
from geodecloud.errors import GeodecloudWarning, SceneError
from geodecloud.raster.raster_file import RasterFile

UINT16 = textured_dn(4, 60, 70)
FLOAT = (UINT16 * 1e-4).astype(np.float32)
UINT8 = np.clip(UINT16 // 25, 1, 254).astype(np.uint8)
Y, X = np.mgrid[:60, :70]
GAP = (Y - 30) ** 2 + (X - 35) ** 2 > 27**2

LOWEST, NETCDF = float(np.finfo(np.float32).min), float(np.float32(9.969209968386869e36))
#: What is stored, the number of the gaps, and whether a lazy array is refused, which nobody may look at before.
NUMBERS: dict[str, tuple[np.ndarray, float, bool]] = {
    "uint16 0": (UINT16, 0, False),
    "uint16 65535": (UINT16, 65535, False),
    "uint16 65534": (UINT16, 65534, True),
    "int16 -9999": (UINT16.astype(np.int16), -9999, False),
    "int16 -32768": (UINT16.astype(np.int16), -32768, False),
    "int32 -2147483648": (UINT16.astype(np.int32), -2147483648, False),
    "float 0": (FLOAT, 0, False),
    "float -9999": (FLOAT, -9999, False),
    "float -3.4e38": (FLOAT, LOWEST, False),
    "float 1e20": (FLOAT, float(np.float32(1e20)), True),
    "float 9.97e36": (FLOAT, NETCDF, True),
    "float -1": (FLOAT, -1, False),
}


def options(dn: np.ndarray, model: Path) -> dict[str, Any]:
    scale = {"scale": 1e-4, "offset": 0.0} if dn.dtype.kind in "iu" and dn.itemsize > 1 else {}
    return {"model": str(model), **scale}


def with_gap(dn: np.ndarray, number: float, where: Any = np.s_[:, GAP]) -> np.ndarray:
    dn = dn.copy()
    dn[where] = number
    return dn


def from_file(dn: np.ndarray, nodata: float | None, model: Path, folder: Path) -> np.ndarray:
    scene = write_raster(folder / "scene.tif", dn, nodata=nodata)
    out = folder / "out.tif"
    geodecloud.decloud_scene(scene, out, overwrite=True, **options(dn, model))
    with rasterio.open(out) as src:
        return src.read()


def from_array(
    dn: np.ndarray, declared: float | None, model: Path, rows: int | None, **more: Any
) -> np.ndarray:
    attrs = {} if declared is None else {"_FillValue": declared}
    scene = xr.DataArray(dn, dims=("band", "y", "x"), coords={"band": list(BANDS)}, attrs=attrs)
    scene = scene if rows is None else scene.chunk({"y": rows})
    clear = geodecloud.remove_clouds(scene, **options(dn, model), **more)
    return np.asarray(clear.compute().values)


def assert_kept(found: np.ndarray, right: np.ndarray, dn: np.ndarray, gap: np.ndarray) -> None:
    np.testing.assert_array_equal(found[:, gap], dn[:, gap])
    np.testing.assert_array_equal(found[:, ~gap], right[:, ~gap])
    assert (found != dn).any()
    assert np.isfinite(found[np.isfinite(dn)]).all()


@pytest.mark.parametrize("number", ["uint16 0", "float -3.4e38"])
def test_a_gap_of_a_file(number: str, toy_model: Path, tmp_path: Path) -> None:
    pixels, value, _ = NUMBERS[number]
    dn = with_gap(pixels, value)
    right = from_file(dn, value, toy_model, tmp_path)
    with pytest.warns(GeodecloudWarning, match="no measurements"):
        found = from_file(dn, None, toy_model, tmp_path)
    assert_kept(found, right, dn, GAP)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_gap_of_an_array(number: str, toy_model: Path) -> None:
    pixels, value, _ = NUMBERS[number]
    dn = with_gap(pixels, value)
    right = from_array(dn, value, toy_model, None)
    share, said = 100 * GAP.mean(), f"most often {value:g}"
    with pytest.warns(GeodecloudWarning, match="no measurements") as told:
        found = from_array(dn, None, toy_model, None)
    assert_kept(found, right, dn, GAP)
    (message,) = [str(w.message) for w in told if "no measurements" in str(w.message)]
    assert message.startswith(f"{share:.3g} % of the pixels")
    assert said in message
    assert f"nodata={value:g}" in message


LAZY = ("uint16 0", "uint16 65535", "uint16 65534", "int16 -9999", "float -3.4e38", "float 1e20")


@pytest.mark.parametrize("number", LAZY)
def test_a_gap_of_a_lazy_array(number: str, toy_model: Path) -> None:
    """Told when it is computed, once."""
    pixels, value, refused = NUMBERS[number]
    dn = with_gap(pixels, value)
    if refused:
        with pytest.raises(SceneError, match=r"no data, say so.* nodata="):
            from_array(dn, None, toy_model, 25)
        return
    right = from_array(dn, value, toy_model, 25)
    with pytest.warns(GeodecloudWarning, match=re.escape(f"most often {value:g}), and")) as told:
        found = from_array(dn, None, toy_model, 25)
    assert_kept(found, right, dn, GAP)
    assert sum("no measurements" in str(w.message) for w in told) == 1


@pytest.mark.parametrize("number", ["uint16 65534", "float 1e20"])
def test_a_lazy_array_is_computed_once_it_is_said(number: str, toy_model: Path) -> None:
    pixels, value, _ = NUMBERS[number]
    dn = with_gap(pixels, value)
    right = from_array(dn, value, toy_model, 25)
    found = from_array(dn, None, toy_model, 25, nodata=value)
    assert_kept(found, right, dn, GAP)


@pytest.mark.parametrize("rows", [None, 25])
def test_few_saturated_pixels_are_no_measurement(rows: int | None, toy_model: Path) -> None:
    """However few they are: what is told of a scene must not depend on where anybody looks."""
    few = (Y < 2) & (X < 3)
    dn = with_gap(UINT16, 65535, np.s_[:, few])
    right = from_array(dn, 65535, toy_model, rows)
    with pytest.warns(GeodecloudWarning, match="most often 65535"):
        found = from_array(dn, None, toy_model, rows)
    assert_kept(found, right, dn, few)


@pytest.mark.parametrize(
    ("pixels", "value", "rows"), [(UINT16, 0, None), (UINT16, 0, 25), (FLOAT, -9999, None)]
)
def test_a_gap_of_one_band(
    pixels: np.ndarray, value: float, rows: int | None, toy_model: Path
) -> None:
    """The pixel is left as it is in all bands."""
    dn = with_gap(pixels, value, np.s_[2, GAP])
    right = from_array(dn, value, toy_model, rows)
    with pytest.warns(GeodecloudWarning, match="no measurements"):
        found = from_array(dn, None, toy_model, rows)
    assert_kept(found, right, dn, GAP)


def test_reflectance_in_eight_bits(toy_model: Path) -> None:
    """Under Sentinel-2's names 0 in all bands is none; of a picture every number may be one."""
    dn = with_gap(UINT8, 0)
    with pytest.warns(GeodecloudWarning, match="most often 0"):
        found = from_array(dn, None, toy_model, None)
    np.testing.assert_array_equal(found[:, GAP], 0)
    scene = xr.DataArray(dn[:3], dims=("band", "y", "x"), coords={"band": ["red", "green", "blue"]})
    plan = scene.geodecloud.plan(model="rgb", mask="none")
    assert not plan.gaps.find(dn[:3]).any()


@pytest.mark.parametrize("rows", [None, 25])
def test_all_numbers_are_measurements_if_that_is_said(rows: int | None, toy_model: Path) -> None:
    dn = with_gap(UINT16, 65535)
    with warnings.catch_warnings():
        warnings.simplefilter("error", GeodecloudWarning)
        found = from_array(dn, None, toy_model, rows, nodata="none", mask="none")
    assert (found != dn)[:, GAP].any()


@pytest.mark.parametrize(
    ("value", "message"), [(20001, "20001 stands in all bands"), (19000, None)]
)
def test_what_ground_or_cloud_can_be_is_not_asked_about(
    value: int, message: str | None, toy_model: Path
) -> None:
    """A reflectance of 1.9 may be cloud that is as bright everywhere; 2.0001 may not."""
    dn = with_gap(UINT16, value)
    if message is None:
        from_array(dn, None, toy_model, 25)
        return
    with pytest.raises(SceneError, match=message):
        from_array(dn, None, toy_model, 25)


def test_a_gap_where_no_sample_looks(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patches of a large file are looked at before; what they miss is seen when it is computed."""
    dn = with_gap(UINT16, 0, np.s_[:, :6])
    monkeypatch.setattr(RasterFile, "sample", lambda self: UINT16)
    with pytest.warns(GeodecloudWarning, match=r"^10 % of the 70 x 60 px.*most often 0") as told:
        found = from_file(dn, None, toy_model, tmp_path)
    assert sum("no measurements" in str(w.message) for w in told) == 1
    np.testing.assert_array_equal(found[:, :6], 0)

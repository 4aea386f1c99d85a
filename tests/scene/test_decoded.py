"""Reflectance that says it is DN, and arrays that will be packed again: scaled once, and never wrapped.

The oracle is the same scene as DN: what comes out of it, times its scale, is what comes out of reflectance.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  registers .rio
import xarray as xr
from conftest import BANDS, Options, textured_dn, write_raster

import geodecloud
from geodecloud.errors import GeodecloudWarning, SceneError
from geodecloud.pipeline import decide_array
from geodecloud.restore.decisions import Decisions
from geodecloud.scene.cube import Cube
from geodecloud.scene.encoding import Encoding

DN = textured_dn(4, 64, 80, nodata=0)
REFLECTANCE = np.where(DN == 0, np.nan, DN * 1e-4)
PACKED = {"dtype": "uint16", "scale_factor": 1e-4, "add_offset": 0.0, "_FillValue": 0}


def array(values: np.ndarray, attrs: dict[str, Any], encoding: dict[str, Any]) -> xr.DataArray:
    made = xr.DataArray(values, dims=("band", "y", "x"), coords={"band": list(BANDS)}, attrs=attrs)
    made.encoding.update(encoding)
    return made


def dataset(
    values: np.ndarray, attrs: dict[str, Any], own: dict[str, Any], encoding: dict[str, Any]
) -> xr.Dataset:
    bands = {name: (("y", "x"), band, dict(own)) for name, band in zip(BANDS, values, strict=True)}
    made = xr.Dataset(bands, attrs=attrs)
    for name in BANDS:
        made[name].encoding.update(encoding)
    return made


def stacked(scene: xr.DataArray | xr.Dataset) -> np.ndarray:
    if isinstance(scene, xr.Dataset):
        return np.stack([scene[name].values for name in BANDS])
    return np.asarray(scene.values)


def decided(scene: xr.DataArray | xr.Dataset, model: Path) -> Decisions:
    cube = Cube.of(scene)
    return decide_array(cube, Options(model=str(model)), cube.metadata)


@pytest.fixture(scope="module")
def right(toy_model: Path) -> np.ndarray:
    """Reflectance of the DN that come out of the scene as DN."""
    scene = array(DN, {"_FillValue": 0, "scale_factor": 1e-4}, {})
    clear = geodecloud.remove_clouds(scene, model=str(toy_model)).values
    assert (clear != DN).mean() > 0.1
    return np.where(DN == 0, np.nan, clear * 1e-4)


#: Reflectance with what it was made by still beside it; the last is whether xarray says that it was applied.
STILL_SAID: dict[str, tuple[Callable[[np.ndarray], Any], bool]] = {
    "attrs": (lambda v: array(v, {"scale_factor": 1e-4}, {}), False),
    "an offset, too": (lambda v: array(v, {"scale_factor": 1e-4, "add_offset": -0.1}, {}), False),
    "lists": (lambda v: array(v, {"scales": (1e-4,) * 4, "offsets": (0.0,) * 4}, {}), False),
    "Landsat's": (lambda v: array(v, {"scale_factor": 2.75e-5, "add_offset": -0.2}, {}), False),
    "float32": (lambda v: array(v.astype("float32"), {"scale_factor": 1e-4}, {}), False),
    "attrs of a Dataset": (lambda v: dataset(v, {"scale_factor": 1e-4}, {}, {}), False),
    "lists of a Dataset": (
        lambda v: dataset(
            v, {"long_name": BANDS, "scales": (1e-4,) * 4, "offsets": (-0.1,) * 4}, {}, {}
        ),
        False,
    ),
    "attrs of variables": (lambda v: dataset(v, {}, {"scale_factor": 1e-4}, {}), False),
    "encoding": (lambda v: array(v, {}, PACKED), True),
    "encoding and attrs": (lambda v: array(v, {"scale_factor": 1e-4}, PACKED), True),
    "a Dataset's encoding and attrs": (
        lambda v: dataset(v, {"scale_factor": 1e-4}, {"scale_factor": 1e-4}, PACKED),
        True,
    ),
    "an offset in the encoding": (
        lambda v: array(v, {"add_offset": -0.1}, PACKED | {"add_offset": -0.1}),
        True,
    ),
}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("form", STILL_SAID)
def test_reflectance_is_not_scaled_again(form: str, lazy: bool, toy_model: Path) -> None:
    make, applied = STILL_SAID[form]
    scene = make(REFLECTANCE)
    if lazy:
        scene = scene.chunk({"y": 40})
    if lazy and not applied:  # nothing may be read before it is computed
        with pytest.raises(SceneError, match='radiometry="reflectance"'):
            geodecloud.remove_clouds(scene, model=str(toy_model)).compute()
        return
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", GeodecloudWarning)
        plan = decided(scene, toy_model)
    assert set(zip(plan.codec.scales, plan.codec.offsets, strict=True)) == {(1.0, 0.0)}
    said = [str(w.message) for w in told if "reflectance already" in str(w.message)]
    assert len(said) == (0 if applied else 1)


@pytest.mark.parametrize("form", ["attrs", "attrs of a Dataset", "encoding and attrs"])
def test_what_comes_out_is_that_of_the_dn(form: str, right: np.ndarray, toy_model: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GeodecloudWarning)
        clear = geodecloud.remove_clouds(STILL_SAID[form][0](REFLECTANCE), model=str(toy_model))
    np.testing.assert_allclose(stacked(clear), right, atol=6e-5)  # half a DN


def test_an_offset_that_was_added_is_not_added_again(toy_model: Path) -> None:
    """Dark ground would reflect less than nothing."""
    scene = array(REFLECTANCE * 0.5, {"add_offset": -0.1}, {})
    with pytest.warns(GeodecloudWarning, match=r"offset of -0\.1, but its float64 values are"):
        assert decided(scene, toy_model).formula == (1.0, 0.0)


@pytest.mark.parametrize("scale", [1e-4, 0.01])
def test_cloud_is_reflectance_too(scale: float, toy_model: Path) -> None:
    """Half of the scene is brighter than any ground, and its hundredth part is no ground at all."""
    cloud = REFLECTANCE.copy()
    cloud[:, :40] = np.linspace(0.9, 1.3, 80)
    with pytest.warns(GeodecloudWarning, match="reflectance already"):
        plan = decided(array(cloud, {"scale_factor": scale}, {}), toy_model)
    assert plan.formula == (1.0, 0.0)


def test_dn_as_floats_are_scaled(right: np.ndarray, toy_model: Path) -> None:
    """What looks like DN and says its scale is not taken for anything else."""
    dn = np.where(DN == 0, np.nan, DN.astype(float))
    clear = geodecloud.remove_clouds(array(dn, {"scale_factor": 1e-4}, {}), model=str(toy_model))
    np.testing.assert_allclose(clear.values * 1e-4, right, atol=6e-5)


@pytest.mark.parametrize(("times", "like"), [(1e4, "0.0001"), (100, "0.0001"), (1000, "0.0001")])
def test_floats_of_no_declared_scale_that_are_no_reflectance(
    times: float, like: str, toy_model: Path
) -> None:
    for scene in (array(REFLECTANCE * times, {}, {}), array(REFLECTANCE * times, {}, {}).chunk()):
        with pytest.raises(SceneError, match=f"look like DN.*scale={like}"):
            geodecloud.remove_clouds(scene, model=str(toy_model)).compute()


@pytest.mark.parametrize("scale", [(1e-4, 0.0), (2.75e-5, -0.2)])
def test_a_file_of_reflectance_that_declares_a_scale(
    scale: tuple[float, float], right: np.ndarray, toy_model: Path, tmp_path: Path
) -> None:
    """As ``rio.to_raster`` writes it after arithmetic."""
    path = write_raster(tmp_path / "scene.tif", REFLECTANCE.astype("float32"), nodata=np.nan)
    with rasterio.open(path, "r+") as dst:
        dst.scales, dst.offsets = (scale[0],) * 4, (scale[1],) * 4
    with pytest.warns(GeodecloudWarning, match="reflectance already"):
        geodecloud.decloud_scene(path, tmp_path / "out.tif", model=toy_model)
    with rasterio.open(tmp_path / "out.tif") as src:
        np.testing.assert_allclose(src.read(), right, atol=6e-5)


#: How values may be packed when they are written: numpy's own limits are what they must keep within.
PACKINGS = {
    "uint16, fill 0": {"dtype": "uint16", "scale_factor": 1e-4, "_FillValue": 0},
    "uint16, fill 65535": {"dtype": "uint16", "scale_factor": 1e-4, "_FillValue": 65535},
    "uint16, offset": {
        "dtype": "uint16",
        "scale_factor": 1e-4,
        "add_offset": -0.1,
        "_FillValue": 0,
    },
    "missing_value": {"dtype": "uint16", "scale_factor": 1e-4, "missing_value": 0},
    "int16, fill -9999": {"dtype": "int16", "scale_factor": 1e-4, "_FillValue": -9999},
    "int16 of unsigned": {
        "dtype": "int16",
        "scale_factor": 1e-4,
        "_FillValue": 0,
        "_Unsigned": "true",
    },
    "int8": {"dtype": "int8", "scale_factor": 0.01, "_FillValue": -128},
    "uint8": {"dtype": "uint8", "scale_factor": 0.004, "_FillValue": 255},
    "uint8, no fill": {"dtype": "uint8", "scale_factor": 0.004},
    "int32, fill 0": {"dtype": "int32", "scale_factor": 1e-4, "_FillValue": 0},
    "falling": {"dtype": "uint16", "scale_factor": -1e-4, "add_offset": 6.5, "_FillValue": 0},
}


def packed(values: np.ndarray, how: dict[str, Any]) -> np.ndarray:
    """As the CF conventions have it, and in integers too large to wrap."""
    return np.rint((values - how.get("add_offset", 0.0)) / how["scale_factor"]).astype(np.int64)


@pytest.mark.parametrize("how", PACKINGS)
def test_values_can_be_packed(how: str) -> None:
    said = PACKINGS[how]
    encoding = Encoding.of(array(REFLECTANCE, {}, said))
    assert encoding is not None
    values = np.concatenate([np.linspace(-0.2, 8, 40001), [-1e9, 1e9]])
    kept = packed(encoding.keep_within(values), said)
    dtype = said["dtype"].replace("int", "uint") if "_Unsigned" in said else said["dtype"]
    limits = np.iinfo(dtype)
    assert limits.min <= kept.min()
    assert kept.max() <= limits.max
    fill = said.get("_FillValue", said.get("missing_value"))
    assert fill is None or not (kept == fill).any()
    asked = packed(values, said)
    inside = (limits.min <= asked) & (asked <= limits.max) & (asked != fill)
    if how == "int32, fill 0":  # where 0 is no data, numbers are counted from 1
        assert kept.min() == 1
        inside &= asked > 0
    assert inside.sum() > 300
    np.testing.assert_array_equal(kept[inside], asked[inside])


@pytest.mark.parametrize("how", ["uint16, fill 0", "uint16, offset"])
def test_what_is_written_by_xarray_reads_as_it_was(how: str, dark: Path, tmp_path: Path) -> None:
    """A network that gives less than 0 everywhere, and a store that wraps what it cannot hold."""
    pytest.importorskip("zarr")
    said = PACKINGS[how]
    bands = dataset(REFLECTANCE, {}, {}, said)
    bands.to_zarr(tmp_path / "in.zarr", mode="w", consolidated=False)
    with xr.open_zarr(tmp_path / "in.zarr", consolidated=False) as scene:
        clear = scene.geodecloud.remove_clouds(model=str(dark), mask="none")
        clear.to_zarr(tmp_path / "out.zarr", mode="w", consolidated=False)
    with xr.open_zarr(tmp_path / "out.zarr", consolidated=False) as back:
        found = stacked(back)
    assert (np.isnan(found) == np.isnan(REFLECTANCE)).all()
    assert np.nanmax(found) < 0.01
    assert np.nanmax(REFLECTANCE) > 0.3


@pytest.fixture(scope="module")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes all for cloud over ground that reflects less than nothing."""
    import torch
    from conftest import write_toy

    from geodecloud.models.spanet import SPANet

    architecture = {
        "width": 4,
        "passes": "one-step",
        "direction_weights": True,
        "output": "image",
    }
    network = SPANet(4, 4, **architecture)
    with torch.no_grad():
        network.conv_out.weight.abs_().neg_().mul_(20)  # of features that are not below 0
    path = tmp_path_factory.mktemp("dark") / "dark.safetensors"
    write_toy(path, network, architecture, BANDS, cloud_threshold=0.64, opaque_threshold=0.65)
    return path

"""Scenes in other shapes: held against one scene at a time, in plain (band, y, x)."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import rasterio
import rioxarray
import xarray as xr
from click.testing import CliRunner
from conftest import BANDS, textured_dn, write_raster
from dask.array.utils import assert_eq

import geodecloud
from geodecloud.cli.commands import main
from geodecloud.errors import SceneError
from geodecloud.scene.metadata import VALID

DATES = pd.date_range("2024-05-01", periods=3)


def one(dn: np.ndarray, model: Path, **options: object) -> np.ndarray:
    """The oracle: one scene (band, y, x) in memory."""
    attrs = {"long_name": BANDS, "_FillValue": 0}
    array = xr.DataArray(dn, dims=("band", "y", "x"), attrs=attrs)
    return geodecloud.remove_clouds(array, model=str(model), **options).values


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    return np.stack([textured_dn(4, 70, 90, seed, nodata=0) for seed in range(3)])


@pytest.fixture(scope="module")
def expected(series: np.ndarray, toy_model: Path) -> np.ndarray:
    return np.stack([one(dn, toy_model) for dn in series])


def stack(series: np.ndarray) -> xr.DataArray:
    """As stackstac and odc-stac give it."""
    return xr.DataArray(
        series,
        dims=("time", "band", "y", "x"),
        coords={"time": DATES, "band": list(BANDS), "y": 5e6 - 10.0 * np.arange(70)},
        attrs={"_FillValue": 0, "history": "kept"},
        name="reflectance",
    ).assign_coords(x=4e5 + 10.0 * np.arange(90))


@pytest.mark.parametrize("dims", list(itertools.permutations(("time", "band", "y", "x")))[::5])
@pytest.mark.parametrize("chunks", [None, (2, 1, 32, 40), (1, 4, 70, 90), (3, 3, 5, 90)])
def test_any_order_of_dims(
    dims: tuple[str, ...],
    chunks: tuple[int, ...] | None,
    series: np.ndarray,
    expected: np.ndarray,
    toy_model: Path,
) -> None:
    array = stack(series).transpose(*dims)
    if chunks:
        array = array.chunk(dict(zip(("time", "band", "y", "x"), chunks, strict=True)))
    clear = array.geodecloud.remove_clouds(model=str(toy_model))
    xr.testing.assert_identical(clear.coords.to_dataset(), array.coords.to_dataset())
    assert (clear.dims, clear.chunks) == (array.dims, array.chunks)
    assert (clear.dtype, clear.attrs, clear.name) == (array.dtype, array.attrs, array.name)
    np.testing.assert_array_equal(clear.transpose("time", "band", "y", "x"), expected)


@pytest.mark.parametrize(
    "names",
    [
        ("t", "bands", "latitude", "longitude"),
        ("date", "channel", "lat", "lon"),
        ("time", "wavelength", "northing", "easting"),
        ("time", "variable", "down", "across"),
    ],
)
def test_other_names_of_dims(
    names: tuple[str, ...], series: np.ndarray, expected: np.ndarray, toy_model: Path
) -> None:
    array = xr.DataArray(series, dims=names, attrs={"_FillValue": 0, "long_name": BANDS})
    clear = array.geodecloud.remove_clouds(model=str(toy_model))
    assert clear.dims == names
    np.testing.assert_array_equal(clear, expected)
    codes = array.geodecloud.provenance(model=str(toy_model))
    assert codes.dims == (names[0], *names[2:])


def test_dataset_of_bands(series: np.ndarray, expected: np.ndarray, toy_model: Path) -> None:
    """As odc-stac gives it; variables that are no bands come back as they are."""
    long = stack(series).chunk({"time": 1, "y": 30, "x": 41})
    scene = long.to_dataset("band").rename(B02="blue", B08="nir")
    for name in scene.data_vars:
        scene[name].attrs = {"_FillValue": 0, "units": name}
    scene["SCL"] = (("time", "y", "x"), np.full((3, 70, 90), 4, np.uint8))
    scene["sun"] = ("time", [40.0, 41.0, 42.0])
    scene = scene[["nir", "SCL", "B04", "B03", "sun", "blue"]].assign_attrs(title="kept")
    clear = scene.geodecloud.remove_clouds(model=str(toy_model))
    assert list(clear.data_vars) == list(scene.data_vars)
    assert clear.attrs == scene.attrs
    for name, index in {"blue": 0, "B03": 1, "B04": 2, "nir": 3}.items():
        assert clear[name].chunks == scene[name].chunks
        assert clear[name].attrs == scene[name].attrs
        np.testing.assert_array_equal(clear[name], expected[:, index])
    xr.testing.assert_identical(clear[["SCL", "sun"]], scene[["SCL", "sun"]])
    codes = scene.geodecloud.provenance(model=str(toy_model))
    assert (codes.dims, codes.dtype) == (("time", "y", "x"), np.uint8)


def test_reflectance_of_a_dataset_is_declared_by_each_variable(toy_model: Path) -> None:
    dn = textured_dn(4, 40, 50)
    variables = {
        name: (("y", "x"), dn[i] + 100 * i, {"scale_factor": 1e-4, "add_offset": -0.01 * i})
        for i, name in enumerate(BANDS)
    }
    clear = xr.Dataset(variables).geodecloud.remove_clouds(model=str(toy_model), mask="none")
    plain = one(dn, toy_model, mask="none")
    for i, name in enumerate(BANDS):
        assert np.abs(clear[name].values.astype(int) - 100 * i - plain[i]).max() <= 1


def test_decisions_say_what_would_be_done(series: np.ndarray, toy_model: Path) -> None:
    said = str(stack(series).geodecloud.plan(model=str(toy_model)))
    assert "model: toy\nwhy: as asked" in said
    assert "bands: [1, 2, 3, 4]" in said
    assert "reflectance = DN / 10000" in said


def test_validity_may_differ_by_date(series: np.ndarray, toy_model: Path) -> None:
    valid = np.ones((3, 70, 90), bool)
    valid[1, 20:30, 10:60] = False
    array = stack(series).assign_coords({VALID: (("time", "y", "x"), valid)})
    codes = array.geodecloud.provenance(model=str(toy_model))
    np.testing.assert_array_equal((codes == 0).values, ~valid | (series == 0).all(axis=1))


def bands_scene(dn: np.ndarray) -> xr.DataArray:
    return xr.DataArray(dn, dims=("band", "y", "x"), coords={"band": list(BANDS)}, name="dn")


NODATA_KEYS = ("_FillValue", "missing_value", "fill_value", "nodata")


@pytest.mark.parametrize("key", [*NODATA_KEYS, "encoding", "set_nodata"])
@pytest.mark.parametrize("dims", [("band", "y", "x"), ("x", "y", "band")])
def test_nodata_as_rioxarray_knows_it(key: str, dims: tuple[str, ...], toy_model: Path) -> None:
    dn = textured_dn(4, 60, 50, nodata=7)
    array = bands_scene(dn).transpose(*dims)
    if key == "set_nodata":
        array.rio.set_nodata(7)
    else:
        where, name = (array.encoding, "_FillValue") if key == "encoding" else (array.attrs, key)
        where[name] = 7
    attrs, encoding = dict(array.attrs), dict(array.encoding)
    codes = array.geodecloud.provenance(model=str(toy_model)).transpose("y", "x")
    np.testing.assert_array_equal(codes == 0, (dn == 7).all(axis=0))
    clear = array.geodecloud.remove_clouds(model=str(toy_model))
    assert (clear.attrs, clear.encoding) == (array.attrs, array.encoding) == (attrs, encoding)
    if key != "encoding":  # rioxarray fails on integers whose encoding declares it
        assert clear.rio.nodata == array.rio.nodata == 7


@pytest.mark.parametrize("key", [*NODATA_KEYS, "encoding"])
def test_nodata_of_a_dataset(key: str, toy_model: Path) -> None:
    dn = textured_dn(4, 60, 50, nodata=7)
    scene = bands_scene(dn).to_dataset("band")
    for variable in scene.data_vars.values():
        if key == "encoding":
            variable.encoding["_FillValue"] = 7
        else:
            variable.attrs[key] = 7
    codes = scene.geodecloud.provenance(model=str(toy_model))
    np.testing.assert_array_equal(codes == 0, (dn == 7).all(axis=0))


def test_looking_for_nodata_does_not_hide_what_is_said_later(toy_model: Path) -> None:
    """rioxarray remembers the first answer it gave for an object."""
    array = bands_scene(textured_dn(4, 60, 50, nodata=7))
    array.geodecloud.plan(model=str(toy_model))
    array.attrs["nodata"] = 7
    assert array.rio.nodata == 7
    assert (array.geodecloud.provenance(model=str(toy_model)) == 0).any()


def test_nodata_that_pixels_cannot_take_is_none(toy_model: Path) -> None:
    array = bands_scene(textured_dn(4, 60, 50))
    for number in (-9999, 65536, 1.5, float("nan")):
        array.attrs["_FillValue"] = number
        assert (array.geodecloud.provenance(model=str(toy_model)) != 0).all()


def test_masked_and_scaled_floats(toy_model: Path, tmp_path: Path) -> None:
    """rioxarray's mask_and_scale and xarray's own reading of netCDF give reflectance and NaN."""
    dn = textured_dn(4, 60, 50, nodata=0)
    path = write_raster(tmp_path / "scene.tif", dn, nodata=0)
    with rasterio.open(path, "r+") as dst:
        dst.scales, dst.offsets = (1e-4,) * 4, (0.0,) * 4
    scaled = rioxarray.open_rasterio(path, mask_and_scale=True, chunks=30)
    clear = scaled.geodecloud.remove_clouds(model=str(toy_model), bands=[1, 2, 3, 4])
    assert (clear.dtype, clear.encoding) == (scaled.dtype, scaled.encoding)
    plain = one(dn, toy_model)
    valid = (dn != 0).all(axis=0)
    np.testing.assert_allclose(clear.values[:, valid] * 1e4, plain[:, valid], atol=1.01)
    assert np.isnan(clear.values[:, ~valid]).all()


def test_zarr_and_netcdf_round_trip(
    series: np.ndarray, expected: np.ndarray, toy_model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("zarr")
    array = stack(series).chunk({"time": 1, "y": 35, "x": 45})
    array.to_dataset(name="dn").to_zarr(tmp_path / "in.zarr", zarr_format=2, consolidated=True)
    opened = xr.open_zarr(tmp_path / "in.zarr", mask_and_scale=False)
    clear = opened["dn"].geodecloud.remove_clouds(model=str(toy_model))
    clear.to_dataset(name="dn").to_zarr(tmp_path / "out.zarr", zarr_format=2, consolidated=True)
    again = xr.open_zarr(tmp_path / "out.zarr", mask_and_scale=False)["dn"]
    np.testing.assert_array_equal(again, expected)
    xr.testing.assert_identical(again.coords.to_dataset(), opened["dn"].coords.to_dataset())
    assert again.attrs == opened["dn"].attrs


@pytest.mark.parametrize(
    "dims", [("a", "b", "y", "x"), ("time", "date", "band", "y", "x"), ("band",), ("time", "y")]
)
def test_dims_that_cannot_be_told_apart(dims: tuple[str, ...], toy_model: Path) -> None:
    array = xr.DataArray(np.ones((2,) * len(dims), np.uint16), dims=dims)
    with pytest.raises(SceneError, match="Rename them to time, band, y, x"):
        geodecloud.remove_clouds(array, model=str(toy_model))


def test_datasets_that_do_not_fit(toy_model: Path) -> None:
    def plane(dtype: type, **attrs: object) -> tuple:
        return ("y", "x"), np.ones((4, 5), dtype), attrs

    with pytest.raises(SceneError, match="no variable of this Dataset is an image"):
        xr.Dataset({"a": 1}).geodecloud.remove_clouds()
    mixed = xr.Dataset({"B02": plane(np.uint16), "B03": plane(np.float32)})
    with pytest.raises(SceneError, match="different dtypes: float32, uint16"):
        mixed.geodecloud.remove_clouds()
    gaps = xr.Dataset({"B02": plane(np.int16, _FillValue=0), "B03": plane(np.int16, _FillValue=-1)})
    with pytest.raises(SceneError, match="different nodata numbers"):
        gaps.geodecloud.remove_clouds()
    deep = xr.Dataset({"dn": (("band", "y", "x"), np.ones((4, 5, 6), np.uint16))})
    with pytest.raises(SceneError, match=r"ds\['dn'\]"):
        deep.geodecloud.remove_clouds()
    with pytest.raises(SceneError, match="not a ndarray"):
        geodecloud.remove_clouds(np.ones((4, 5, 6)))


@pytest.fixture(scope="module")
def from_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A scene, and what the command line makes of it with the shipped model."""
    folder = tmp_path_factory.mktemp("file")
    path = write_raster(folder / "scene.tif", textured_dn(4, 260, 340, nodata=0), nodata=0)
    words = [str(path), "--out", str(folder / "out.tif"), "--backend", "auto"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    with rasterio.open(folder / "out.tif") as dst:
        return path, dst.read()


@pytest.mark.usefixtures("own_backend")
@pytest.mark.parametrize("chunks", [None, 128, 300, 1024, -1, ((17, 200, 3, 40), (190, 1, 149))])
def test_accessor_equals_the_command_line(
    chunks: object, from_file: tuple[Path, np.ndarray]
) -> None:
    """The shipped model, float32 on the CPU: bit for bit, whatever the chunks."""
    path, expected = from_file
    array = rioxarray.open_rasterio(path)
    if chunks is not None:
        array = array.chunk(
            dict(zip("yx", chunks, strict=True)) if isinstance(chunks, tuple) else chunks
        )
    clear = array.geodecloud.remove_clouds()
    assert isinstance(clear.data, da.Array) == (chunks is not None)
    assert_eq(clear.data, expected)


def test_round_trip_through_rioxarray(toy_model: Path, scene: Path, tmp_path: Path) -> None:
    with rasterio.open(scene, "r+") as dst:
        dst.scales, dst.offsets = (1e-4,) * 4, (-0.1,) * 4
    array = rioxarray.open_rasterio(scene, chunks=64)
    array.geodecloud.remove_clouds(model=str(toy_model)).rio.to_raster(tmp_path / "out.tif")
    with rasterio.open(scene) as src, rasterio.open(tmp_path / "out.tif") as dst:
        for name in ("crs", "transform", "nodata", "descriptions", "scales", "offsets", "dtypes"):
            assert getattr(dst, name) == getattr(src, name), name


def test_tokens_are_deterministic(series: np.ndarray, toy_model: Path) -> None:
    array = stack(series).chunk({"y": 30})
    with dask.config.set({"tokenize.ensure-deterministic": True}):
        first, second = (array.geodecloud.remove_clouds(model=str(toy_model)) for _ in range(2))
        other = array.geodecloud.remove_clouds(model=str(toy_model), strict=True)
    assert first.data.name == second.data.name != other.data.name


class Reader:
    """A virtual stack of 2 TB that counts what is read of it."""

    dtype = np.dtype(np.uint16)
    ndim = 4

    def __init__(self, dates: int, side: int) -> None:
        self.shape = (dates, 4, side, side)
        self.read = np.zeros((dates, side), int)  # columns read, by date and row
        self.calls = 0

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        spans = [slice(*k.indices(n)) for k, n in zip(key, self.shape, strict=True)]
        self.calls += 1
        self.read[spans[0], spans[2]] += spans[3].stop - spans[3].start
        return np.full([s.stop - s.start for s in spans], 1500, np.uint16)


def test_a_stack_of_two_terabytes_is_only_planned(toy_model: Path) -> None:
    reader = Reader(10, 10980)
    meta = np.empty((0,) * 4, np.uint16)
    pixels = da.from_array(reader, chunks=(1, 4, 1024, 1024), asarray=False, meta=meta)
    array = xr.DataArray(
        pixels, dims=("time", "band", "y", "x"), coords={"band": list(BANDS)}, attrs={"nodata": 0}
    )
    tracemalloc.start()
    start = time.perf_counter()
    # a model of one pass: the first pass of another reads all of a date
    clear = array.geodecloud.remove_clouds(model=str(toy_model), scale=1e-4, offset=0)
    tasks = len(clear.__dask_graph__())
    took, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{tasks} tasks in {took:.1f} s and {peak / 1e6:.0f} MB")
    assert reader.calls == 0
    assert peak < 500e6
    assert tasks < 60 * pixels.npartitions  # linear in chunks
    corner = clear.isel(time=7)[:, -512:, :512]
    assert corner.compute().shape == (4, 512, 512)
    rows = np.flatnonzero(reader.read[7])
    assert reader.read[np.arange(10) != 7].sum() == 0
    assert rows.min() == 10980 - 740 - 1024  # the chunk of the corner and its neighbours
    assert reader.read[7].max() == 2048


def test_a_dataset_made_of_bands_says_what_the_array_said(tmp_path: Path, toy_model: Path) -> None:
    """DataArray.to_dataset moves the attrs of all bands to the Dataset."""
    path = write_raster(tmp_path / "s.tif", textured_dn(4, 60, 70, nodata=0), nodata=0)
    with rasterio.open(path, "r+") as dst:
        dst.scales, dst.offsets = (1e-4,) * 4, (-0.1, -0.1, -0.1, -0.2)
    array = geodecloud.open_scene(path)
    options = {"model": str(toy_model), "mask": "none", "bands": BANDS}
    expected = array.geodecloud.remove_clouds(**options).values
    named = array.assign_coords(band=list(BANDS)).to_dataset("band")
    for bands in (named, named[[*reversed(BANDS)]]):
        clear = bands.geodecloud.remove_clouds(**options)
        np.testing.assert_array_equal(clear[list(BANDS)].to_array().values, expected)
    numbered = array.to_dataset("band").geodecloud.remove_clouds(**options | {"bands": [*"1234"]})
    np.testing.assert_array_equal(numbered.to_array().values, expected)


@pytest.mark.parametrize(
    "form",
    ["S2C_{}", "S2Z_{}", "SENTINEL-2C_{}", "{}_10m", "T33UXQ_{}_10m", "S2C_{}_10m"],
)
def test_names_of_variables_that_are_bands(form: str) -> None:
    dn = textured_dn(4, 20, 30)
    names = [form.format(name) for name in BANDS]
    scene = xr.Dataset({n: (("y", "x"), dn[i]) for i, n in enumerate(names)})
    said = str(scene[names[::-1]].geodecloud.plan())
    assert "model: s2-10m" in said
    assert "bands: [4, 3, 2, 1]" in said
    array = scene.to_dataarray("band").geodecloud.plan()
    assert array.channels == (0, 1, 2, 3)


def test_bands_named_by_long_name(toy_model: Path, tmp_path: Path) -> None:
    """rioxarray's band_as_variable=True calls the variables band_1, band_2 and so on."""
    dn = textured_dn(4, 40, 50)[::-1]
    path = write_raster(tmp_path / "scene.tif", dn, nodata=0)
    with rasterio.open(path, "r+") as dst:
        dst.descriptions = BANDS[::-1]
    scene = rioxarray.open_rasterio(path, band_as_variable=True)
    clear = scene.geodecloud.remove_clouds(model=str(toy_model), mask="none")
    assert list(clear.data_vars) == list(scene.data_vars)
    expected = one(dn[::-1], toy_model, mask="none")
    np.testing.assert_array_equal([clear[v].values for v in clear.data_vars], expected[::-1])
    geodecloud.write_scene(clear, tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as dst:
        assert dst.descriptions == BANDS[::-1]
    names = ["band_4", "band_3", "band_2", "band_1"]
    asked = {"model": str(toy_model), "bands": names, "scale": 1e-4}
    assert scene.geodecloud.plan(**asked).channels == (3, 2, 1, 0)


@pytest.mark.parametrize("name", ["scl", "SCL", "SCL_20m", "band_5"])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_classification_beside_the_bands_of_a_dataset(
    name: str, lazy: bool, toy_model: Path
) -> None:
    """Against the same mask given as a coordinate by hand."""
    dn = textured_dn(4, 40, 50)
    classes = np.full((40, 50), 4, np.uint8)
    classes[5:20, 8:31], classes[30:, 40:] = 9, 0
    scene = xr.Dataset({n: (("y", "x"), dn[i]) for i, n in enumerate(BANDS)})
    scene[name] = (("y", "x"), classes, {"long_name": "SCL"})
    scene = scene.chunk(y=20) if lazy else scene
    options = {"model": str(toy_model), "mask": "scl"}
    clear = scene.geodecloud.remove_clouds(**options)
    codes = scene.geodecloud.provenance(**options)
    xr.testing.assert_identical(clear[name], scene[name])
    assert set(codes.coords) == set(scene.B02.coords)
    changed = np.any([(clear[n] != scene[n]).values for n in BANDS], axis=0)
    assert changed.any()
    assert not changed[classes != 9].any()
    np.testing.assert_array_equal(np.isin(codes, [2, 3]), classes == 9)
    np.testing.assert_array_equal(codes == 0, classes == 0)


def test_a_classification_among_the_bands_of_a_stack(toy_model: Path) -> None:
    """As stackstac gives it: one more band, in the dtype of all."""
    dn = textured_dn(5, 40, 50)
    dn[4] = 4
    dn[4, 5:20, 8:31] = 8
    stack = xr.DataArray(dn, dims=("band", "y", "x"), coords={"band": [*BANDS, "SCL"]})
    with pytest.warns(geodecloud.GeodecloudWarning, match="does not restore bands SCL"):
        codes = stack.geodecloud.provenance(model=str(toy_model), mask="scl")
    np.testing.assert_array_equal(np.isin(codes, [2, 3]), dn[4] == 8)


def test_chunks_of_unknown_size_are_told(toy_model: Path) -> None:
    lazy = da.from_array(textured_dn(4, 40, 50), chunks=(4, 20, 50))
    lazy = lazy[:, lazy[0].max(axis=1) >= 0, :]
    scene = xr.DataArray(lazy, dims=("band", "y", "x"), coords={"band": list(BANDS)})
    with pytest.raises(SceneError, match=r"compute_chunk_sizes\(\)"):
        scene.geodecloud.remove_clouds(model=str(toy_model))
    scene.data = scene.data.compute_chunk_sizes()  # what the message says
    assert scene.geodecloud.remove_clouds(model=str(toy_model)).shape == (4, 40, 50)


@pytest.mark.parametrize("how", ["default", "raw", "decode_coords"])
@pytest.mark.parametrize("where", ["dataset", "written"])
def test_a_crs_that_lies_in_a_data_variable(how: str, where: str, tmp_path: Path) -> None:
    """xarray opens a netCDF file so, unless it is told otherwise."""
    path = write_raster(tmp_path / "scene.tif", textured_dn(4, 40, 50), nodata=0)
    bands = rioxarray.open_rasterio(path).assign_coords(band=list(BANDS)).to_dataset("band")
    bands.drop_attrs(deep=False).to_netcdf(tmp_path / "scene.nc")
    options = {
        "default": {"mask_and_scale": False},
        "raw": {"decode_cf": False},
        "decode_coords": {"mask_and_scale": False, "decode_coords": "all"},
    }[how]
    with xr.open_dataset(tmp_path / "scene.nc", **options) as scene:
        clear = scene.geodecloud.remove_clouds(model="identity")
        assert set(clear.data_vars) == set(scene.data_vars)
        codes = scene.geodecloud.provenance(model="identity")
        # as the README has it; a coordinate would not go with the variable of its name
        clear["codes"] = codes
        assert clear.set_coords("spatial_ref").codes.rio.crs.to_epsg() == 32719
        if where == "written":
            geodecloud.write_scene(clear[[*BANDS, "spatial_ref"]], tmp_path / "out.tif")
            with rasterio.open(tmp_path / "out.tif") as dst, rasterio.open(path) as src:
                assert (dst.crs, dst.transform) == (src.crs, src.transform)
        if how == "default":
            with pytest.warns(geodecloud.GeodecloudWarning, match="'spatial_ref' that is not with"):
                scene.B02.geodecloud.remove_clouds(model="identity")


def eopf_product(path: Path, dn: np.ndarray, classes: np.ndarray) -> Path:
    """The groups of ESA's EOPF products that the docs name: packed bands at 10 m, classes at 20 m."""
    height, width = dn.shape[1:]

    def centres(count: int, metres: int, start: float, sign: int) -> np.ndarray:
        return start + sign * metres * (np.arange(count) + 0.5)

    packing = {"dtype": "uint16", "scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": 0}
    bands = xr.Dataset(
        {
            name.lower(): (("y", "x"), np.where(dn[i] == 0, np.nan, dn[i] * 1e-4 - 0.1))
            for i, name in enumerate(BANDS)
        },
        {"y": centres(height, 10, 5300040, -1), "x": centres(width, 10, 399960, 1)},
    )
    coarse = {
        "y": centres(height // 2, 20, 5300040, -1),
        "x": centres(width // 2, 20, 399960, 1),
    }
    tree = xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs={"other_metadata": {"horizontal_CRS_code": "EPSG:32633"}}),
            "measurements/reflectance/r10m": bands,
            "conditions/mask/l2a_classification/r20m": xr.Dataset(
                {"scl": (("y", "x"), classes)}, coarse
            ),
        }
    )
    encoding = {"/measurements/reflectance/r10m": dict.fromkeys(bands.data_vars, packing)}
    tree.to_zarr(path, encoding=encoding, zarr_format=2, consolidated=True)
    return path


def test_a_product_of_eopf_as_the_docs_open_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of docs/xarray.md, run as they stand there."""
    pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    dn = textured_dn(4, 60, 80, nodata=0) + np.uint16(1000)
    dn[dn < 1100] = 0
    classes = np.full((30, 40), 4, np.uint8)
    classes[10:20, 5:25] = 9
    text = (Path(__file__).parents[2] / "docs/xarray.md").read_text(encoding="utf-8")
    section = text.split("## ESA's EOPF products")[1].split("\n## ")[0]
    open_it, write_it, with_classes = (
        part.split("```")[0] for part in section.split("```python\n")[1:]
    )
    names = {"path": eopf_product(tmp_path / "S2B_MSIL2A.zarr", dn, classes)}
    exec(open_it, names)
    assert np.issubdtype(names["clear"].b02.dtype, np.floating)
    exec(write_it, names)
    with rasterio.open(tmp_path / "clear.tif") as dst:
        assert dst.crs.to_epsg() == 32633
        assert dst.transform.to_gdal() == (399960, 10, 0, 5300040, 0, -10)
    exec(with_classes, names)
    changed = (names["clear"].b04 != names["bands"].b04) & names["bands"].b04.notnull()
    cloud = np.repeat(np.repeat(classes == 9, 2, axis=0), 2, axis=1)
    assert not changed.values[~cloud].any()
    assert changed.values[cloud & (dn != 0).all(axis=0)].mean() > 0.9

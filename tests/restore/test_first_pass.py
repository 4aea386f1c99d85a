"""The first pass: what it finds does not depend on the cut, and nothing is looked at before it is asked for."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp

import geodecloud
from geodecloud.models.catalogue import FoundModel, get_card
from geodecloud.models.weights import load_model
from geodecloud.options import Options
from geodecloud.pipeline import decloud
from geodecloud.restore.clear_ground import coarse
from geodecloud.restore.composite import Provenance
from geodecloud.restore.decisions import _choose_first_pass
from geodecloud.training.passes import restore_image
from geodecloud.windows.tiler import Window

MODEL = "s2-10m"
BANDS = ("B02", "B03", "B04", "B08")


def scene(height=203, width=267, seed=4):
    """Fields under an opaque cloud, and a thin one; DN as they come in Sentinel-2 files."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    fields = 0.05 + 0.02 * (np.floor(y / 23) % 2) + 0.015 * (np.floor(x / 31) % 3)
    ground = np.stack([fields, 1.3 * fields, 1.1 * fields, 4 * fields])
    ground += 0.002 * rng.standard_normal(ground.shape)
    cloud = np.clip(1.6 - np.hypot(y - 110, x - 140) / 30, 0, 1)
    cloud = np.maximum(cloud, 0.4 * np.clip(1.4 - np.hypot(y - 60, x - 60) / 30, 0, 1))
    seen = ground * (1 - cloud) + 0.65 * cloud
    return np.rint(seen * 1e4).astype(np.uint16), ground, cloud


def array(dn, chunks=None):
    made = xr.DataArray(
        dn,
        dims=("band", "y", "x") if dn.ndim == 3 else ("time", "band", "y", "x"),
        coords={"band": list(BANDS)},
        attrs={"long_name": BANDS, "scale_factor": 1e-4, "add_offset": 0.0},
    )
    return made if chunks is None else made.chunk(dict(zip(("y", "x"), chunks, strict=True)))


@pytest.fixture(scope="module")
def whole():
    """The two passes over the whole image at once, without windows, chunks or Dask."""
    dn, _, _ = scene()
    model = load_model(MODEL)
    assert model.card.reads_prior
    image = (dn * 1e-4).astype(np.float32)
    return restore_image(model.network, image, model.card.opaque_threshold, model.card.usual_ground)


@pytest.mark.parametrize(
    ("chunks", "window"), [(None, "auto"), ((101, 130), 96), ((203, 61), 200), ((37, 267), "auto")]
)
def test_chunks_and_windows_give_what_the_whole_image_gives(whole, chunks, window):
    dn, _, _ = scene()
    options = Options(model=MODEL, mask="none", window=window, backend="torch")
    result = decloud(array(dn, chunks), options)
    restored, opacity = whole
    expected = np.clip(np.rint(restored * 1e4), 1, None)
    inside = np.asarray(result.image).astype(np.float64)
    assert np.abs(inside - expected).max() <= 1
    np.testing.assert_allclose(np.asarray(result.cloud_map), opacity, atol=1e-5)
    assert (opacity > 0.5).any()
    assert (opacity < 0.1).any()


@given(st.builds(Window, *(st.integers(0, 9),) * 2, *(st.integers(1, 9),) * 2))
def test_coarse_pixels_are_those_that_a_window_touches(window):
    touched = {
        (x // 2, y // 2)
        for x in range(window.col_off, window.col_off + window.width)
        for y in range(window.row_off, window.row_off + window.height)
    }
    got = coarse(window)
    assert touched == {
        (x, y)
        for x in range(got.col_off, got.col_off + got.width)
        for y in range(got.row_off, got.row_off + got.height)
    }


def test_under_opaque_cloud_lies_the_colour_of_the_fields_around():
    """Fields of many crops: the even patchwork of the other tests is taken for ground under a veil."""
    _, even, cloud = scene()
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: cloud.shape[0], : cloud.shape[1]]
    crop = rng.random((12, 12))[y // 24, x // 31]
    ground = np.stack(
        [0.03 + 0.02 * crop, 0.05 + 0.03 * crop, 0.04 + 0.05 * crop, 0.4 - 0.2 * crop]
    )
    ground += 0.002 * rng.standard_normal(even.shape)
    dn = np.rint((ground * (1 - cloud) + 0.65 * cloud) * 1e4).astype(np.uint16)
    result = decloud(array(dn), Options(model=MODEL, backend="torch"))
    made_up = np.asarray(result.provenance) == Provenance.SYNTHESISED
    assert made_up[cloud >= 0.99].mean() > 0.9
    got = np.asarray(result.image)[:, made_up] * 1e-4
    error = np.abs(got.mean(axis=1) / ground[:, made_up].mean(axis=1) - 1)
    assert (error < 0.2).all(), error
    # and it is smooth: what is left of the cloud's texture, or of blocks, would show
    inner = np.asarray(result.image)[:, 104:116, 134:146] * 1e-4
    assert inner.std(axis=(1, 2)).max() < 0.01


def test_nothing_is_read_before_it_is_asked_for():
    dn, _, _ = scene(64, 64)
    reads = []

    def read(block):
        reads.append(block.shape)
        return block

    lazy = da.from_array(dn, chunks=(4, 64, 64)).map_blocks(read, meta=dn[:0, :0, :0])
    made = array(dn).copy(data=lazy)
    reads.clear()
    result = decloud(made, Options(model=MODEL, backend="torch"))
    assert not reads
    result.image.compute()
    assert 1 <= len(reads) <= 2  # once for each pass


def test_each_date_of_a_stack_has_surroundings_of_its_own():
    first, second = scene(88, 96, seed=1)[0], scene(88, 96, seed=2)[0] // 2
    options = Options(model=MODEL, backend="torch")
    stack = decloud(array(np.stack([first, second])).chunk({"time": 1}), options).image
    for date, dn in zip(stack, (first, second), strict=True):
        alone = decloud(array(dn), options).image
        assert np.abs(np.asarray(date).astype(int) - np.asarray(alone)).max() <= 1


def test_a_mask_that_is_given_says_what_is_clear(tmp_path):
    dn, _, cloud = scene(96, 112)
    dn[:, 10:20, 5:15] = 9000  # a bright roof, which the mask does not name
    made, there = array(dn), tmp_path / "mask.tif"
    mask = xr.DataArray((cloud > 0.05).astype(np.uint8), dims=("y", "x"))
    mask.rio.to_raster(there)
    result = decloud(made, Options(model=MODEL, mask=str(there), backend="torch"))
    assert result.decisions.first_pass == "mask"
    changed = (np.asarray(result.image) != dn).any(axis=0)
    assert not changed[cloud <= 0.05].any()


def test_a_network_of_single_pixels_has_its_clouds_found_by_that_of_four_bands():
    card = get_card("s2-all")
    pixels = replace(card, name="pixels", architecture={**card.architecture, "prior": False})
    found = FoundModel("pixels", pixels, "", (get_card(MODEL),))
    assert _choose_first_pass(found, range(13), "auto") == MODEL
    assert _choose_first_pass(found, (0, 4, 5), "auto") is None  # bands of which it has none


def test_a_scene_of_more_bands_has_its_clouds_found_by_its_own_network():
    names = [*BANDS, "B11", "B12"]
    dn, _, _ = scene(96, 96)
    more = np.concatenate([dn, dn[:2]])
    made = array(dn).isel(band=[0, 0, 0, 0, 0, 0]).copy(data=more)
    made = made.assign_coords(band=names)
    made.attrs["long_name"] = tuple(names)
    decisions = decloud(made.chunk({"y": 48}), Options(model="s2-all", backend="torch")).decisions
    assert decisions.first_pass == "s2-all"
    assert "first_pass: s2-all" in str(decisions)


def test_a_scene_with_an_alpha_band_comes_out_as_without(tmp_path):
    dn, _, _ = scene(96, 112)
    names = [*BANDS, "alpha"]
    with_alpha = np.concatenate([dn, np.full_like(dn[:1], 65535)])
    paths = {"plain": dn, "alpha": with_alpha}
    for name, pixels in paths.items():
        profile = {
            "driver": "GTiff",
            "width": 112,
            "height": 96,
            "count": len(pixels),
            "dtype": "uint16",
        }
        with rasterio.open(tmp_path / f"{name}.tif", "w", **profile) as dst:
            dst.write(pixels)
            dst.descriptions = names[: len(pixels)]
            dst.scales = (1e-4, 1e-4, 1e-4, 1e-4, 1.0)[: len(pixels)]
            kinds = [
                getattr(ColorInterp, name)
                for name in ("blue", "green", "red", "undefined", "alpha")
            ]
            dst.colorinterp = kinds[: len(pixels)]
        out = tmp_path / f"{name}_clear.tif"
        geodecloud.decloud_scene(tmp_path / f"{name}.tif", out, model=MODEL)
        with rasterio.open(out) as dst:
            paths[name] = dst.read()
    assert (paths["plain"] != dn).any()
    np.testing.assert_array_equal(paths["alpha"][:4], paths["plain"])
    np.testing.assert_array_equal(paths["alpha"][4], with_alpha[4])


@pytest.mark.parametrize("model", ["s2-10m", "s2-all"])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.filterwarnings("ignore:mask .* covers 100 %")
def test_under_an_overcast_sky_lies_the_usual_ground(model, given, tmp_path):
    """No blotches that a network makes of clouds: one colour, that of the middle of what it was trained on."""
    dn = np.rint(6500 + 300 * np.random.default_rng(8).standard_normal((4, 120, 130)))
    made, there = array(dn.astype(np.uint16)), tmp_path / "mask.tif"
    grid = {"transform": rasterio.transform.from_origin(5e5, 5e6, 10, 10), "crs": "EPSG:32633"}
    size = {"width": 130, "height": 120, "count": 1}
    with rasterio.open(there, "w", driver="GTiff", **size, dtype="uint8", **grid) as dst:
        dst.write(np.ones((1, 120, 130), np.uint8))
    made = made.rio.write_crs(grid["crs"]).rio.write_transform(grid["transform"])
    asked = Options(model=model, backend="torch", mask=str(there) if given else "auto")
    result = decloud(made, asked)
    assert (np.asarray(result.provenance) == Provenance.SYNTHESISED).mean() > 0.9
    card = get_card(model)
    usual = [card.usual_ground[card.channel_names.index(band)] * 1e4 for band in BANDS]
    off = np.abs(np.asarray(result.image) - np.array(usual)[:, None, None])
    assert np.median(off) <= 1
    assert off.mean() < 40

"""The one path, held against whole-image inference, rasterio and plain arithmetic."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import dask
import dask.array as da
import geopandas
import numpy as np
import pytest
import rasterio
import rioxarray
import torch
import xarray as xr
from conftest import BANDS, Options, make_toy_model, textured_dn, write_raster, write_toy
from products import write_jp2
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin
from scipy.ndimage import uniform_filter
from shapely import box

import geodecloud
from geodecloud.backends import Margins
from geodecloud.compute.chunks import map_chunks_with_halo
from geodecloud.errors import (
    BandError,
    GeodecloudWarning,
    OptionError,
    SceneError,
    SceneIOError,
    WindowPlanError,
)
from geodecloud.masks.files import open_mask
from geodecloud.models.card import ModelCard
from geodecloud.models.spanet import SPANet
from geodecloud.models.weights import load_model
from geodecloud.pipeline import decloud
from geodecloud.raster.reader import read_metadata, read_sample
from geodecloud.restore.chunk import ChunkRestorer
from geodecloud.restore.composite import MARGIN_PX, Provenance
from geodecloud.restore.network import NetworkPredictor
from geodecloud.scene.gaps import Gaps
from geodecloud.scene.reflectance import Codec
from geodecloud.windows.tiler import Window


def as_array(dn: np.ndarray, **attrs: object) -> xr.DataArray:
    return xr.DataArray(dn, dims=("band", "y", "x"), attrs={"long_name": BANDS, **attrs})


def whole_image(model_path: Path, dn: np.ndarray, scale: float = 1e-4) -> np.ndarray:
    """The oracle: the network on the whole image in one call, in DN."""
    network = load_model(model_path).network
    with torch.inference_mode():
        image = torch.from_numpy(dn.astype(np.float32) * np.float32(scale))[None]
        restored, _ = network(image)
    return restored[0].numpy().astype(np.float64) / scale


@pytest.mark.parametrize("shape_yx", [(1, 1), (1, 97), (89, 1), (65, 64), (61, 123)])
@pytest.mark.parametrize("window", [16, 64, 4096])
def test_tiled_equals_whole_image(toy_model: Path, shape_yx: tuple[int, int], window: int) -> None:
    dn = textured_dn(4, *shape_yx)
    array = as_array(dn).chunk({"band": -1, "y": 48, "x": 50})
    clear = geodecloud.remove_clouds(array, model=str(toy_model), mask="none", window=window)
    np.testing.assert_allclose(clear.values, whole_image(toy_model, dn), atol=0.51)


@pytest.mark.parametrize("chunks", [{"y": 31, "x": 203}, {"y": (60, 1, 40), "x": (3, 100, 100)}])
@pytest.mark.parametrize(("window", "batch"), [(32, 3), (100, 1)])
def test_result_does_not_depend_on_the_cut(
    toy_model: Path, chunks: dict, window: int, batch: int
) -> None:
    array = as_array(textured_dn(4, 101, 203, nodata=0), _FillValue=0)
    options = {"model": str(toy_model)}
    whole = decloud(array, Options(window=4096, workers=1, **options))
    cut = decloud(
        array.chunk({"band": 2, **chunks}),
        Options(window=window, batch_size=batch, workers=3, **options),
    )
    assert cut.image.chunks == array.chunk({"band": 2, **chunks}).chunks
    difference = np.abs(cut.image.values.astype(int) - whole.image.values)
    assert difference.max() <= 1
    np.testing.assert_allclose(cut.cloud_map, whole.cloud_map, atol=1e-5)
    assert (cut.provenance.values == whole.provenance.values).mean() > 0.999
    assert 0.02 < (whole.provenance == Provenance.OBSERVED).mean() < 0.98  # a mask with both sides


class FarSighted:
    """Stands in for a declouder; every output pixel is the mean of all 81 x 81 around it."""

    batch_size, window_px = 1, 30

    def load(self) -> FarSighted:
        return self

    card = ModelCard(name="far", summary="", kind="", halo_px=40, has_cloud_map=True)

    def predict(
        self, patches: np.ndarray, margins: Margins, prior: None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        mean = uniform_filter(patches, (1, 1, 81, 81), mode="constant")
        mean = mean[..., *margins.core(mean.shape)]
        return mean, np.ones((len(mean), *mean.shape[2:]), np.float32)


def test_fill_of_gaps_does_not_depend_on_the_cut() -> None:
    """Wide gaps beside bright ground: what they are filled with must not know the chunks."""
    dn = textured_dn(1, 130, 260)
    dn[:, 20:110, 60:150] = 0
    dn[:, :, 150:] *= 5
    dn[:, ::7, 200::3] = 0
    codec = Codec((1e-4,), (0.0,), "uint16", 0, "")
    block = ChunkRestorer(
        predictor=NetworkPredictor(
            FarSighted(), (0,), 40, reach_px=40, fill_px=40, extent=Window(0, 0, 260, 130)
        ),
        codec=codec,
        gaps=Gaps(),
        channels=(0,),
        alpha=None,
        mask="none",
        strict=False,
        extent=Window(0, 0, 260, 130),
    )
    images = []
    for chunks in [(1, 130, 260), (1, 44, 53), (1, 130, 151)]:
        pixels = da.from_array(dn, chunks=chunks)
        outputs = [(1, np.uint16), (None, np.float32), (None, np.uint8)]
        arrays = [(pixels, "cyx"), None, None, None, None]
        images.append(map_chunks_with_halo(block, arrays, block.halo_px, outputs)[0].compute())
    for image in images[1:]:
        assert np.abs(image.astype(int) - images[0]).max() <= 1


def test_change_rises_smoothly_from_the_masks_edge(toy_model: Path, tmp_path: Path) -> None:
    """Against the formula, with distances by brute force."""
    dn = textured_dn(4, 40, 50)
    scene = write_raster(tmp_path / "scene.tif", dn)
    mask = np.zeros((1, 40, 50), np.uint8)
    mask[0, 8:30, 10:41] = 1
    mask[0, 15, 20] = 0
    path = write_raster(tmp_path / "mask.tif", mask)
    geodecloud.decloud_scene(scene, tmp_path / "out.tif", model=str(toy_model), mask=path)
    kept = np.argwhere(mask[0] == 0)
    y, x = np.mgrid[:40, :50]
    distance = np.hypot(y[..., None] - kept[:, 0], x[..., None] - kept[:, 1]).min(axis=-1)
    ramp = np.clip(distance / 5, 0, 1)
    weight = ramp**2 * (3 - 2 * ramp)
    expected = dn + weight * (whole_image(toy_model, dn) - dn)
    with rasterio.open(tmp_path / "out.tif") as dst:
        np.testing.assert_allclose(dst.read(), expected, atol=0.51)


def test_a_model_of_unlimited_reach_is_refused(tmp_path: Path) -> None:
    path = make_toy_model(tmp_path / "recurrent.safetensors", passes="recurrent")
    with pytest.raises(WindowPlanError, match="no limit to its reach: its passes are recurrent"):
        geodecloud.remove_clouds(as_array(textured_dn(4, 50, 60)), model=str(path))


def test_halo_does_not_change_the_result(toy_model: Path) -> None:
    dn = textured_dn(4, 101, 203, nodata=0)
    dn[:, :, 100:106] = 0
    array, options = as_array(dn, _FillValue=0), {"model": str(toy_model), "mask": "none"}
    images = [
        geodecloud.remove_clouds(array, halo=halo, window=50, **options).values.astype(int)
        for halo in ("auto", 41, 100)
    ]
    assert max(np.abs(image - images[0]).max() for image in images) <= 1


def test_window_does_not_change_what_is_said_inside_an_aoi(
    toy_model: Path, scene: Path, tmp_path: Path
) -> None:
    left, top = 399960 + 733, 6300040 - 217
    frame = geopandas.GeoDataFrame(geometry=[box(left, top - 410, left + 640, top)], crs=32719)
    frame.to_file(tmp_path / "aoi.gpkg")
    results = [
        decloud(
            geodecloud.open_scene(scene),
            Options(model=str(toy_model), aoi=tmp_path / "aoi.gpkg", window=window),
        )
        for window in (32, 400)
    ]
    for other in results[1:]:
        np.testing.assert_array_equal(other.provenance, results[0].provenance)
        np.testing.assert_allclose(other.cloud_map, results[0].cloud_map, atol=1e-5)
        assert np.abs(other.image.values.astype(int) - results[0].image.values).max() <= 1


def test_only_masked_pixels_change_and_codes_tell(toy_model: Path) -> None:
    array = as_array(textured_dn(4, 101, 203, nodata=0), _FillValue=0)
    result = decloud(array, Options(model=str(toy_model)))
    before, after, codes = array.values, result.image.values, result.provenance.values
    unchanged = np.isin(codes, [Provenance.NODATA, Provenance.OBSERVED, Provenance.LEFT])
    assert (before == after)[:, unchanged].all()
    assert (before != after)[:, ~unchanged].any()
    np.testing.assert_array_equal(codes == Provenance.NODATA, (before == 0).all(axis=0))
    assert not (after == 0)[:, codes != Provenance.NODATA].any()
    opacity = result.cloud_map.values
    assert np.isnan(opacity[codes == Provenance.NODATA]).all()
    hidden = codes == Provenance.SYNTHESISED
    assert (opacity[hidden] > 0.65).all()
    assert (opacity[codes == Provenance.RESTORED] <= 0.65).all()
    # the mask is what the model found plus a margin, measured by brute force
    found = np.argwhere(opacity > 0.64)
    for y, x in np.argwhere(codes == Provenance.OBSERVED)[::97]:
        assert np.hypot(*(found - (y, x)).T).min() > MARGIN_PX


def test_strict_leaves_hidden_ground_alone(toy_model: Path) -> None:
    array = as_array(textured_dn(4, 101, 203))
    normal = decloud(array, Options(model=str(toy_model)))
    strict = decloud(array, Options(model=str(toy_model), strict=True))
    hidden = normal.provenance.values == Provenance.SYNTHESISED
    assert hidden.any()
    assert (strict.provenance.values[hidden] == Provenance.LEFT).all()
    assert (strict.image.values == array.values)[:, hidden].all()
    assert not (strict.provenance.values == Provenance.SYNTHESISED).any()


def test_nodata_value_does_not_bleed(toy_model: Path) -> None:
    """Whatever number stands for nodata, and NaN too, the valid pixels come out the same."""
    dn = textured_dn(4, 80, 90, nodata=0)
    gap = (dn == 0).all(axis=0)
    other = np.where(dn == 0, 65535, dn).astype(np.uint16)
    nan = np.where(dn == 0, np.nan, dn * 1e-4).astype(np.float32)
    options = {"model": str(toy_model), "mask": "none"}
    a = geodecloud.remove_clouds(as_array(dn, _FillValue=0), **options).values
    b = geodecloud.remove_clouds(as_array(other, _FillValue=65535), **options).values
    c = geodecloud.remove_clouds(as_array(nan), **options).values
    np.testing.assert_array_equal(a[:, ~gap], b[:, ~gap])
    np.testing.assert_allclose(c[:, ~gap] * 1e4, a[:, ~gap], atol=0.51)
    assert (b[:, gap] == 65535).all()
    assert np.isnan(c[:, gap]).all()


def test_pixel_missing_in_one_band_passes_through(toy_model: Path) -> None:
    dn = textured_dn(4, 40, 50)
    dn[2, 20, 25] = 0
    result = decloud(as_array(dn, _FillValue=0), Options(model=str(toy_model), mask="none"))
    assert (result.image.values[:, 20, 25] == dn[:, 20, 25]).all()
    assert result.provenance.values[20, 25] == Provenance.LEFT


def test_lazy_in_lazy_out(toy_model: Path) -> None:
    reads = []

    def block(block_id: tuple[int, ...]) -> np.ndarray:
        reads.append(block_id)
        return textured_dn(4, 64, 64, seed=sum(block_id))

    source = da.map_blocks(
        block,
        chunks=((4,), (64,) * 8, (64,) * 8),
        dtype=np.uint16,
        meta=np.empty((0, 0, 0), np.uint16),
    )
    # filling gaps takes a wider halo than these chunks, so there are none
    clear = geodecloud.remove_clouds(as_array(source), model=str(toy_model), nodata="none")
    assert isinstance(clear.data, da.Array)
    assert reads == []
    corner = clear[:, :10, :10].compute()
    assert corner.shape == (4, 10, 10)
    assert len(reads) == 4  # the chunk itself and three neighbours for the halo


def test_same_input_has_the_same_dask_name(toy_model: Path) -> None:
    array = as_array(textured_dn(4, 64, 64)).chunk({"y": 32, "x": 32})
    names = {geodecloud.remove_clouds(array, model=str(toy_model)).data.name for _ in range(2)}
    other = geodecloud.remove_clouds(array, model=str(toy_model), mask="none").data.name
    assert len(names) == 1
    assert other not in names


def test_models_that_differ_in_nothing_but_their_card_are_two(tmp_path: Path) -> None:
    """The same tensors with another threshold, also when computed together."""
    array = as_array(textured_dn(4, 80, 90)).chunk({"band": -1, "y": 40, "x": 90})
    network = SPANet(4, 4, width=4, output="blend")
    architecture = {"width": 4, "output": "blend"}
    hashes, results = set(), []
    for threshold in (0.0, 1.0):
        path = tmp_path / f"{threshold}.safetensors"
        card = write_toy(path, network, architecture, BANDS, cloud_threshold=threshold)
        hashes.add(card.sha256)
        results.append(decloud(array, Options(model=str(path))).provenance)
    assert len(hashes) == 1
    assert results[0].data.name != results[1].data.name
    everywhere, nowhere = dask.compute(*results)
    assert (everywhere.values != Provenance.OBSERVED).all()
    assert (nowhere.values == Provenance.OBSERVED).all()


def test_bands_the_model_does_not_restore_pass_through(toy_model: Path, tmp_path: Path) -> None:
    dn = textured_dn(6, 70, 60)
    names = ("B11", "B04", "B03", "B02", "B8A", "B08")
    array = as_array(dn)
    array.attrs["long_name"] = names
    with pytest.warns(GeodecloudWarning, match="B11, B8A"):
        clear = geodecloud.remove_clouds(array, model=str(toy_model), mask="none")
    assert (clear.values[[0, 4]] == dn[[0, 4]]).all()
    order = [3, 2, 1, 5]
    np.testing.assert_allclose(clear.values[order], whole_image(toy_model, dn[order]), atol=0.51)


def test_mask_file_on_another_grid_decides(toy_model: Path, scene: Path, tmp_path: Path) -> None:
    """A coarse mask of another CRS extent: pixels whose centre is not under it stay."""
    mask = np.zeros((1, 20, 30), np.uint8)
    mask[0, 5:12, 8:20] = 7
    path = write_raster(tmp_path / "mask.tif", mask, transform=from_origin(399960, 6300040, 50, 50))
    report = geodecloud.decloud_scene(
        scene, tmp_path / "out.tif", model=str(toy_model), mask=path, provenance=tmp_path / "p.tif"
    )
    y, x = np.mgrid[:101, :203]
    expected = mask[0][np.minimum(y * 10 // 50, 19), np.minimum(x * 10 // 50, 29)] * (x < 150) > 0
    codes = rasterio.open(tmp_path / "p.tif").read(1)
    before, after = rasterio.open(scene).read(), rasterio.open(tmp_path / "out.tif").read()
    np.testing.assert_array_equal(np.isin(codes, [2, 3]), expected & (codes != 0))
    assert (before == after)[:, ~expected].all()
    assert report.pixels["restored"] + report.pixels["synthesised"] == np.isin(codes, [2, 3]).sum()


def test_aoi_in_another_crs_limits_change(toy_model: Path, scene: Path, tmp_path: Path) -> None:
    left, top = 399960 + 600, 6300040 - 200
    area = box(left, top - 500, left + 700, top)
    frame = geopandas.GeoDataFrame(geometry=[area], crs="EPSG:32719").to_crs("EPSG:4326")
    frame.to_file(tmp_path / "aoi.gpkg")
    geodecloud.decloud_scene(
        scene,
        tmp_path / "out.tif",
        model=str(toy_model),
        mask="none",
        aoi=tmp_path / "aoi.gpkg",
        cloud_map=tmp_path / "map.tif",
        window=30,
    )
    opacity = rasterio.open(tmp_path / "map.tif").read(1)
    assert np.isfinite(opacity[20:70, 60:130]).all()
    assert np.isnan(opacity[:, 190:]).all()  # windows outside are not computed
    before, after = rasterio.open(scene).read(), rasterio.open(tmp_path / "out.tif").read()
    changed = (before != after).any(axis=0)
    rows, cols = np.nonzero(changed)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (20, 69, 60, 129)


def test_model_without_cloud_map_cannot_be_strict(tmp_path: Path) -> None:
    path = make_toy_model(tmp_path / "image.safetensors", output="image")
    blind = load_model(path)
    object.__setattr__(blind.card, "has_cloud_map", False)
    from geodecloud.models.weights import save_weights

    save_weights(blind.network, blind.card, path)
    array = as_array(textured_dn(4, 40, 40))
    with pytest.raises(OptionError, match="no cloud map"):
        geodecloud.remove_clouds(array, model=str(path), strict=True)
    with pytest.warns(GeodecloudWarning, match="makes no cloud map"):
        result = decloud(array, Options(model=str(path)))
    assert (result.provenance.values == Provenance.SYNTHESISED).all()


def test_masked_dn_are_not_taken_for_reflectance(toy_model: Path, scene: Path) -> None:
    """rioxarray's masked=True gives DN as floats: they look like DN and are refused."""
    array = rioxarray.open_rasterio(scene, masked=True)
    with pytest.raises(SceneError, match="look like DN"):
        geodecloud.remove_clouds(array, model=str(toy_model))
    given = geodecloud.remove_clouds(array, model=str(toy_model), scale=1e-4)
    raw = geodecloud.remove_clouds(rioxarray.open_rasterio(scene), model=str(toy_model))
    valid = np.isfinite(given.values)
    np.testing.assert_allclose(given.values[valid], raw.values[valid], atol=0.51)


def test_lazy_dn_are_not_taken_for_reflectance(toy_model: Path) -> None:
    """As in memory, but at the time of computing: nothing is read before."""
    dn, read, model = textured_dn(4, 90, 110), [], {"model": str(toy_model)}

    def values(dn: np.ndarray) -> np.ndarray:
        read.append(dn.shape)
        return dn.astype(np.float64)

    pixels = da.from_array(dn, chunks=(4, 50, 60)).map_blocks(values, meta=np.empty((0, 0, 0)))
    lazy = as_array(pixels)
    result = decloud(lazy, Options(**model))
    assert read == []
    for part in (result.image, result.cloud_map, result.provenance):
        with pytest.raises(SceneError, match=r"px from column.*look like DN.*scale=0.0001"):
            part.compute(scheduler="sync")
    given = geodecloud.remove_clouds(lazy, scale=1e-4, **model)
    memory = geodecloud.remove_clouds(as_array(dn.astype(np.float64)), scale=1e-4, **model)
    np.testing.assert_allclose(given, memory, atol=0.51)
    reflectance = geodecloud.remove_clouds(lazy * 1e-4, bands=[1, 2, 3, 4], **model)
    np.testing.assert_allclose(reflectance * 1e4, memory, atol=0.51)


@pytest.mark.parametrize(("usable", "refused"), [(99, False), (100, True)])
def test_few_pixels_do_not_decide_what_values_mean(
    toy_model: Path, usable: int, refused: bool
) -> None:
    dn = np.full((4, 40, 50), np.nan, np.float32)
    dn.reshape(4, -1)[:, 700 : 700 + usable] = 3000
    clear = geodecloud.remove_clouds(as_array(dn).chunk({"y": 40}), model=str(toy_model))
    if refused:
        with pytest.raises(SceneError, match="above 3000"):
            clear.compute(scheduler="sync")
    else:
        with pytest.warns(GeodecloudWarning, match="no measurements"):
            pixels = clear.values
        assert np.isfinite(pixels[:, ~np.isnan(dn[0])]).all()


@pytest.mark.parametrize("chunks", [None, {"y": 50}])
def test_integers_of_a_wrong_scale_are_refused(toy_model: Path, chunks: dict | None) -> None:
    array, model = as_array(textured_dn(4, 60, 70)), {"model": str(toy_model)}
    with pytest.raises(SceneError, match=r"look like DN.*as asked"):
        geodecloud.remove_clouds(
            array.chunk(chunks) if chunks else array, scale=1, **model
        ).compute(scheduler="sync")
    # under full cloud all pixels may be saturated, and nodata is not
    cloud, model = xr.full_like(array, 65535), model | {"nodata": "none"}
    clear = geodecloud.remove_clouds(cloud.chunk(chunks) if chunks else cloud, mask="none", **model)
    assert clear.shape == cloud.shape
    assert (clear.values < 65535).all()


def test_a_declared_offset_alone_does_not_make_all_cloud(toy_model: Path) -> None:
    dn = textured_dn(4, 60, 70)
    plain = geodecloud.remove_clouds(as_array(dn), model=str(toy_model))
    moved = as_array(dn + np.uint16(1000), add_offset=-0.1)
    clear = geodecloud.remove_clouds(moved, model=str(toy_model))
    assert np.abs(clear.values.astype(int) - 1000 - plain.values).max() <= 1


def test_bands_by_name_find_their_channel_in_any_order(toy_model: Path) -> None:
    array, options = as_array(textured_dn(4, 30, 40)), {"model": str(toy_model), "mask": "none"}
    expected = geodecloud.remove_clouds(array, **options).values
    turned = geodecloud.remove_clouds(array, bands=["red", "B03", "blue", "B08"], **options).values
    np.testing.assert_array_equal(turned, expected)
    by_index = geodecloud.remove_clouds(array, bands=[3, 2, 1, 4], **options).values
    assert (by_index != expected).any()  # an index is taken at its word
    array.attrs["long_name"] = ("B02", "B03", "B04", "B11")
    with pytest.raises(BandError, match="B11 was given where model toy takes B08"):
        geodecloud.remove_clouds(array, bands=["B02", "B03", "B04", "B11"], **options)


def test_alpha_is_a_mask_in_any_layout(toy_model: Path, tmp_path: Path) -> None:
    dn = np.concatenate([textured_dn(4, 60, 70), np.full((1, 60, 70), 65535, np.uint16)])
    dn[4, :, :20] = 0
    path = write_raster(tmp_path / "alpha.tif", dn)
    with rasterio.open(path, "r+") as dst:
        dst.descriptions = (*BANDS, "alpha")
        dst.colorinterp = [*[ColorInterp.gray] * 1, *[ColorInterp.undefined] * 3, ColorInterp.alpha]
    out, codes = tmp_path / "out.tif", tmp_path / "codes.tif"
    geodecloud.decloud_scene(path, out, model=str(toy_model), mask="none", provenance=codes)
    with rasterio.open(out) as dst, rasterio.open(codes) as src:
        after, code = dst.read(), src.read(1)
    assert (code[:, :20] == Provenance.NODATA).all()
    assert (code[:, 20:] != Provenance.NODATA).all()
    np.testing.assert_array_equal(after[:, :, :20], dn[:, :, :20])
    np.testing.assert_array_equal(after[4], dn[4])
    # zeros under alpha are a gap like any other: the same result with another number there
    dn[:4, :, :20] = 9999
    with rasterio.open(path, "r+") as dst:
        dst.write(dn)
    again = tmp_path / "again.tif"
    geodecloud.decloud_scene(path, again, model=str(toy_model), mask="none")
    np.testing.assert_array_equal(rasterio.open(again).read()[:, :, 20:], after[:, :, 20:])


def masked_and_transparent(path: Path) -> np.ndarray:
    """Ten rows are transparent, ten more under the file's mask, with numbers there that are no ground."""
    dn = textured_dn(5, 60, 70).astype(np.uint16)
    dn[4], dn[4, :10], dn[:4, :20] = 65535, 0, 65000
    mask = np.full((60, 70), 255, np.uint8)
    mask[10:20] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_raster(path, dn)
        with rasterio.open(path, "r+") as dst:
            dst.colorinterp = [ColorInterp.undefined] * 4 + [ColorInterp.alpha]
            dst.descriptions = (*BANDS, "alpha")
            dst.scales = (1e-4,) * 5
            dst.write_mask(mask)
    return dn


def test_mask_and_alpha_both_count(toy_model: Path, tmp_path: Path) -> None:
    path, out, codes = tmp_path / "both.tif", tmp_path / "out.tif", tmp_path / "codes.tif"
    dn = masked_and_transparent(path)
    geodecloud.decloud_scene(path, out, model=str(toy_model), mask="none", provenance=codes)
    with rasterio.open(path) as src, rasterio.open(out) as dst, rasterio.open(codes) as code:
        np.testing.assert_array_equal(dst.read()[:, :20], dn[:, :20])
        np.testing.assert_array_equal(dst.read_masks(1), src.read_masks(1))
        np.testing.assert_array_equal(dst.read(5), src.read(5))
        assert (code.read(1)[:20] == Provenance.NODATA).all()
        assert (code.read(1)[20:] != Provenance.NODATA).all()


def test_numbers_under_the_mask_are_not_looked_at(toy_model: Path, tmp_path: Path) -> None:
    """Providers leave anything there; a fifth of the scene would look like DN."""
    image = (textured_dn(4, 60, 70) / 10000).astype(np.float32)
    image[:, :20] = 1e20
    path = write_raster(tmp_path / "float.tif", image)
    with rasterio.open(path, "r+") as dst:
        dst.write_mask(np.broadcast_to(np.arange(60)[:, None] >= 20, (60, 70)))
    out = tmp_path / "out.tif"
    geodecloud.decloud_scene(path, out, model=str(toy_model), mask="none")
    with rasterio.open(out) as src:
        np.testing.assert_array_equal(src.read()[:, :20], image[:, :20])


def test_bands_on_their_own_carry_the_alpha_as_a_mask(tmp_path: Path) -> None:
    path, out = tmp_path / "both.tif", tmp_path / "out"
    masked_and_transparent(path)
    geodecloud.decloud_scene(path, out, model="identity", layout="bands")
    with rasterio.open(out / "both_B04.tif") as src:
        assert not src.dataset_mask()[:20].any()
        assert src.dataset_mask()[20:].all()


def test_alpha_is_no_band_for_a_model(tmp_path: Path) -> None:
    """Near infrared that a provider flagged as alpha would be written over, and the mask with it."""
    path = write_raster(
        tmp_path / "nir.tif", textured_dn(4, 60, 70), photometric="RGB", alpha="YES"
    )
    bands = {"model": "s2-10m", "bands": ["3", "2", "1", "4"]}
    with pytest.raises(BandError, match=r"--colorinterp red,green,blue,undefined"):
        geodecloud.decloud_scene(path, tmp_path / "out.tif", scale=1e-4, **bands)


@pytest.mark.parametrize(
    ("shift", "offset", "said"), [(0, -0.1, "offset=0"), (1000, 0.0, "offset=-0.1"), (0, 0, "")]
)
def test_an_offset_that_does_not_fit_is_doubted(
    shift: int, offset: float, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ground as dark as water and forest are: DN from 200 to 3000 without an offset."""
    path = write_raster(tmp_path / "s.tif", (textured_dn(4, 90, 90) // 3 + shift).astype(np.uint16))
    geodecloud.decloud_scene(path, tmp_path / "o.tif", scale=1e-4, offset=offset, model="s2-10m")
    doubts = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(doubts) == bool(said)
    assert not said or said in doubts[0]


@pytest.mark.parametrize("gap", [-9999, 0, np.nan, np.inf])
def test_gaps_raise_no_doubt_of_the_offset(
    gap: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A border of no data is no dark ground; that zeros are no data is told where nothing says so."""
    dn = (textured_dn(4, 90, 90) // 3 + 1000).astype(np.float32)
    dn[:, :30] = gap
    path = write_raster(tmp_path / "s.tif", dn, nodata=gap if gap == -9999 else None)
    told = pytest.warns(GeodecloudWarning, match="nodata=0;") if gap == 0 else nullcontext()
    with told:
        geodecloud.decloud_scene(path, tmp_path / "o.tif", scale=1e-4, offset=-0.1, model="s2-10m")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_unknown_option_names_its_neighbour() -> None:
    with pytest.raises(OptionError, match="did you mean 'window'"):
        geodecloud.remove_clouds(as_array(textured_dn(4, 8, 8)), windows=3)


def test_coords_attrs_and_crs_survive(toy_model: Path, scene: Path) -> None:
    array = geodecloud.open_scene(scene)
    clear = array.geodecloud.remove_clouds(model=str(toy_model))
    assert clear.rio.crs == array.rio.crs
    assert clear.rio.nodata == array.rio.nodata
    assert clear.rio.transform() == array.rio.transform()
    assert clear.attrs == array.attrs
    assert clear.encoding == array.encoding
    xr.testing.assert_identical(clear.coords.to_dataset(), array.coords.to_dataset())


def test_selected_bands_keep_their_names(toy_model: Path, tmp_path: Path) -> None:
    """Selecting and turning bands round in xarray does not mix up blue and red."""
    dn = textured_dn(6, 70, 60)
    path = write_raster(tmp_path / "six.tif", dn)
    with rasterio.open(path, "r+") as dst:
        dst.descriptions = ("B11", "B04", "B03", "B02", "B8A", "B08")
    turned = geodecloud.open_scene(path).sel(band=[6, 2, 3, 4])
    clear = turned.geodecloud.remove_clouds(model=str(toy_model), mask="none")
    expected = whole_image(toy_model, dn[[3, 2, 1, 5]])[[3, 2, 1, 0]]
    np.testing.assert_allclose(clear.values, expected, atol=0.51)


def test_sample_of_a_large_file_is_spread_over_it(tmp_path: Path) -> None:
    """Each pixel says where it is: the patches lie around the centres of sixteen fields."""
    y, x = np.mgrid[:1100, :2100]
    path = write_raster(tmp_path / "large.tif", np.stack([y, x]).astype(np.uint16))
    rows, cols = read_sample(path)
    assert rows.size == 256 * 256
    assert set(np.unique(rows)) == {v for c in (137, 412, 687, 962) for v in range(c - 32, c + 32)}
    assert set(np.unique(cols)) == {
        v for c in (262, 787, 1312, 1837) for v in range(c - 32, c + 32)
    }
    with rasterio.open(path, "r+") as dst:
        dst.build_overviews([4])
    rows, cols = read_sample(path)  # now the whole of it, thinned out
    assert (rows.min(), cols.min()) < (8, 8)
    assert rows.max() > 1090
    assert cols.max() > 2080


@pytest.fixture
def cut_jp2(tmp_path: Path) -> Path:
    """Half of a lossless JPEG 2000 file of 64 tiles."""
    path = tmp_path / "cut.jp2"
    write_jp2(path, textured_dn(1, 512, 512)[0], "EPSG:32719", 399960, 6300040, 10)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def test_a_jp2_that_is_cut_off_never_reads_as_zeros(cut_jp2: Path) -> None:
    """GDAL's own threads lose the error, and settings of one thread are not those of another."""
    array = geodecloud.open_scene(cut_jp2)
    with rasterio.Env(GDAL_NUM_THREADS="4"):
        for options in ({}, {"scheduler": "threads", "num_workers": 2}, {"scheduler": "sync"}):
            with pytest.raises(SceneIOError, match=r"cut\.jp2 cannot be read, it may be cut off"):
                array.compute(**options)
        assert rasterio.env.get_gdal_config("GDAL_NUM_THREADS") == 4
    with ThreadPoolExecutor(1) as pool, pytest.raises(SceneIOError, match="cut off"):
        pool.submit(read_sample, cut_jp2).result()
    with pytest.raises(SceneIOError, match="cut off"):
        open_mask(cut_jp2, read_metadata(cut_jp2).grid, (512, 512)).compute(scheduler="threads")


def test_parts_of_a_file_are_what_rasterio_reads(tmp_path: Path) -> None:
    """Whatever is selected of a lazy scene before it is read."""
    dn = textured_dn(4, 70, 90)
    path = write_raster(tmp_path / "scene.tif", dn, tiled=True, blockxsize=32, blockysize=32)
    mask = dn[0] % 3 > 0
    with rasterio.open(path, "r+") as dst:
        dst.write_mask(mask)
    array = geodecloud.open_scene(path, side=32)
    assert array.dtype == dn.dtype
    assert array.chunks == ((4,), (32, 32, 6), (32, 32, 26))
    assert array.data.name == geodecloud.open_scene(path, side=32).data.name
    for key in [np.s_[:], np.s_[2, 5:60:7, -3], np.s_[[3, 0], ::-1], np.s_[..., [80, 2, 33]]]:
        np.testing.assert_array_equal(array[key].values, dn[key])
    valid = array.geodecloud_valid
    for key in [np.s_[3], np.s_[5:60:7, -3], np.s_[::-1, [80, 2, 33]], np.s_[5:5]]:
        np.testing.assert_array_equal(valid.data[key].compute(), mask[key])
    assert array[:, 5:5].values.shape == (4, 0, 90)


def test_only_the_surroundings_of_the_mask_are_computed(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloud in a corner costs its own pixels and the halo, not the windows it touches."""
    from geodecloud.backends.declouder import Declouder

    dn, computed = textured_dn(4, 300, 320), []
    predict = Declouder.predict

    def counted(
        self: Declouder, patches: np.ndarray, margins: Margins, prior: None = None
    ) -> object:
        computed.append(patches.shape[-2:])
        return predict(self, patches, margins, prior)

    monkeypatch.setattr(Declouder, "predict", counted)
    mask = np.zeros((300, 320), bool)
    mask[100:120, 200:230] = True
    options = {"model": str(toy_model), "workers": 1}
    array = as_array(dn)
    array = array.assign_coords(geodecloud_valid=(("y", "x"), mask))
    clear = geodecloud.remove_clouds(array, mask="none", window=256, **options)
    assert computed == [(100, 110)]  # 20 x 30 px, and 40 px of context on each side
    assert ((clear.values != dn).any(axis=0) <= mask).all()

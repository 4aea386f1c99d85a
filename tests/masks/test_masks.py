"""Masks besides the model's own: the scene classification, s2cloudless, and both against numpy."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from conftest import BANDS, Options, textured_dn, write_raster
from products import band_pixels, build_small
from scipy.ndimage import distance_transform_edt

import geodecloud
from geodecloud.errors import BandError, GeodecloudWarning, OptionError, SceneIOError
from geodecloud.masks.sources import _clouds_of_classes
from geodecloud.options import FileFormat
from geodecloud.pipeline import decloud
from geodecloud.raster.raw import MaskTarget, RasterTarget
from geodecloud.restore.composite import MARGIN_PX, Provenance

NAME = "S2A_MSIL2A_20230625T104621_N0509_R051_T33UXQ_20230625T170000.SAFE"
CLOUD_CLASSES = [3, 8, 9, 10]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_small(tmp_path_factory.mktemp("in") / NAME)


def classes_at_10m() -> np.ndarray:
    return np.repeat(np.repeat(band_pixels("SCL", 20), 2, axis=0), 2, axis=1)


def test_classes_mean_what_esa_says() -> None:
    meaning = _clouds_of_classes(np.arange(12, dtype=np.uint8))
    assert meaning.tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 1, 0]


def test_scl_alone_decides(product: Path, toy_model: Path, tmp_path: Path) -> None:
    out, codes = tmp_path / "o.tif", tmp_path / "c.tif"
    report = geodecloud.decloud_scene(product, out, model=toy_model, mask="scl", provenance=codes)
    classes = classes_at_10m()
    with rasterio.open(out) as dst, rasterio.open(codes) as src:
        after, code = dst.read(), src.read(1)
    before = geodecloud.open_scene(product).values
    cloud = np.isin(classes, CLOUD_CLASSES)
    np.testing.assert_array_equal(np.isin(code, [2, 3, 4]), cloud)
    np.testing.assert_array_equal(before[:, ~cloud], after[:, ~cloud])
    np.testing.assert_array_equal(code == Provenance.NODATA, classes == 0)
    assert (code[classes == 9] == Provenance.SYNTHESISED).all()
    assert (code[(classes == 10)] == Provenance.RESTORED).any()
    assert report.pixels["nodata"] == (classes == 0).sum()


@pytest.mark.filterwarnings("ignore:model toy does not restore")
@pytest.mark.parametrize("lead", [("band",), ("time", "band")])
def test_a_band_of_that_name_decides_too(lead: tuple[str, ...], toy_model: Path) -> None:
    """A stack of bands with its classification among them, as users keep it; one date, or two."""
    rng = np.random.default_rng(2)
    classes = rng.integers(0, 12, (2, 8, 9)).repeat(6, axis=1).repeat(6, axis=2).astype(np.uint16)
    dn = np.stack(
        [np.concatenate([textured_dn(4, 48, 54, seed=i), classes[i][None]]) for i in (0, 1)]
    )
    dn = dn if lead[0] == "time" else dn[0]
    scene = xr.DataArray(dn, dims=(*lead, "y", "x"), attrs={"long_name": (*BANDS, "SCL")})
    result = decloud(
        scene.chunk(), Options(model=str(toy_model), mask="scl", scale=1e-4, offset=0.0)
    )
    image, codes = np.asarray(result.image), np.asarray(result.provenance)
    own = dn[..., 4, :, :]
    cloud = np.isin(own, CLOUD_CLASSES)
    np.testing.assert_array_equal(np.isin(codes, [2, 3, 4]), cloud)
    assert (codes[own == 9] == Provenance.SYNTHESISED).all()
    np.testing.assert_array_equal(image[..., 4, :, :], own)
    np.testing.assert_array_equal(*(np.where(cloud[..., None, :, :], 0, x) for x in (image, dn)))


def test_auto_is_the_models_cloud_and_the_scl(product: Path, toy_model: Path) -> None:
    array = geodecloud.open_scene(product)
    both = decloud(array, Options(model=str(toy_model)))
    alone = decloud(array.drop_vars("scl"), Options(model=str(toy_model)))
    classes = classes_at_10m()
    seen = alone.cloud_map.values > 0.64
    seen = (distance_transform_edt(~seen) <= MARGIN_PX) if seen.any() else seen
    expected = (seen | np.isin(classes, CLOUD_CLASSES)) & (classes != 0)
    changed = np.isin(both.provenance.values, [2, 3])
    np.testing.assert_array_equal(changed[classes != 0], expected[classes != 0])
    assert (both.provenance.values[classes == 9] == Provenance.SYNTHESISED).all()


def test_strict_leaves_opaque_classes(product: Path, toy_model: Path) -> None:
    array = geodecloud.open_scene(product)
    strict = decloud(array, Options(model=str(toy_model), mask="scl", strict=True))
    opaque = classes_at_10m() == 9
    assert (strict.provenance.values[opaque] == Provenance.LEFT).all()
    np.testing.assert_array_equal(strict.image.values[:, opaque], array.values[:, opaque])


def test_nodata_class_is_no_data(product: Path, toy_model: Path) -> None:
    """Data under class 0 stays as it is, whatever the mask."""
    array = geodecloud.open_scene(product).compute()
    array["scl"][50:70, 60:90] = 0
    result = decloud(array, Options(model=str(toy_model), mask="none"))
    assert (result.provenance.values[50:70, 60:90] == Provenance.NODATA).all()
    np.testing.assert_array_equal(
        result.image.values[:, 50:70, 60:90], array.values[:, 50:70, 60:90]
    )


def test_model_without_cloud_map_takes_the_scl(product: Path, tmp_path: Path) -> None:
    from conftest import make_toy_model

    from geodecloud.models.weights import load_model, save_weights

    path = make_toy_model(tmp_path / "image.safetensors", output="image")
    blind = load_model(path)
    object.__setattr__(blind.card, "has_cloud_map", False)
    save_weights(blind.network, blind.card, path)
    result = decloud(geodecloud.open_scene(product), Options(model=str(path)))
    cloud = np.isin(classes_at_10m(), CLOUD_CLASSES)
    np.testing.assert_array_equal(result.provenance.values == Provenance.SYNTHESISED, cloud)


def test_scl_does_not_depend_on_chunks(product: Path, toy_model: Path) -> None:
    images = [
        decloud(
            geodecloud.open_scene(product, side=side), Options(model=str(toy_model), mask="scl")
        )
        for side in (64, 4096)
    ]
    np.testing.assert_array_equal(*(image.provenance.values for image in images))
    assert np.abs(np.subtract(*(image.image.values.astype(int) for image in images))).max() <= 1


def test_scl_of_a_series_of_dates(product: Path, toy_model: Path) -> None:
    """Each date has its own classes; the second has none but ground."""
    first = geodecloud.open_scene(product).compute()
    second = first.copy(deep=True).assign_coords(time=first.time + np.timedelta64(5, "D"))
    second["scl"][:] = 4
    series = xr.concat([first, second], "time", coords="all", compat="override", join="override")
    clear = series.geodecloud.remove_clouds(model=toy_model, mask="scl")
    one = first.geodecloud.remove_clouds(model=toy_model, mask="scl")
    np.testing.assert_array_equal(clear[0], one)
    assert (one != first).any()
    np.testing.assert_array_equal(clear[1], second)


def test_scl_needs_a_classification(scene: Path) -> None:
    with pytest.raises(OptionError, match="L2A product"):
        geodecloud.remove_clouds(geodecloud.open_scene(scene), mask="scl")


def test_identity_passes_all_bands_through(product: Path, tmp_path: Path) -> None:
    geodecloud.decloud_scene(product, tmp_path / "o.tif", model="identity")
    with rasterio.open(tmp_path / "o.tif") as dst:
        np.testing.assert_array_equal(dst.read(), geodecloud.open_scene(product).values)


# s2cloudless, with the weights of its wheel


@pytest.fixture(scope="module")
def cloudy_l1c(real_data: Path) -> xr.DataArray:
    pytest.importorskip("s2cloudless", reason="the extra s2cloudless is not installed")
    path = real_data / "sen12mscr" / "ROIs1158_spring_39_p500_cloudy.tif"
    return geodecloud.open_scene(path, side=96)


def test_s2cloudless_is_asked_as_its_authors_do(cloudy_l1c: xr.DataArray, toy_model: Path) -> None:
    """Against the package on the whole image; the cut in chunks must not show."""
    from s2cloudless import S2PixelCloudDetector

    detector = S2PixelCloudDetector(
        threshold=0.4, average_over=22, dilation_size=11, all_bands=True
    )
    dn = cloudy_l1c.values
    expected = detector.get_cloud_masks(dn.transpose(1, 2, 0)[None] / 10000)[0] > 0
    assert 0.2 < expected.mean() < 0.9
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GeodecloudWarning)  # bands without names
        result = decloud(cloudy_l1c, Options(model=str(toy_model), mask="s2cloudless"))
    changed = np.isin(result.provenance.values, [2, 3])
    valid = (dn != 0).all(axis=0) if cloudy_l1c.rio.nodata == 0 else np.ones_like(expected)
    np.testing.assert_array_equal(changed, expected & valid)


def test_s2cloudless_names_what_is_missing(product: Path) -> None:
    pytest.importorskip("s2cloudless", reason="the extra s2cloudless is not installed")
    with pytest.raises(BandError, match="no B01, B05"):
        geodecloud.remove_clouds(geodecloud.open_scene(product), mask="s2cloudless")


def test_s2cloudless_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "s2cloudless", None)
    array = xr.DataArray(
        textured_dn(4, 20, 20), dims=("band", "y", "x"), attrs={"long_name": BANDS}
    )
    with pytest.raises(OptionError, match="pip install"):
        geodecloud.remove_clouds(array, mask="s2cloudless")


@pytest.fixture
def coloured(tmp_path: Path) -> Path:
    """A scene whose tag NODATA_VALUES calls one colour no data; GDAL makes a mask of it."""
    pixels = (textured_dn(4, 101, 203) % 200 + 20).astype(np.uint8)
    pixels[:, 30:60, 20:90] = np.arange(4)[:, None, None]
    pixels[1, 80:90, 100:] = 1  # in one band only: no mask there
    path = write_raster(tmp_path / "coloured.tif", pixels, photometric="MINISBLACK")
    with rasterio.open(path, "r+") as dst:
        dst.update_tags(NODATA_VALUES="0 1 2 3")
    return path


@pytest.mark.parametrize("format", ["cog", "gtiff"])
def test_mask_of_a_tag_is_kept_by_the_tag(format: str, coloured: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    form = FileFormat(format)
    geodecloud.decloud_scene(coloured, out, model="identity", format=form)
    with rasterio.open(coloured) as src, rasterio.open(out) as dst:
        assert (src.dataset_mask() == 0).sum() == 30 * 70
        assert dst.mask_flag_enums == src.mask_flag_enums
        assert dst.tags()["NODATA_VALUES"] == "0 1 2 3"
        np.testing.assert_array_equal(dst.dataset_mask(), src.dataset_mask())
        np.testing.assert_array_equal(dst.read(), src.read())


def test_mask_of_a_tag_is_no_data(coloured: Path, toy_model: Path, tmp_path: Path) -> None:
    out, codes = tmp_path / "out.tif", tmp_path / "codes.tif"
    geodecloud.decloud_scene(coloured, out, model=toy_model, mask="none", provenance=codes)
    with rasterio.open(coloured) as src, rasterio.open(out) as dst, rasterio.open(codes) as code:
        valid = src.dataset_mask() > 0
        np.testing.assert_array_equal(code.read(1) == Provenance.NODATA, ~valid)
        np.testing.assert_array_equal(dst.read()[:, ~valid], src.read()[:, ~valid])
        assert (dst.read() != src.read()).any(axis=0)[valid].mean() > 0.9


def test_mask_of_a_tag_becomes_one_of_each_band(coloured: Path, tmp_path: Path) -> None:
    geodecloud.decloud_scene(coloured, tmp_path / "o", model="identity", layout="bands")
    geodecloud.write_scene(geodecloud.open_scene(coloured), tmp_path / "alone.tif")
    with rasterio.open(coloured) as src:
        mask = src.dataset_mask()
    paths = [*(tmp_path / "o").iterdir(), tmp_path / "alone.tif"]
    assert len(paths) == 5
    for path in paths:
        with rasterio.open(path) as dst:
            np.testing.assert_array_equal(dst.dataset_mask(), mask)


def test_a_mask_that_cannot_be_written_is_no_damage_of_the_scene(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "count": 3, "height": 9, "width": 9, "dtype": "uint8"}
    with rasterio.open(tmp_path / "raw.tif", "w", **profile) as dst:
        dst.update_tags(NODATA_VALUES="0 1 2")  # a file with such a tag takes no mask
        target = MaskTarget(RasterTarget(dst, "clear.tif"))
        with pytest.raises(SceneIOError, match=r"clear\.tif cannot be written"):
            target[0:9, 0:9] = np.ones((9, 9), bool)

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import rioxarray
import xarray as xr
from affine import Affine
from conftest import textured_dn, write_raster
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rio_cogeo.cogeo import cog_validate

import geodecloud
from geodecloud.errors import OptionError, SceneError, SceneIOError
from geodecloud.options import FileFormat
from geodecloud.raster.writer import write_scene


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
@pytest.mark.parametrize("shape_yx", [(1, 1), (511, 513), (700, 1100)])
def test_cog_is_valid_and_holds_the_pixels(
    dtype: str, shape_yx: tuple[int, int], tmp_path: Path
) -> None:
    pixels = (textured_dn(2, *shape_yx) % 251).astype(dtype)
    array = xr.DataArray(da.from_array(pixels, chunks=(1, 300, 277)), dims=("band", "y", "x"))
    path = write_scene(array, tmp_path / "out.tif")
    valid, errors, warnings = cog_validate(path)
    assert valid, (errors, warnings)
    with rasterio.open(path) as dst:
        np.testing.assert_array_equal(dst.read(), pixels)
        assert dst.dtypes == (dtype, dtype)


def test_dataarray_alone_carries_its_metadata(scene: Path, tmp_path: Path) -> None:
    """The oracle is rioxarray, which reads our file back as it read the source."""
    with rasterio.open(scene, "r+") as dst:
        dst.scales, dst.offsets = (1e-4,) * 4, (-0.1,) * 4
    array = rioxarray.open_rasterio(scene)
    back = rioxarray.open_rasterio(write_scene(array, tmp_path / "out.tif"))
    xr.testing.assert_equal(array, back)
    assert back.rio.crs == array.rio.crs
    assert back.rio.nodata == array.rio.nodata
    for key in ("long_name", "scale_factor", "add_offset"):
        assert back.attrs[key] == array.attrs[key]


MOVES = {
    "thinned": lambda a: a[:, ::2, ::2],
    "coarsened": lambda a: a.coarsen(x=2, y=2, boundary="trim").mean(),
    "turned": lambda a: a.sortby("y"),
    "cropped": lambda a: a[:, 30:70, 21:],
    "one pixel": lambda a: a[:, 30:31, 21:22],
    "untouched": lambda a: a,
}


@pytest.mark.filterwarnings("ignore:Transform that is non-rectilinear")  # rioxarray's, of rotated
@pytest.mark.parametrize(
    ("kind", "move"),
    [
        *itertools.product(("utm", "lonlat"), MOVES),
        # these have no coordinates to go by
        *(("rotated", move) for move in ("thinned", "cropped", "one pixel", "untouched")),
    ],
)
def test_place_of_a_changed_array_is_that_rioxarray_writes(
    kind: str, move: str, tmp_path: Path
) -> None:
    """The GeoTransform rioxarray keeps is that of the file; its coordinates are right."""
    place = {
        "utm": {},
        "lonlat": {"crs": 4326, "transform": Affine(1 / 11132, 0, -70.1234567, 0, -1 / 11132, -33)},
        "rotated": {"transform": Affine(8, 6, 399960, 6, -8, 6300040)},
    }[kind]
    path = write_raster(tmp_path / "scene.tif", textured_dn(2, 101, 203), **place)
    array = rioxarray.open_rasterio(path)
    if kind == "rotated":
        array = array.drop_vars(["xc", "yc"])
    moved = MOVES[move](array).astype("float32")
    moved.rio.to_raster(tmp_path / "theirs.tif")
    write_scene(moved, tmp_path / "ours.tif")
    with (
        rasterio.open(tmp_path / "theirs.tif") as theirs,
        rasterio.open(tmp_path / "ours.tif") as ours,
        rasterio.open(path) as src,
    ):
        if move == "untouched":
            assert ours.transform == src.transform
        assert ours.transform.almost_equals(theirs.transform, 1e-9)
        assert (ours.transform == src.transform) == (move == "untouched" or kind == "rotated")
        assert ours.crs == theirs.crs
        np.testing.assert_array_equal(ours.read(), theirs.read())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rounded_coordinates_do_not_move_a_scene(dtype: str, tmp_path: Path) -> None:
    transform = Affine(1 / 11132, 0, -70.1234567, 0, -1 / 11132, -33.7654321)
    dn = textured_dn(2, 300, 203)
    path = write_raster(tmp_path / "scene.tif", dn, crs="EPSG:4326", transform=transform)
    array = rioxarray.open_rasterio(path)
    array = array.assign_coords(x=array.x.astype(dtype), y=array.y.astype(dtype))
    with rasterio.open(write_scene(array, tmp_path / "out.tif")) as dst:
        assert dst.transform == transform
    with rasterio.open(write_scene(array[:, 1:, ::-1], tmp_path / "moved.tif")) as dst:
        assert dst.transform.a == pytest.approx(-transform.a, rel=1e-3)
        assert dst.transform.f == pytest.approx(transform.f + transform.e, abs=1e-5)


def test_mask_of_a_file_survives_without_like(toy_model: Path, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "scene.tif", textured_dn(4, 101, 203))
    mask = np.ones((101, 203), bool)
    mask[20:40, 50:90] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dst:
        dst.write_mask(mask)
    clear = geodecloud.open_scene(path).geodecloud.remove_clouds(model=str(toy_model))
    write_scene(clear, tmp_path / "out.tif")
    with rasterio.open(path) as src, rasterio.open(tmp_path / "out.tif") as dst:
        assert dst.mask_flag_enums == src.mask_flag_enums
        np.testing.assert_array_equal(dst.dataset_mask(), np.where(mask, 255, 0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.tif", "scene.tif"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_alpha_still_masks_without_like(dtype: str, tmp_path: Path) -> None:
    pixels = (textured_dn(4, 101, 203) % 251).astype(dtype)
    pixels[3] = np.iinfo(dtype).max
    pixels[3, 20:40, 50:90] = 0
    path = write_raster(tmp_path / "scene.tif", pixels, photometric="RGB", alpha="YES")
    write_scene(geodecloud.open_scene(path), tmp_path / "out.tif")
    with rasterio.open(path) as src, rasterio.open(tmp_path / "out.tif") as dst:
        np.testing.assert_array_equal(dst.dataset_mask() > 0, src.dataset_mask() > 0)
        np.testing.assert_array_equal(dst.read(), pixels)


@pytest.mark.parametrize("chunks", [None, 50])
def test_ground_control_points_survive_without_like(
    chunks: int | None, toy_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "scene.tif"
    corners = [(0, 0, 4e5, 6.3e6), (0, 203, 4.02e5, 6.3e6), (101, 0, 4e5, 6.299e6)]
    points = [GroundControlPoint(*corner, 12.5) for corner in corners]
    profile = {"driver": "GTiff", "count": 4, "height": 101, "width": 203, "dtype": "uint16"}
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(textured_dn(4, 101, 203))
        dst.gcps = (points, CRS.from_epsg(32719))
    clear = rioxarray.open_rasterio(path, chunks=chunks).geodecloud.remove_clouds(
        model=str(toy_model), bands=[1, 2, 3, 4], scale=1e-4
    )
    write_scene(clear, tmp_path / "ours.tif")
    clear.rio.to_raster(tmp_path / "theirs.tif")
    with (
        rasterio.open(tmp_path / "theirs.tif") as theirs,
        rasterio.open(tmp_path / "ours.tif") as ours,
    ):
        assert [p.asdict() for p in ours.gcps[0]] == [p.asdict() for p in theirs.gcps[0]]
        assert [(p.row, p.col, p.x, p.y) for p in ours.gcps[0]] == corners
        assert ours.gcps[1] == theirs.gcps[1] == CRS.from_epsg(32719)
        assert (ours.crs, ours.transform) == (theirs.crs, theirs.transform)


def test_nodata_set_in_the_accessor_is_written(toy_model: Path, tmp_path: Path) -> None:
    array = rioxarray.open_rasterio(
        write_raster(tmp_path / "scene.tif", textured_dn(4, 60, 50, nodata=7))
    )
    array.rio.set_nodata(7)
    for scene in (array, array.geodecloud.remove_clouds(model=str(toy_model))):
        write_scene(scene, tmp_path / "out.tif", overwrite=True)
        scene.rio.to_raster(tmp_path / "theirs.tif")
        with (
            rasterio.open(tmp_path / "theirs.tif") as theirs,
            rasterio.open(tmp_path / "out.tif") as ours,
        ):
            assert ours.nodata == theirs.nodata == 7


class DiskFullError(OSError):
    pass


def test_failure_half_way_leaves_nothing(scene: Path, tmp_path: Path) -> None:
    calls = []

    def block(x: np.ndarray) -> np.ndarray:
        calls.append(x.shape)
        if len(calls) > 3:
            raise DiskFullError("no space left")
        return x

    pixels = da.from_array(textured_dn(1, 200, 200), chunks=(1, 50, 50)).map_blocks(
        block, dtype="u2", meta=np.empty((0, 0, 0), "u2")
    )
    target = tmp_path / "target.tif"
    target.write_text("old")
    before = set(tmp_path.iterdir())
    array = xr.DataArray(pixels, dims=("band", "y", "x"))
    with pytest.raises(DiskFullError):
        write_scene(array, target, overwrite=True)
    assert target.read_text() == "old"
    assert set(tmp_path.iterdir()) == before


def test_several_outputs_appear_together_or_not_at_all(scene: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "codes.tif"
    blocked.write_text("mine")
    with pytest.raises(SceneIOError, match=r"codes\.tif exists"):
        geodecloud.decloud_scene(scene, tmp_path / "o.tif", model="identity", provenance=blocked)
    assert not (tmp_path / "o.tif").exists()


def test_overviews_of_codes_hold_only_codes(tmp_path: Path, toy_model: Path) -> None:
    scene = write_raster(tmp_path / "big.tif", textured_dn(4, 600, 1100) // 2)
    codes = tmp_path / "codes.tif"
    geodecloud.decloud_scene(scene, tmp_path / "o.tif", model=str(toy_model), provenance=codes)
    with rasterio.open(codes) as full, rasterio.open(codes, overview_level=0) as half:
        assert set(np.unique(half.read())) <= set(np.unique(full.read()))


def test_full_disk_is_noticed_before_work(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("geodecloud.raster.targets.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(SceneIOError, match="GB free"):
        geodecloud.decloud_scene(scene, tmp_path / "o.tif", model="identity")


def test_full_disk_is_told_in_gdals_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on the size of files stands for a disk that fills up."""
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(1, 9000, (4, 1500, 1500), dtype=np.uint16)
    scene = write_raster(tmp_path / "scene.tif", noise)
    monkeypatch.setattr("geodecloud.raster.writer.CACHE_BYTES", 2**20)  # else closing finds out
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, before[1]))
    try:
        with pytest.raises(SceneIOError, match=r"out\.tif cannot be written") as raised:
            geodecloud.decloud_scene(scene, tmp_path / "out.tif", model="identity")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "previous exception" not in str(raised.value)
    assert "damaged" not in str(raised.value)
    assert list(tmp_path.iterdir()) == [scene]


def test_unknown_format_is_refused() -> None:
    with pytest.raises(OptionError, match="cog or gtiff"):
        FileFormat("png")


def test_a_copy_that_went_wrong_is_not_published(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GDAL tells of a disk that fills up while closing in its log only."""
    copy = rasterio.shutil.copy

    def cut_off(src: Path, dst: Path, **options: str) -> None:
        copy(src, dst, **options)
        if options["driver"] == "VRT":  # a description, which is read only
            return
        Path(dst).write_bytes(Path(dst).read_bytes()[:-20_000])

    target = tmp_path / "target.tif"
    target.write_text("old")
    before = set(tmp_path.iterdir())
    monkeypatch.setattr("geodecloud.raster.staging.rasterio.shutil.copy", cut_off)
    with pytest.raises(SceneIOError, match=r"did not come out as computed|cannot be written"):
        geodecloud.decloud_scene(scene, target, model="identity", overwrite=True)
    assert (set(tmp_path.iterdir()), target.read_text()) == (before, "old")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"COMPRES": "ZSTD"}, OptionError, "COMPRES"),
        ({"COMPRESS": "FOO"}, OptionError, "COMPRESS"),
        ({"BLOCKSIZE": "100"}, OptionError, "BLOCKSIZE"),
        ({"TILING_SCHEME": "GoogleMapsCompatible"}, (OptionError, SceneIOError), "."),
        ({"COMPRESS": "JPEG"}, (OptionError, SceneIOError), "."),
        ({"COMPRESS": "LERC", "MAX_Z_ERROR": "50"}, SceneIOError, "pixels of rows"),
    ],
)
def test_creation_options_cannot_break_promises(
    options: dict, error: type, message: str, scene: Path, tmp_path: Path
) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(error, match=message):
        geodecloud.decloud_scene(
            scene, tmp_path / "o.tif", model="identity", format=FileFormat("cog", options)
        )
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("format", ["cog", "gtiff"])
@pytest.mark.parametrize(
    ("asked", "same"),
    [
        ({}, {"COMPRESS": "DEFLATE", "level": "1"}),
        ({"level": "9"}, {"COMPRESS": "DEFLATE", "level": "9"}),
        ({"COMPRESS": "ZSTD"}, {"COMPRESS": "ZSTD"}),
    ],
)
def test_deflate_is_of_level_1_unless_asked_otherwise(
    asked: dict, same: dict, format: str, scene: Path, tmp_path: Path
) -> None:
    """Blocks as long as in GDAL's own copy with these options."""
    driver, level, predictor = {
        "cog": ("COG", "LEVEL", "YES"),
        "gtiff": ("GTiff", "ZLEVEL", "2"),
    }[format]
    asked, same = ({level if k == "level" else k: v for k, v in d.items()} for d in (asked, same))
    out, copy = tmp_path / "out.tif", tmp_path / "copy.tif"
    geodecloud.decloud_scene(scene, out, model="identity", format=FileFormat(format, asked))
    tiles = {} if format == "cog" else {"TILED": "YES", "BLOCKXSIZE": "512", "BLOCKYSIZE": "512"}
    rasterio.shutil.copy(scene, copy, driver=driver, PREDICTOR=predictor, **tiles, **same)
    sizes = []
    for path in (out, copy):
        with rasterio.open(path) as src:
            sizes.append(src.get_tag_item("BLOCK_SIZE_0_0", "TIFF", bidx=1))
    assert sizes[0] is not None
    assert sizes[0] == sizes[1]


def test_sidecars_of_an_older_file_do_not_mask_the_new_one(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    geodecloud.decloud_scene(scene, out, model="identity")
    with rasterio.open(scene) as src:
        expected = src.dataset_mask()
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False),
        rasterio.open(out, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst,
    ):
        dst.write_mask(np.zeros((101, 203), bool))
    assert (tmp_path / "out.tif.msk").exists()
    geodecloud.decloud_scene(scene, out, model="identity", overwrite=True)
    with rasterio.open(out) as dst:
        np.testing.assert_array_equal(dst.dataset_mask(), expected)


def test_no_input_can_be_overwritten(scene: Path, tmp_path: Path, toy_model: Path) -> None:
    (tmp_path / "sub").mkdir()
    link = tmp_path / "link.tif"
    link.symlink_to(scene)
    mask = write_raster(tmp_path / "mask.tif", np.ones((1, 101, 203), np.uint8))
    for src, dst, options in [
        (scene, tmp_path / "sub" / ".." / "scene.tif", {}),
        (link, scene, {}),
        (scene, link, {}),
        (scene, mask, {"mask": mask}),
    ]:
        with pytest.raises(SceneIOError, match="named twice"):
            geodecloud.decloud_scene(src, dst, model=str(toy_model), overwrite=True, **options)


def test_several_pages_are_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "pages.tif", textured_dn(1, 20, 20))
    with rasterio.open(path) as src:
        profile = src.profile | {"append_subdataset": True}
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(textured_dn(1, 20, 20, seed=1))
    with pytest.raises(geodecloud.GeodecloudError, match="several rasters"):
        geodecloud.decloud_scene(path, tmp_path / "o.tif", model="identity")


def test_two_writers_of_one_target_do_not_disturb_each_other(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"

    def run(_: int) -> None:
        geodecloud.decloud_scene(scene, out, model="identity", overwrite=True)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, range(6)))
    assert cog_validate(out)[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.tif", "scene.tif"]


def test_like_must_describe_the_array(scene: Path, tmp_path: Path) -> None:
    array, like = geodecloud.open_scene(scene), geodecloud.read_metadata(scene)
    with pytest.raises(SceneError, match="shape"):
        write_scene(array[:2], tmp_path / "o.tif", like=like)
    with pytest.raises(SceneError, match="astype"):
        write_scene(array * 0.5, tmp_path / "o.tif", like=like)
    write_scene(array[0].astype("float32"), tmp_path / "one.tif")  # (y, x) is one band
    with rasterio.open(tmp_path / "one.tif") as one, rasterio.open(scene) as src:
        np.testing.assert_array_equal(one.read(1), src.read(1))


def test_a_bar_is_shown_if_asked(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    geodecloud.decloud_scene(scene, tmp_path / "a.tif", model="identity")
    assert "MPix" not in capsys.readouterr().err
    geodecloud.decloud_scene(scene, tmp_path / "b.tif", model="identity", progress=True)
    assert "MPix" in capsys.readouterr().err


def test_one_date_goes_into_a_file(tmp_path: Path) -> None:
    series = xr.DataArray(np.ones((2, 3, 4, 5), np.uint8), dims=("time", "band", "y", "x"))
    with pytest.raises(SceneError, match=r"isel\(time=0\)"):
        geodecloud.write_scene(series, tmp_path / "out.tif")
    geodecloud.write_scene(series.isel(time=0).transpose("x", "y", "band"), tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as src:
        assert (src.count, *src.shape) == (3, 4, 5)

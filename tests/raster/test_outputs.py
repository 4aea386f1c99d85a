"""What a scene becomes on the disk: one file or one per band, and a STAC Item that tells."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pystac
import pystac.validation
import pytest
import rasterio
from click.testing import CliRunner
from conftest import BANDS, textured_dn, write_raster
from products import build_from_documents, build_small
from rio_cogeo.cogeo import cog_validate
from shapely.geometry import shape

import geodecloud
from geodecloud.cli.commands import main
from geodecloud.decloud_file import decloud_scene
from geodecloud.errors import OptionError, SceneIOError
from geodecloud.options import FileFormat

NAME = "S2A_MSIL2A_20230625T104621_N0509_R051_T33UXQ_20230625T170000.SAFE"


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return build_small(tmp_path / "in" / NAME, offsets=dict.fromkeys(range(13), -1000))


def test_one_file_per_band_has_the_products_names(
    product: Path, toy_model: Path, tmp_path: Path
) -> None:
    options = {"model": toy_model, "mask": "scl"}
    stack = tmp_path / "stack.tif"
    geodecloud.decloud_scene(product, stack, **options)
    report = geodecloud.decloud_scene(product, tmp_path / "bands", layout="bands", **options)
    names = {file.stem for file in product.rglob("*_B*.jp2")}
    assert {Path(file).stem for file in report.files if file.endswith(".tif")} == names
    with rasterio.open(stack) as whole:
        for index, band in enumerate(whole.descriptions, start=1):
            path = tmp_path / "bands" / f"T33UXQ_20230625T104621_{band}_10m.tif"
            with rasterio.open(path) as one:
                np.testing.assert_array_equal(one.read(1), whole.read(index))
                assert (one.descriptions, one.nodata) == ((band,), 0)
                assert (one.scales[0], one.offsets[0]) == (whole.scales[0], whole.offsets[0])
                assert one.tags(1)["wavelength_nm"] == whole.tags(index)["wavelength_nm"]
                assert one.tags() == whole.tags()
            assert cog_validate(path)[0]


def test_bands_written_are_a_product_again(product: Path, tmp_path: Path) -> None:
    """With the Item the offset is in it, without it in the files."""
    for stac in (True, False):
        out = tmp_path / f"bands{stac}"
        geodecloud.decloud_scene(product, out, layout="bands", model="identity", stac=stac)
        array = geodecloud.open_scene(out)
        assert array.attrs["offsets"] == pytest.approx((-0.1,) * 4)
        np.testing.assert_array_equal(array.values, geodecloud.open_scene(product).values)


def test_names_of_resampled_bands_say_so(real_data: Path, tmp_path: Path) -> None:
    documents = "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248.SAFE"
    source = build_from_documents(
        real_data / "s2_metadata" / documents, tmp_path / documents, size=60
    )
    geodecloud.decloud_scene(source, tmp_path / "o", layout="bands", model="identity", stac=False)
    names = {path.name for path in (tmp_path / "o").iterdir()}
    assert {"T46RER_20210908T042701_B02.tif", "T46RER_20210908T042701_B05_10m.tif"} <= names
    assert len(names) == 13


def test_bands_of_a_plain_raster(scene: Path, tmp_path: Path) -> None:
    geodecloud.decloud_scene(scene, tmp_path / "o", layout="bands", model="identity")
    names = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert names == [f"scene_{band}.tif" for band in BANDS]
    with rasterio.open(tmp_path / "o" / "scene_B04.tif") as one, rasterio.open(scene) as src:
        np.testing.assert_array_equal(one.read(1), src.read(3))


@pytest.mark.parametrize(
    ("bands", "files"),
    [
        (["nir", "nir"], ["s_nir_1", "s_nir_2"]),
        (["B 1", "red", "B/1"], ["s_B_1_1", "s_red", "s_B_1_3"]),
        (["nir", "red", "NIR"], ["s_nir_1", "s_red", "s_NIR_3"]),  # one file to macOS and Windows
        (["\uac00", "\u1100\u1161"], ["s_\uac00_1", "s_\u1100\u1161_2"]),  # one to macOS
        (["x", "x", "x_2", "y"], ["s_x_1", "s_x_2", "s_x_2_3", "s_y"]),  # numbered, one is a name
        (["2", None], ["s_2_1", "s_2_2"]),
    ],
)
def test_bands_of_one_name_have_files_of_their_own(
    tmp_path: Path, bands: list[str | None], files: list[str]
) -> None:
    source = write_raster(tmp_path / "s.tif", textured_dn(len(bands), 40, 50))
    with rasterio.open(source, "r+") as dst:
        dst.descriptions = bands
        before = dst.read()
    report = geodecloud.decloud_scene(source, tmp_path / "o", layout="bands", model="identity")
    assert [Path(path).stem for path in report.files] == files
    assert len({name.casefold() for name in files}) == len(bands)
    for path, pixels, band in zip(report.files, before, bands, strict=True):
        with rasterio.open(path) as one:
            np.testing.assert_array_equal(one.read(1), pixels)
            assert one.descriptions == (band,)


@pytest.mark.parametrize("letter", ["x", "ü", "雲"])
def test_long_band_names_make_short_file_names(letter: str, tmp_path: Path) -> None:
    source = write_raster(tmp_path / "s.tif", textured_dn(3, 40, 50))
    names = (letter * 300, letter * 299 + "y", "red")
    with rasterio.open(source, "r+") as dst:
        dst.descriptions = names
        before = dst.read()
    report = geodecloud.decloud_scene(source, tmp_path / "o", layout="bands", model="identity")
    assert sorted((tmp_path / "o").iterdir()) == sorted(Path(path) for path in report.files)
    for path, pixels, name in zip(report.files, before, names, strict=True):
        assert len(Path(path).name.encode()) < 255 - len(".aux.xml")
        with rasterio.open(path) as one:
            np.testing.assert_array_equal(one.read(1), pixels)
            assert one.descriptions == (name,)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--out", "cannot be written: File name too long"),
        ("--provenance", "cannot be written: File name too long"),
        ("--mask", "does not exist"),
        ("--model", "no such file exists"),
    ],
)
def test_a_name_no_file_can_have_is_told(
    option: str, said: str, scene: Path, tmp_path: Path
) -> None:
    before = set(tmp_path.iterdir())
    options = {"--out": tmp_path / "out.tif", "--model": "identity"}
    options[option] = tmp_path / ("y" * 260 + ".tif")
    done = CliRunner().invoke(main, [str(scene), *(str(a) for o in options.items() for a in o)])
    assert done.exit_code == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    done = CliRunner().invoke(main, [str(tmp_path / ("y" * 260)), "--out", str(tmp_path / "o.tif")])
    assert (done.exit_code, "does not exist" in done.stderr) == (1, True)
    assert set(tmp_path.iterdir()) == before


def test_the_longest_name_works(scene: Path, tmp_path: Path) -> None:
    for name in ("y" * 251 + ".tif", "ü" * 125 + "y.tif"):
        geodecloud.decloud_scene(scene, tmp_path / name, model="identity")
        with rasterio.open(tmp_path / name) as dst, rasterio.open(scene) as src:
            np.testing.assert_array_equal(dst.read(), src.read())
    with pytest.raises(SceneIOError, match="File name too long"):
        geodecloud.decloud_scene(scene, tmp_path / ("y" * 260), model="identity", layout="bands")


def test_folder_of_bands_that_cannot_be(product: Path, scene: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SceneIOError, match="is a file"):
        geodecloud.decloud_scene(scene, tmp_path / "file", layout="bands", model="identity")
    with pytest.raises(SceneIOError, match="does not exist"):
        geodecloud.decloud_scene(scene, tmp_path / "a" / "b", layout="bands", model="identity")
    with pytest.raises(OptionError, match="use one of stack, bands"):
        geodecloud.decloud_scene(scene, tmp_path / "c.tif", layout="files")
    band = next(product.rglob("*_B08_10m.jp2"))
    band.write_bytes(band.read_bytes()[:9000])
    with pytest.raises(SceneIOError, match="cut off"):
        geodecloud.decloud_scene(product, tmp_path / "d", layout="bands", model="identity")
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("layout", ["stack", "bands"])
def test_item_is_valid_and_true(
    product: Path, toy_model: Path, tmp_path: Path, layout: str
) -> None:
    out = tmp_path / "out" / ("clear.tif" if layout == "stack" else "clear")
    out.parent.mkdir()
    report = geodecloud.decloud_scene(
        *(product, out),
        layout=layout,
        model=toy_model,
        mask="scl",
        strict=True,
        provenance=out.parent / "codes.tif",
        cloud_map=out.parent / "map.tif",
    )
    path = Path(report.files[-1])
    item = pystac.Item.from_file(str(path))
    _validate(item)
    assert item.id == "clear"
    # place, against rasterio on the files the Item leads to
    for asset in item.assets.values():
        with rasterio.open(path.parent / asset.href) as src:
            assert item.properties["proj:code"] == f"EPSG:{src.crs.to_epsg()}"
            assert item.properties["proj:shape"] == list(src.shape)
            assert item.properties["proj:transform"] == list(src.transform)
            bands = asset.extra_fields["raster:bands"]
            assert [band["data_type"] for band in bands] == list(src.dtypes)
            if "reflectance" in asset.roles:
                np.testing.assert_allclose([band["offset"] for band in bands], src.offsets)
                np.testing.assert_allclose([band["scale"] for band in bands], src.scales)
                names = [band["name"] for band in asset.extra_fields["eo:bands"]]
                assert names == list(src.descriptions)
            corners = rasterio.warp.transform_bounds(src.crs, 4326, *src.bounds)
    np.testing.assert_allclose(shape(item.geometry).bounds, corners, atol=1e-6)
    np.testing.assert_allclose(item.bbox, corners, atol=1e-6)
    # clouds, against the provenance raster
    with rasterio.open(out.parent / "codes.tif") as src:
        codes = np.bincount(src.read(1).ravel(), minlength=5)
    valid = codes[1:].sum()
    assert codes[4] > 0
    assert item.properties["eo:cloud_cover"] == pytest.approx(100 * codes[4] / valid, abs=1e-3)
    before = item.properties["geodecloud:cloud_cover_before"]
    assert before == pytest.approx(100 * codes[2:].sum() / valid, abs=1e-3)
    assert item.datetime.isoformat() == "2023-06-25T10:46:21.024000+00:00"
    (link,) = item.get_links("derived_from")
    assert (path.parent / link.target).resolve() == product.resolve()
    assert item.properties["grid:code"] == "MGRS-33UXQ"
    assert item.properties["processing:software"] == {"geodecloud": geodecloud.__version__}
    assert set(item.assets) >= {"provenance", "cloud_map"}


def test_item_names_the_other_dates(product: Path, toy_model: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "S2_20230620.tif", tmp_path / "clear.tif"
    geodecloud.decloud_scene(product, other, model="identity", stac=False)
    geodecloud.decloud_scene(product, out, model=toy_model, mask="scl", references=[other])
    item = pystac.Item.from_file(str(out.with_suffix(".json")))
    assert [link.title for link in item.get_links("derived_from")] == [product.name, other.name]


def _validate(item: pystac.Item) -> None:
    """Against the schema of the core, which pystac brings along; those of extensions lie elsewhere."""
    content = json.loads(json.dumps(item.to_dict(include_self_link=False)))
    assert len(content["stac_extensions"]) >= 6
    content["stac_extensions"] = []
    pystac.validation.validate_dict(content)


def test_item_comes_after_its_data_or_not_at_all(product: Path, tmp_path: Path) -> None:
    band = next(product.rglob("*_B08_10m.jp2"))
    band.write_bytes(band.read_bytes()[:9000])
    with pytest.raises(SceneIOError):
        geodecloud.decloud_scene(product, tmp_path / "o.tif", model="identity", mask="none")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_item_on_the_command_line(product: Path, scene: Path, tmp_path: Path) -> None:
    def run(*args: object) -> int:
        return CliRunner().invoke(main, [str(a) for a in args]).exit_code

    identity = ["--model", "identity"]
    assert run(product, "--out", tmp_path / "a.tif", "--no-stac", *identity) == 0
    assert not (tmp_path / "a.json").exists()
    (tmp_path / "b.json").write_text("mine")
    assert run(product, "--out", tmp_path / "b.tif", *identity) == 1
    assert not (tmp_path / "b.tif").exists()
    assert run(product, "--out", tmp_path / "b.tif", "--overwrite", *identity) == 0
    assert json.loads((tmp_path / "b.json").read_text())["type"] == "Feature"
    for name, media in (("cog", pystac.MediaType.COG), ("gtiff", pystac.MediaType.GEOTIFF)):
        out = tmp_path / f"{name}.tif"
        decloud_scene(product, out, model="identity", format=FileFormat(name))
        asset = json.loads(out.with_suffix(".json").read_text())["assets"]["data"]
        assert asset["type"] == str(media)
    assert run(scene, "--out", tmp_path / "c.tif", "--stac", *identity) == 2


def test_batch_of_bands_goes_on(product: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = {"model": "identity", "layout": "bands"}
    assert geodecloud.decloud_folder(product.parent, out, **options).count("done") == 1
    stem = NAME.removesuffix(".SAFE")
    assert len(list((out / f"{stem}_decloud").glob("*.tif"))) == 4
    assert (out / f"{stem}_decloud" / f"{stem}_decloud.json").exists()
    assert geodecloud.decloud_folder(product.parent, out, **options).count("skipped") == 1
    next(out.rglob("*_B03_10m.tif")).unlink()
    assert geodecloud.decloud_folder(product.parent, out, **options).count("done") == 1


@pytest.mark.parametrize("kind", ["folder of bands", "page", "vrt"])
def test_no_input_is_written_over(kind: str, tmp_path: Path) -> None:
    """Under whatever name it is read, and whatever the files of the result are called."""
    form = {"format": "gtiff", "overwrite": True}
    if kind == "folder of bands":
        for number, band in enumerate(("B02", "B03", "B04", "B08")):
            write_raster(tmp_path / f"{band}.tif", textured_dn(1, 30, 40, seed=number))
        src, dst, options = tmp_path, tmp_path, {"layout": "bands"}
    elif kind == "page":
        dst, options = tmp_path / "pages.tif", {}
        for page in range(2):
            with rasterio.open(
                dst, "w", driver="GTiff", count=1, height=30, width=40, dtype="uint16",
                APPEND_SUBDATASET=page > 0,
            ) as file:  # fmt: skip
                file.write(textured_dn(1, 30, 40, seed=page))
        src = f"GTIFF_DIR:2:{dst}"
    else:
        dst, options = write_raster(tmp_path / "v.tif", textured_dn(4, 30, 40)), {}
        src = f"vrt://{dst}?bands=2"
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SceneIOError, match="named twice"):
        decloud_scene(src, dst, model="identity", **form, **options)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_of_bands_that_goes_meanwhile_is_told(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bands"
    monkeypatch.setattr(
        "geodecloud.raster.staging.Staging.finish", lambda self: shutil.rmtree(out, True)
    )
    with pytest.raises(SceneIOError, match=r"bands/B\d\d\.tif cannot be written|does not exist"):
        geodecloud.decloud_scene(scene, out, model="identity", layout="bands")
    assert sorted(tmp_path.iterdir()) == [scene]

"""Sentinel-2 products, held against rasterio on the single files and GDAL's own driver."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner
from conftest import BANDS, textured_dn, write_raster
from products import SIZE, band_pixels, build_from_documents, build_small, write_jp2, zip_product
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

import geodecloud
from geodecloud.cli.commands import main
from geodecloud.errors import GeodecloudWarning, OptionError, SceneError, SceneIOError
from geodecloud.scene.offset_doubts import doubt_offset
from geodecloud.source import Source, open_source

SAFE_ZIP = "s2_l1c_safe/S2A_MSIL1C_20180629T000241_N0206_R030_T56JMM_20180629T012042.SAFE.zip"
FLAT_ZIP = "s2_l1c_safe/S2B_OPER_MSI_L1C_TL_EPAE_20180617T013729_A006677_T55JGF_N02.06.zip"
L2A_60M = "s2_l2a_60m/S2A_MSIL2A_20210410T100021_N0300_R122_T33UXQ_20210410T115211.SAFE"
COGS = "s2_l2a_cog/S2A_29RKH_20200219_0_L2A"
DOCUMENTS = [
    "S2A_MSIL1C_20200717T221941_R029_T01LAC_20200717T234135.SAFE",
    "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248.SAFE",
    "S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857.SAFE",
    "S2A_MSIL2A_20230625T234621_N0509_R073_T01WCP_20230626T022157.SAFE",
    "S2B_MSIL2A_20191228T210519_N0212_R071_T01CCV_20201003T104658.SAFE",
]
NAME = "S2A_MSIL2A_20230625T104621_N0509_R051_T33UXQ_20230625T170000.SAFE"


@pytest.fixture(scope="session", params=DOCUMENTS, ids=lambda name: name[4:19])
def documented(
    request: pytest.FixtureRequest, real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A product with real documents and pixels of ours."""
    folder = tmp_path_factory.mktemp("documented")
    return build_from_documents(real_data / "s2_metadata" / request.param, folder / request.param)


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return build_small(tmp_path / "in" / NAME, offsets=dict.fromkeys(range(13), -1000))


@pytest.mark.parametrize(
    ("name", "bands", "sizes"),
    [
        (SAFE_ZIP, 13, {10: 439, 20: 219, 60: 73}),
        (FLAT_ZIP, 13, {10: 439, 20: 219, 60: 73}),
        (L2A_60M, 2, {60: 1830}),
        (COGS, 12, {10: 1098, 20: 549, 60: 183}),
    ],
)
def test_real_products_open_at_every_resolution(
    real_data: Path, name: str, bands: int, sizes: dict[int, int]
) -> None:
    """Grid and pixels against rasterio on each file; others against GDAL's warper."""
    for resolution, size in sizes.items():
        source = open_source(real_data / name, resolution)
        array = _open_partly(source) if name == L2A_60M else source.open()
        assert array.shape == (bands, size, size)
        assert array.dtype == np.uint16
        assert array.rio.nodata == 0
        values = array.values
        for file, band in zip(source.bands, values, strict=True):
            with rasterio.open(file.path) as src:
                assert array.rio.crs == src.crs
                np.testing.assert_allclose(array.rio.bounds(), src.bounds, atol=1e-3)
                if file.resolution_m == resolution:
                    assert array.rio.transform().almost_equals(src.transform, 1e-6)
                    np.testing.assert_array_equal(band, src.read(1))
                elif file.resolution_m > resolution:
                    _assert_like_gdal(src, array, band)


def _open_partly(source: Source) -> xr.DataArray:
    """The folder holds two of the bands that its document lists, and says so."""
    with pytest.warns(
        GeodecloudWarning, match=r"list B01 at 60 m, B03 at 60 m.*download them again"
    ):
        return source.open()


def _assert_like_gdal(src: rasterio.DatasetReader, array, band: np.ndarray) -> None:
    place = {"crs": src.crs, "transform": array.rio.transform()}
    shape = {"height": band.shape[0], "width": band.shape[1]}
    with WarpedVRT(src, resampling=Resampling.bilinear, **place, **shape) as vrt:
        expected = vrt.read(1)[8:-8, 8:-8].astype(int)
    ours = band[8:-8, 8:-8]
    # GDAL lets zeros into its sums; ours leaves such pixels out
    valid = ours > 0
    assert valid.mean() > 0.6
    assert np.abs(ours[valid] - expected[valid]).max() <= 1


def test_real_products_say_what_they_are(real_data: Path) -> None:
    safe = open_source(real_data / SAFE_ZIP)
    array = safe.open()
    assert array.attrs["tile_id"] == "56JMM"
    assert array.attrs["processing_baseline"] == "02.06"
    assert str(array.time.values) == "2018-06-29T00:02:41.461000000"
    assert float(array.attrs["sun_zenith_deg"]) == pytest.approx(59.5161129280706)
    assert array.wavelength_nm.values[1] == 492.4
    assert safe.metadata.scales[0] == pytest.approx(1e-4)
    assert set(safe.metadata.offsets) == {0.0}
    flat = open_source(real_data / FLAT_ZIP)
    assert "baseline 02.06" in flat.metadata.radiometry
    cogs = open_source(real_data / COGS / "S2A_29RKH_20200219_0_L2A.json")
    assert "raster:bands offset 0" in cogs.metadata.radiometry
    assert float(cogs.metadata.tags[""]["SUN_ZENITH_DEG"]) == pytest.approx(90 - 48.293248430895)
    l2a = _open_partly(open_source(real_data / L2A_60M / "MTD_MSIL2A.xml"))
    with rasterio.open(next((real_data / L2A_60M).glob("*_SCL_60m.jp2"))) as src:
        np.testing.assert_array_equal(l2a.scl.values, src.read(1))


def test_gdals_own_driver_finds_the_same(documented: Path) -> None:
    """Bands, order, place and pixels. It takes the size from the document, ours is a corner."""
    source = open_source(documented)
    array = source.open().compute()
    names = list(array.attrs["long_name"])
    if "N0212" in documented.name:
        pytest.skip("GDAL looks for the GeoTIFF files this document speaks of")
    with rasterio.open(next(documented.glob("MTD_MSIL*.xml"))) as container:
        finest = next(name for name in container.subdatasets if ":10m:" in name)
    with rasterio.open(finest) as gdal:
        assert gdal.crs == array.rio.crs
        assert gdal.transform == array.rio.transform()
        theirs = gdal.read(window=((0, SIZE), (0, SIZE)))
        for description, pixels in zip(gdal.descriptions, theirs, strict=True):
            if found := re.match(r"B(\d+A?)", description):
                band = names.index(f"B{found[1].zfill(2)}")
                np.testing.assert_array_equal(array.values[band], pixels)


def test_reflectance_is_right_to_a_millionth(documented: Path) -> None:
    """Against the document, read anew by ElementTree and ESA's formula."""
    source = open_source(documented)
    root = ElementTree.parse(next(documented.glob("MTD_MSIL*.xml"))).getroot()
    quantification = next(
        float(e.text)
        for e in root.iter()
        if e.tag in ("QUANTIFICATION_VALUE", "BOA_QUANTIFICATION_VALUE")
    )
    ids = {
        e.get("physicalBand"): e.get("bandId")
        for e in root.iter()
        if e.tag == "Spectral_Information"
    }
    offsets = {
        e.get("band_id"): float(e.text)
        for e in root.iter()
        if "ADD_OFFSET" in e.tag and e.text.strip()
    }
    assert bool(offsets) == ("N0509" in documented.name)
    for resolution in (10, 20, 60):
        array = geodecloud.open_scene(documented, resolution=resolution)
        dn = array.values.astype(np.float64)
        for index, name in enumerate(array.attrs["long_name"]):
            number = ids[f"B{name[1:].lstrip('0')}"]
            expected = (dn[index] + offsets.get(number, 0)) / quantification
            ours = dn[index] * array.attrs["scales"][index] + array.attrs["offsets"][index]
            np.testing.assert_allclose(ours, expected, atol=1e-6)
            native = [
                f for f in source.product.bands if (f.band, f.resolution_m) == (name, resolution)
            ]
            if native:
                np.testing.assert_array_equal(dn[index], band_pixels(name, resolution))
    assert f"{quantification:g}" in source.metadata.radiometry


def test_dn_outside_the_mask_are_bit_identical(
    documented: Path, toy_model: Path, tmp_path: Path
) -> None:
    out, codes = tmp_path / "out.tif", tmp_path / "codes.tif"
    array = geodecloud.open_scene(documented)
    cloud = np.zeros((1, SIZE, SIZE), np.uint8)
    cloud[0, 30:90, 40:120] = 1
    place = {"crs": array.rio.crs, "transform": array.rio.transform()}
    mask = write_raster(tmp_path / "mask.tif", cloud, **place)
    with pytest.warns(GeodecloudWarning, match="stay as they are"):
        geodecloud.decloud_scene(documented, out, model=toy_model, mask=mask, provenance=codes)
    with rasterio.open(out) as dst, rasterio.open(codes) as src:
        after, code = dst.read(), src.read(1)
        assert dst.nodata == 0
        assert dst.tags()["GEODECLOUD_SOURCE"] == documented.name.removesuffix(".SAFE")
        wavelengths = [float(dst.tags(i)["wavelength_nm"]) for i in dst.indexes]
        assert dst.offsets == tuple(array.attrs["offsets"])
        names = dst.descriptions
    assert wavelengths == sorted(wavelengths)
    before = array.values
    changed = np.isin(code, [2, 3])
    assert changed.sum() > 4000
    assert not changed[cloud[0] == 0].any()
    restored = [names.index(band) for band in BANDS]
    np.testing.assert_array_equal(before[:, ~changed], after[:, ~changed])
    others = [i for i in range(len(names)) if i not in restored]
    np.testing.assert_array_equal(before[others], after[others])
    assert (before != after)[restored].any()
    for index in restored:
        np.testing.assert_array_equal(before[index], band_pixels(names[index], 10))


def test_offsets_are_matched_by_the_documents_band_numbers(tmp_path: Path) -> None:
    """In ESA's list, 7 is B08 and 8 is B8A; a number the document lacks is not made up."""
    offsets = {number: -1000 - number for number in range(12, -1, -1)}
    array = geodecloud.open_scene(build_small(tmp_path / NAME, offsets=offsets))
    expected = [(-1000 - number) / 10000 for number in (1, 2, 3, 7)]
    np.testing.assert_allclose(array.attrs["offsets"], expected)
    assert "BOA_ADD_OFFSET -1012 to -1000 in MTD_MSIL2A.xml" in array.attrs["radiometry"]
    partly = build_small(tmp_path / "other" / NAME, offsets={1: -1000, 2: -1000, 3: -1000})
    with pytest.raises(SceneError, match="nothing for B08"):
        geodecloud.open_scene(partly)


def test_level_1c_with_an_offset(real_data: Path, tmp_path: Path) -> None:
    """Baseline 04.00: the list stands elsewhere and under another name than in level 2A."""
    name = "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248.SAFE"
    source = build_from_documents(real_data / "s2_metadata" / name, tmp_path / name, size=60)
    document = source / "MTD_MSIL1C.xml"
    entries = "".join(
        f'<RADIO_ADD_OFFSET band_id="{i}">{-1000 - i}</RADIO_ADD_OFFSET>' for i in range(13)
    )
    text = document.read_text().replace(
        "<Reflectance_Conversion>",
        f"<Radiometric_Offset_List>{entries}</Radiometric_Offset_List><Reflectance_Conversion>",
    )
    document.write_text(text.replace("03.01", "04.00"))
    array = geodecloud.open_scene(source)
    np.testing.assert_allclose(array.attrs["offsets"], [(-1000 - i) / 10000 for i in range(13)])
    assert "RADIO_ADD_OFFSET -1012 to -1000 in MTD_MSIL1C.xml" in array.attrs["radiometry"]
    assert array.attrs["processing_baseline"] == "04.00"


@pytest.mark.parametrize(("asked", "expected"), [("none", 0), (-1000.0, -0.1), ("auto", -0.1)])
def test_offset_can_be_said(product: Path, asked: str | float, expected: float) -> None:
    array = geodecloud.open_scene(product, s2_offset=asked)
    assert array.attrs["offsets"] == pytest.approx((expected,) * 4)


def test_low_dn_do_not_wrap(product: Path, toy_model: Path, tmp_path: Path) -> None:
    """DN below the offset are negative reflectance, not 6.4."""
    source = open_source(product)
    low = np.where(band_pixels("B02", 10) > 0, 300, 0).astype(np.uint16)
    for file in source.bands:
        write_jp2(Path(file.path), low, "EPSG:32633", 600000, 5500020, 10)
    with pytest.warns(GeodecloudWarning, match="applied it already"):
        geodecloud.decloud_scene(product, tmp_path / "o.tif", model=toy_model)
    array = open_source(product).open()
    valid = array.values[array.values > 0].astype(float)
    np.testing.assert_allclose(valid * array.attrs["scales"][0] + array.attrs["offsets"][0], -0.07)


@pytest.mark.parametrize(
    ("offset", "shift", "words"),
    [
        (-0.1, 0, "applied it already"),
        (0.0, 1000, "--s2-offset -1000"),
        (0.0, 0, None),
        (-0.1, 1000, None),
    ],
)
def test_histogram_that_contradicts_is_told(offset: float, shift: int, words: str | None) -> None:
    """Ground as dark as water and forest are: DN from 200 to 3000 without an offset."""
    dn = (textured_dn(4, 90, 90) // 3 + shift).astype(np.uint16)
    ways = ("--s2-offset none", "--s2-offset -1000")
    doubts = doubt_offset(dn, (1e-4,) * 4, (offset,) * 4, BANDS, 0, ways)
    assert (words is None) == (doubts == [])
    assert words is None or words in doubts[0]


def test_zip_is_the_same_as_the_folder(product: Path, tmp_path: Path) -> None:
    archive = zip_product(product, tmp_path / f"{NAME}.zip")
    folder, zipped = open_source(product), open_source(archive)
    np.testing.assert_array_equal(folder.open().values, zipped.open().values)
    np.testing.assert_array_equal(folder.open().scl.values, zipped.open().scl.values)
    assert folder.metadata == zipped.metadata
    assert folder.facts.identity == zipped.facts.identity
    assert zipped.files == [str(archive)]


@pytest.mark.parametrize("inside", ["MTD_MSIL2A.xml", "GRANULE/L2A_T33UXQ_A000001_20230625T104621"])
def test_a_path_into_the_product_is_the_product(product: Path, inside: str) -> None:
    np.testing.assert_array_equal(
        geodecloud.open_scene(product / inside).values, geodecloud.open_scene(product).values
    )


def test_loose_bands_and_flat_layouts(tmp_path: Path) -> None:
    for name in ("B02.jp2", "B03.jp2", "B04.jp2", "B08.jp2"):
        pixels = band_pixels(name[:3], 10)
        write_jp2(tmp_path / "loose" / name, pixels, "EPSG:32633", 600000, 5500020, 10)
    write_jp2(tmp_path / "loose/qi/MSK_DETFOO_B02.jp2", pixels, "EPSG:32633", 600000, 5500020, 10)
    source = open_source(tmp_path / "loose")
    assert [file.band for file in source.bands] == list(BANDS)
    assert "no document says" in source.metadata.radiometry
    # folders as sentinel-s2-l2a has them, and a document with the baseline alone
    flat = tmp_path / "0"
    for name in BANDS:
        write_jp2(
            flat / f"R10m/{name}.jp2", band_pixels(name, 10), "EPSG:32633", 600000, 5500020, 10
        )
    write_jp2(flat / "R20m/B05.jp2", band_pixels("B05", 20), "EPSG:32633", 600000, 5500020, 20)
    (flat / "metadata.xml").write_text(
        "<Level-2A_Tile_ID><TILE_ID>S2A_OPER_MSI_L2A_TL_2APS_20230626T022157_A041826_T33UXQ_N05.09"
        "</TILE_ID><SENSING_TIME>2023-06-25T10:46:24.0Z</SENSING_TIME></Level-2A_Tile_ID>"
    )
    metadata = open_source(flat).metadata
    assert metadata.descriptions == ("B02", "B03", "B04", "B05", "B08")
    assert metadata.offsets == pytest.approx((-0.1,) * 5)
    assert "baseline 05.09" in metadata.radiometry


@pytest.mark.parametrize(("applied", "offset"), [(True, 0.0), (False, -0.1), (None, -0.1)])
def test_stac_item_of_a_provider_decides(
    tmp_path: Path, applied: bool | None, offset: float
) -> None:
    """earth-search lists an offset of -0.1 whether its files still need it or not."""
    for name in BANDS:
        path = tmp_path / f"{name}.tif"
        with rasterio.open(
            path,
            "w",
            width=60,
            height=60,
            count=1,
            dtype="uint16",
            crs="EPSG:32633",
            transform=rasterio.Affine(10, 0, 600000, 0, -10, 5500020),
        ) as dst:
            dst.write(textured_dn(1, 60, 60))
    properties = {"datetime": "2023-06-25T10:46:21Z", "s2:processing_baseline": "05.09"}
    if applied is not None:
        properties["earthsearch:boa_offset_applied"] = applied
    bands = [{"scale": 0.0001, "offset": -0.1}]
    assets = {name: {"href": f"s3://bucket/{name}.tif", "raster:bands": bands} for name in BANDS}
    item = {"id": "S2A_33UXQ_20230625_0_L2A", "properties": properties, "assets": assets}
    (tmp_path / "item.json").write_text(json.dumps(item))
    assert geodecloud.open_scene(tmp_path).attrs["offsets"] == pytest.approx((offset,) * 4)


STAC_ITEMS = {
    "1.0": ({"raster:bands": [{"scale": 0.0001, "offset": -0.1}]}, "05.09", -0.1),
    "1.1, of the asset": ({"raster:scale": 0.0001, "raster:offset": -0.1}, "05.11", -0.1),
    "1.1, of its band": ({"bands": [{"raster:scale": 0.0001, "raster:offset": -0.1}]}, None, -0.1),
    "no offset": ({"raster:bands": [{"scale": 0.0001}]}, "05.09", 0.0),
    "no bands": ({"raster:bands": []}, "05.09", -0.1),  # then the baseline decides
    "null": ({"raster:bands": None}, "05.09", -0.1),
    "a number": ({}, 5.09, -0.1),
    "a number of old": ({}, 3.01, 0.0),
}


@pytest.mark.parametrize("kind", STAC_ITEMS)
def test_items_of_all_kinds_are_understood(kind: str, tmp_path: Path) -> None:
    """Also where another JSON file comes first."""
    said, baseline, offset = STAC_ITEMS[kind]
    for band in BANDS:
        write_raster(tmp_path / f"{band}.tif", textured_dn(1, 30, 40))
    (tmp_path / "download.json").write_text("{}")
    (tmp_path / "a broken one.json").write_text("{")
    key = "processing:version" if "1.1" in kind else "s2:processing_baseline"
    properties = {"datetime": "2023-06-25T10:46:21Z", key: baseline}
    assets = {name: {"href": f"./{name}.tif", **said} for name in BANDS}
    item = {"type": "Feature", "id": "x", "properties": properties, "assets": assets}
    (tmp_path / "item.json").write_text(json.dumps(item))
    opened = geodecloud.open_scene(tmp_path)
    assert opened.attrs["offsets"] == pytest.approx((offset,) * 4)


def test_a_damaged_item_is_told(tmp_path: Path) -> None:
    for band in BANDS:
        write_raster(tmp_path / f"{band}.tif", textured_dn(1, 30, 40))
    assets = {name: {"href": f"{name}.tif", "raster:bands": 7} for name in BANDS}
    (tmp_path / "item.json").write_text(json.dumps({"properties": {}, "assets": assets}))
    with pytest.raises(SceneError, match=r"item.json is a damaged STAC Item \(TypeError"):
        geodecloud.open_scene(tmp_path)


def test_bands_that_documents_list_and_are_not_there_are_told(
    documented: Path, tmp_path: Path
) -> None:
    """An unfinished download: one band is made from its coarser copy, another is left out."""
    target = Path(shutil.copytree(documented, tmp_path / documented.name))
    gone = [path for path in target.rglob("*.jp2") if re.search(r"_B11(_\d0m)?.jp2$", path.name)]
    for path in gone:
        path.unlink()
    fine = next(target.rglob("*_B04_10m.jp2"), None)
    if fine is not None:
        fine.unlink()
    with pytest.warns(GeodecloudWarning, match="are not here") as warned:
        geodecloud.decloud_scene(target, tmp_path / "out.tif", model="identity")
    text = next(str(w.message) for w in warned if "are not here" in str(w.message))
    assert "B11 at 20 m" in text
    assert ("B04 at 10 m" in text) == (fine is not None)
    assert "B02" not in text


def test_old_product_of_two_tiles_names_them(tmp_path: Path) -> None:
    """Names as before December 2016."""
    root = (
        tmp_path
        / "S2A_OPER_PRD_MSIL1C_PDMC_20160101T000000_R022_V20160101T000000_20160101T000000.SAFE"
    )
    for tile, epsg in [("T32TQM", 32632), ("T33TUG", 32633)]:
        stem = f"S2A_OPER_MSI_L1C_TL_EPA__20160101T000000_A002000_{tile}"
        for band in BANDS:
            path = root / "GRANULE" / f"{stem}_N02.00" / "IMG_DATA" / f"{stem}_{band}.jp2"
            write_jp2(path, band_pixels(band, 10, 60), f"EPSG:{epsg}", 600000, 5500020, 10)
    (root / "S2A_OPER_MTD_SAFL1C_PDMC_20160101T000000.xml").write_text(
        "<Level-1C_User_Product><PROCESSING_BASELINE>02.00</PROCESSING_BASELINE>"
        '<QUANTIFICATION_VALUE unit="none">1000</QUANTIFICATION_VALUE></Level-1C_User_Product>'
    )
    with pytest.raises(SceneError, match="holds 2 tiles") as caught:
        geodecloud.open_scene(root)
    paths = str(caught.value).split("\n  ")[1:]
    arrays = [geodecloud.open_scene(path) for path in paths]
    assert [array.rio.crs.to_epsg() for array in arrays] == [32632, 32633]
    assert [array.attrs["tile_id"] for array in arrays] == ["32TQM", "33TUG"]
    assert arrays[0].attrs["scales"] == pytest.approx((1e-3,) * 4)
    archive = zip_product(root, tmp_path / "two.zip")
    with pytest.raises(SceneError, match="holds 2 tiles") as caught:
        geodecloud.open_scene(archive)
    inside = str(caught.value).split("\n  ")[2]
    assert geodecloud.open_scene(inside).rio.crs.to_epsg() == 32633


def test_selecting_reads_what_is_selected(product: Path) -> None:
    """dask hands selections down to the file; each must come out as from the whole."""
    array = geodecloud.open_scene(product, side=64)
    whole = array.values
    np.testing.assert_array_equal(array[2, 5:60, 7].values, whole[2, 5:60, 7])
    np.testing.assert_array_equal(
        array[[3, 0], ::3, [5, 1]].values, whole[[3, 0], ::3][:, :, [5, 1]]
    )
    np.testing.assert_array_equal(array.sel(band=[2, 1])[:, 100:].values, whole[[1, 0], 100:])
    again = geodecloud.open_scene(product, side=64)
    assert again.data.name == array.data.name


# what goes wrong


def test_empty_band_is_told(product: Path) -> None:
    band = next(product.rglob("*_B04_10m.jp2"))
    band.write_bytes(b"")
    with pytest.raises(SceneIOError, match=r"_B04_10m\.jp2 is empty"):
        geodecloud.open_scene(product)


def test_bands_that_do_not_fit_are_told(product: Path) -> None:
    band = next(product.rglob("*_B04_10m.jp2"))
    write_jp2(band, band_pixels("B04", 20), "EPSG:32633", 600000, 5500020, 20)
    with pytest.raises(SceneError, match="different sizes at 10 m"):
        geodecloud.open_scene(product)
    write_jp2(band, band_pixels("B04", 10), "EPSG:32632", 600000, 5500020, 10)
    with pytest.raises(SceneError, match="different places"):
        geodecloud.open_scene(product)


def test_cut_off_band_is_told_and_leaves_nothing(product: Path, tmp_path: Path) -> None:
    band = next(product.rglob("*_B04_10m.jp2"))
    whole = band.read_bytes()
    for share in (0.9, 0.5, 0.02):
        band.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(SceneIOError, match=r"B04_10m\.jp2"):
            geodecloud.decloud_scene(product, tmp_path / "o.tif", model="identity", mask="none")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    # in xarray too, where GDAL's own threads would give zeros for a whole read
    band.write_bytes(whole[: int(len(whole) * 0.9)])
    with pytest.raises(SceneIOError, match=r"B04_10m\.jp2"):
        geodecloud.open_scene(product).load()


def test_files_without_a_place_lie_where_the_tile_does(documented: Path, tmp_path: Path) -> None:
    expected = geodecloud.open_scene(documented)
    bare = tmp_path / documented.name
    shutil.copytree(documented, bare)
    for path in bare.rglob("*.jp2"):
        with rasterio.open(path) as src:
            dn = src.read(1)
        path.unlink()
        path.with_suffix(".jp2.aux.xml").unlink(missing_ok=True)
        write_jp2(path, dn)
    array = geodecloud.open_scene(bare)
    assert array.rio.crs == expected.rio.crs
    assert array.rio.transform() == expected.rio.transform()
    np.testing.assert_array_equal(array.values, expected.values)


def test_lost_document_is_not_guessed(product: Path) -> None:
    (product / "MTD_MSIL2A.xml").unlink()
    with pytest.raises(SceneError, match="has lost its product metadata"):
        geodecloud.open_scene(product)
    said = geodecloud.open_scene(product, s2_offset=-1000)
    assert said.attrs["offsets"] == pytest.approx((-0.1,) * 4)
    words = ["info", str(product), "--json", "--resolution", "10"]
    assert CliRunner().invoke(main, words).exit_code == 1
    found = CliRunner().invoke(main, [*words, "--s2-offset", "-1000"])
    assert (found.exit_code, "of 10 x 10 m" in json.loads(found.stdout)["grid"]) == (0, True)


def test_xml_bomb_is_refused(product: Path) -> None:
    bomb = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10 if i else "ha"}">' for i in range(10))
    document = product / "MTD_MSIL2A.xml"
    document.write_text(document.read_text().replace("<n1:L", f"<!DOCTYPE x [{bomb}]><n1:L", 1))
    with pytest.raises(SceneError, match="defines entities"):
        geodecloud.open_scene(product)
    document.write_text("<n1:Level-2A")
    with pytest.raises(SceneError, match="cannot be read as XML"):
        geodecloud.open_scene(product)


@pytest.mark.parametrize("name", ["../../evil.jp2", "/etc/B02.jp2", "..\\B02.jp2"])
def test_names_that_leave_the_archive_are_refused(product: Path, tmp_path: Path, name: str) -> None:
    archive = zip_product(product, tmp_path / "x.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(name, b"1")
    with pytest.raises(SceneError, match="points out of the archive"):
        geodecloud.open_scene(archive)


def test_damaged_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.SAFE.zip").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(SceneIOError, match="cannot be read as a ZIP archive"):
        geodecloud.open_scene(tmp_path / "x.SAFE.zip")


def test_damaged_document_in_an_archive_is_told(product: Path, tmp_path: Path) -> None:
    archive = zip_product(product, tmp_path / "x.zip")
    with zipfile.ZipFile(archive) as file:
        start = file.getinfo(f"{product.name}/MTD_MSIL2A.xml").header_offset
    content = bytearray(archive.read_bytes())
    content[start + 140 : start + 180] = bytes(40)
    archive.write_bytes(content)
    with pytest.raises(SceneIOError, match=r"MTD_MSIL2A\.xml cannot be read"):
        geodecloud.open_scene(archive)


def test_loop_of_links_ends(product: Path) -> None:
    os.symlink(product, product / "GRANULE" / "again", target_is_directory=True)
    assert geodecloud.open_scene(product).shape == (4, SIZE, SIZE)


def test_names_in_any_script(product: Path, tmp_path: Path) -> None:
    folder = tmp_path / "облака 雲 café"
    folder.mkdir()
    moved = Path(shutil.move(product, folder / f"сцена_{NAME}"))
    archive = zip_product(moved, folder / "архив.zip")
    for path in (moved, archive):
        assert geodecloud.open_scene(path).values.any()


def test_two_products_in_one_folder_are_told(tmp_path: Path) -> None:
    for prefix in ("T33UXQ_20230625", "T33UXQ_20230630"):
        for band in BANDS:
            write_jp2(
                tmp_path / f"{prefix}_{band}.jp2",
                band_pixels(band, 10, 60),
                "EPSG:32633",
                6e5,
                5.5e6,
                10,
            )
    with pytest.raises(SceneError, match="two files of band B02"):
        geodecloud.open_scene(tmp_path)


def test_options_for_products_are_not_for_files(scene: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"resolution=.* is for Sentinel-2 products"):
        geodecloud.open_scene(scene, resolution=20)
    with pytest.raises(OptionError, match=r"s2_offset=.* is for Sentinel-2 products"):
        geodecloud.decloud_scene(scene, tmp_path / "o.tif", s2_offset="none")
    with pytest.raises(SceneError, match=r"geodecloud\.decloud_folder"):
        geodecloud.open_scene(tmp_path)


def test_resolution_that_is_not_there(product: Path) -> None:
    with pytest.raises(SceneError, match="holds no band at 60 m, only at 10 m"):
        geodecloud.open_scene(product, resolution=60)
    with pytest.raises(OptionError, match="10, 20 or 60"):
        geodecloud.open_scene(product, resolution=30)

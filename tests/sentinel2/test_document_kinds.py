"""Documents under other names than ESA's. The oracle is the same product with its documents under ESA's names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import BANDS, textured_dn, write_raster
from products import build_small, zip_product

import geodecloud
from geodecloud.errors import SceneError
from geodecloud.sentinel2.document_kinds import root_of
from geodecloud.source import open_source

NAME = "S2A_MSIL2A_20240128T101301_R022_T33UXQ_20240128T133429"
OFFSETS = "".join(f'<BOA_ADD_OFFSET band_id="{i}">{-1000 - i}</BOA_ADD_OFFSET>' for i in range(13))
PRODUCT = f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- as it comes -->
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
<PRODUCT_START_TIME>2024-01-28T10:13:01.024Z</PRODUCT_START_TIME>
<PROCESSING_BASELINE>05.10</PROCESSING_BASELINE><SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME>
<BOA_QUANTIFICATION_VALUE unit="none">20000</BOA_QUANTIFICATION_VALUE>
<BOA_ADD_OFFSET_VALUES_LIST>{OFFSETS}</BOA_ADD_OFFSET_VALUES_LIST></n1:Level-2A_User_Product>"""
TILE = """<?xml version="1.0"?>
<n1:Level-2A_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd">
<TILE_ID>S2A_OPER_MSI_L2A_TL_2APS_20240128T133429_A044923_T33UXQ_N05.10</TILE_ID>
<SENSING_TIME>2024-01-28T10:15:31.0Z</SENSING_TIME>
<Mean_Sun_Angle><ZENITH_ANGLE>66.5</ZENITH_ANGLE><AZIMUTH_ANGLE>170.5</AZIMUTH_ANGLE></Mean_Sun_Angle>
</n1:Level-2A_Tile_ID>"""
OTHERS = {
    f"{NAME}_datastrip-metadata.xml": '<n1:Level-2A_DataStrip_ID xmlns:n1="x"/>',
    f"{NAME}_inspire-metadata.xml": '<gmd:MD_Metadata xmlns:gmd="x"/>',
    f"{NAME}_B02.tif.aux.xml": "<PAMDataset/>",
    "notes.xml": "no XML at all",
}


def write_folder(folder: Path, product: str | bytes, tile: str, name: str, tile_name: str) -> Path:
    """Bands as the Planetary Computer names them, with documents."""
    folder.mkdir()
    for i, band in enumerate(BANDS):
        write_raster(
            folder / f"{NAME}_{band}.tif", textured_dn(1, 40, 50, seed=i) + np.uint16(1000)
        )
    for other, text in OTHERS.items():
        (folder / other).write_text(text)
    (folder / name).write_bytes(product if isinstance(product, bytes) else product.encode())
    (folder / tile_name).write_text(tile)
    return folder


FORMS = {
    "as it is": PRODUCT,
    "another prefix": PRODUCT.replace("n1:", "psd:").replace(":n1=", ":psd="),
    "no prefix": PRODUCT.replace("n1:", "").replace(":n1=", "="),
    "UTF-16": PRODUCT.replace("UTF-8", "UTF-16").encode("utf-16"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "tile_name"),
    [
        (f"{NAME}_product-metadata.xml", f"{NAME}_granule-metadata.xml"),
        ("product.XML", "tile.xml"),
        ("metadata.xml", "a.xml"),
        ("a.xml", "metadata.xml"),
    ],
)
def test_documents_are_known_by_their_root(
    form: str, name: str, tile_name: str, tmp_path: Path
) -> None:
    other = write_folder(tmp_path / "other", FORMS[form], TILE, name, tile_name)
    esa = write_folder(tmp_path / "esa", PRODUCT, TILE, "MTD_MSIL2A.xml", "MTD_TL.xml")
    found, expected = geodecloud.open_scene(other), geodecloud.open_scene(esa)
    assert found.attrs["offsets"] == expected.attrs["offsets"]
    # the oracle without our code: the numbers in the document, by the number of the band in ESA's order
    assert found.attrs["offsets"] == pytest.approx([(-1000 - i) / 20000 for i in (1, 2, 3, 7)])
    assert found.attrs["scales"] == pytest.approx([1 / 20000] * 4)
    assert found.attrs["sun_zenith_deg"] == "66.5"
    assert str(found.time.values) == str(expected.time.values)
    assert name in found.attrs["radiometry"]
    assert open_source(other / name).path == str(other)
    archive = zip_product(other, tmp_path / "other.zip")
    assert geodecloud.open_scene(archive).attrs["offsets"] == expected.attrs["offsets"]


def test_two_documents_that_differ_are_told(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "two", PRODUCT, TILE, "a.xml", "tile.xml")
    (folder / "b.xml").write_text(PRODUCT)
    assert open_source(folder).metadata.offsets[0] == pytest.approx(-1001 / 20000)
    (folder / "b.xml").write_text(PRODUCT.replace("-1001", "0"))
    with pytest.raises(SceneError, match=r"several documents of one kind, a\.xml and b\.xml"):
        open_source(folder).metadata  # noqa: B018


@pytest.mark.parametrize("level", ["2F", "2H"])
def test_sen2like_products_are_read(level: str, tmp_path: Path) -> None:
    """In the form of sen2like's own templates: as ESA's, under the names of its levels."""
    name = f"S2A_MSIL{level}_20230625T104621_N9999_R051_T33UXQ_20230625T170000.SAFE"
    root = tmp_path / name
    data = root / f"GRANULE/L{level}_T33UXQ_A000001_20230625T104621_S2A_R051"
    (data / "IMG_DATA").mkdir(parents=True)
    for i, band in enumerate(BANDS):
        dn = textured_dn(1, 40, 50, seed=i)
        write_raster(
            data / f"IMG_DATA/L{level}_T33UXQ_20230625T104621_S2A_R051_{band}_10m.TIF", dn, nodata=0
        )
    document = PRODUCT.replace("Level-2A", f"Level-{level}").replace("05.10", "99.99")
    (root / f"MTD_MSIL{level}.xml").write_text(document)
    (data / f"MTD_TL_L{level}.xml").write_text(TILE.replace("Level-2A", f"Level-{level}"))
    scene = geodecloud.open_scene(root)
    assert scene.attrs["offsets"] == pytest.approx([(-1000 - i) / 20000 for i in (1, 2, 3, 7)])
    assert scene.attrs["processing_level"] == f"L{level}"
    assert scene.attrs["sun_zenith_deg"] == "66.5"
    np.testing.assert_array_equal(scene[1], textured_dn(1, 40, 50, seed=1)[0])
    geodecloud.decloud_scene(root, tmp_path / "out.tif", model="identity")
    with rasterio.open(tmp_path / "out.tif") as dst:
        assert dst.offsets == pytest.approx([(-1000 - i) / 20000 for i in (1, 2, 3, 7)])
    (root / f"MTD_MSIL{level}.xml").write_text("<x/>")
    with pytest.raises(
        SceneError, match=rf"MTD_MSIL{level}\.xml is no product metadata, it starts with <x>"
    ):
        geodecloud.open_scene(root)
    (root / f"MTD_MSIL{level}.xml").write_text(document.replace("Sentinel-2A", "LANDSAT_8"))
    with pytest.raises(SceneError, match="says it is of LANDSAT_8"):
        geodecloud.open_scene(root)


def test_files_that_are_no_document_are_named(tmp_path: Path) -> None:
    product = build_small(
        tmp_path / "S2A_MSIL2A_20230625T104621_N0509_R051_T33UXQ_20230625T170000.SAFE", size=36
    )
    (product / "MTD_MSIL2A.xml").rename(product / "INSPIRE.xml")
    assert open_source(product).metadata.offsets == (0,) * 4  # by its root
    (product / "INSPIRE.xml").write_text("<MD_Metadata/>")
    with pytest.raises(SceneError, match=r"lost its product metadata .*INSPIRE\.xml is none"):
        geodecloud.open_scene(product)
    (product / "product_metadata.xml").write_text("<n1:Level-2A_User_Pro")
    with pytest.raises(SceneError, match=r"product_metadata\.xml cannot be read as XML"):
        geodecloud.open_scene(product)


def test_an_attack_is_no_document() -> None:
    assert root_of(b"<a:b xmlns:a='x'><unclosed>") == "b"
    assert root_of(b"<!DOCTYPE x [<!ENTITY a 'b'>]><Level-2A_User_Product>&a;") is None
    assert root_of(b"") is None

"""Coordinate epoch, category names and attribute tables. The oracle is GDAL's own description of both files."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from conftest import textured_dn, write_raster

import geodecloud
from geodecloud.errors import SceneIOError
from geodecloud.options import FileFormat
from geodecloud.raster.reader import read_metadata
from geodecloud.raster.writer import write_scene

CATEGORIES = """<CategoryNames><Category>ground &amp; ü</Category><Category></Category>
<Category> cloud </Category></CategoryNames>"""
TABLE = """<GDALRasterAttributeTable Row0Min="0" BinSize="2" tableType="{kind}">
<FieldDefn index="0"><Name>Value</Name><Type>0</Type><Usage>5</Usage></FieldDefn>
<FieldDefn index="1"><Name>Height</Name><Type>1</Type><Usage>0</Usage></FieldDefn>
<FieldDefn index="2"><Name>Class</Name><Type>2</Type><Usage>2</Usage></FieldDefn>
<Row index="0"><F>1</F><F>0.5</F><F>cl&lt;oud</F></Row>
<Row index="1"><F>2</F><F>1.5</F><F>  </F></Row></GDALRasterAttributeTable>"""
PLACES = {
    "UTM": {"crs": "EPSG:32719"},
    "degrees": {"crs": "EPSG:9000"},  # ITRF2014
    "no GeoTIFF key": {
        "crs": "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +R=6371229 +no_defs"
    },
}


def described(path: Path) -> dict[str, object]:
    """What GDAL says of a raster: its epoch, and classes by band."""
    vrt = path.with_name(f"{path.name}.described.vrt")
    rasterio.shutil.copy(path, vrt, driver="VRT")
    root = ElementTree.parse(vrt).getroot()
    vrt.unlink()
    said: dict[str, object] = {
        "epoch": re.findall('coordinateEpoch="(.*?)"', ElementTree.tostring(root).decode())
    }
    for band in root.findall("VRTRasterBand"):
        for tag in ("CategoryNames", "GDALRasterAttributeTable"):
            for element in band.findall(tag):
                parts = [
                    (e.tag, e.attrib, (e.text or "") if not len(e) else "") for e in element.iter()
                ]
                said[f"{tag} {band.get('band')}"] = parts
    return said


def make_scene(
    path: Path, place: str = "UTM", epoch: str | None = "2021.3", kind: str = "thematic"
) -> Path:
    """Three bands, classes of two of them, written by GDAL from a VRT."""
    plain = write_raster(path.with_name("plain.tif"), textured_dn(3, 60, 50), **PLACES[place])
    vrt = path.with_suffix(".vrt")
    rasterio.shutil.copy(plain, vrt, driver="VRT")
    text = vrt.read_text()
    if epoch:
        text = text.replace("<SRS ", f'<SRS coordinateEpoch="{epoch}" ', 1)
    for band, xml in ((2, CATEGORIES), (2, TABLE.format(kind=kind)), (3, CATEGORIES)):
        text = re.sub(
            rf'(<VRTRasterBand [^>]*band="{band}"[^>]*>)', lambda m, x=xml: m[1] + x, text
        )
    vrt.write_text(text)
    rasterio.shutil.copy(vrt, path, driver="GTiff")
    return path


@pytest.mark.parametrize("format", ["cog", "gtiff"])
@pytest.mark.parametrize("place", PLACES)
def test_all_is_kept(place: str, format: str, tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene.tif", place)
    expected = described(scene)
    assert expected["epoch"] == ["2021.3"]
    assert len(expected) == 4
    with rasterio.open(scene, "r+") as dst:
        dst.update_tags(2, wavelength="490")
        dst.update_tags(ns="SENSOR", GAIN="1")  # has to go beside the file, too
    out = tmp_path / "out.tif"
    for name in ("out.tif", "again.tif"):
        geodecloud.decloud_scene(
            scene, tmp_path / name, model="identity", format=FileFormat(format)
        )
        assert described(tmp_path / name) == expected
        scene = out
    with rasterio.open(out) as dst:
        assert dst.tags(ns="SENSOR") == {"GAIN": "1"}
        assert dst.crs == rasterio.open(tmp_path / "plain.tif").crs


@pytest.mark.parametrize("source", ["scene.tif", "scene.vrt"])
def test_single_bands_and_layers(source: str, tmp_path: Path) -> None:
    make_scene(tmp_path / "scene.tif", kind="athematic")
    expected = described(tmp_path / "scene.tif")
    provenance = tmp_path / "provenance.tif"
    geodecloud.decloud_scene(
        tmp_path / source, tmp_path / "o", layout="bands", model="identity", provenance=provenance
    )
    assert described(provenance) == {"epoch": ["2021.3"]}
    assert described(tmp_path / "o" / "scene_1.tif") == {"epoch": ["2021.3"]}
    of_band = {k.replace(" 2", " 1"): v for k, v in expected.items() if not k.endswith(" 3")}
    assert described(tmp_path / "o" / "scene_2.tif") == of_band


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", textured_dn(3, 60, 50))
    geodecloud.decloud_scene(scene, tmp_path / "out.tif", model="identity")
    assert described(tmp_path / "out.tif") == {"epoch": []}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tif", "scene.tif"]


def test_a_scene_of_xarray_takes_them_from_like(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene.tif")
    array = geodecloud.open_scene(scene)
    write_scene(array, tmp_path / "out.tif", like=read_metadata(scene))
    assert described(tmp_path / "out.tif") == described(scene)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("2021.3", "2022.5", "its coordinate epoch is 2022.5, not 2021.3"),
        ("<Category>", "<Category>not ", "its category names of band 2 is"),
        ("<F>2</F>", "<F>3</F>", "its attribute table of band 2 is"),
        ("GDALRasterAttributeTable", "Nothing", "its attribute table of band 2 is None"),
    ],
)
def test_a_copy_that_changes_them_is_not_published(
    old: str, new: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene(tmp_path / "scene.tif", "no GeoTIFF key")  # all of it is beside the file
    copy = rasterio.shutil.copy

    def meddle(src: object, dst: object, **options: str) -> None:
        copy(src, dst, **options)
        beside = Path(f"{dst}.aux.xml")
        if options["driver"] == "COG":
            assert old in beside.read_text()
            beside.write_text(beside.read_text().replace(old, new))

    monkeypatch.setattr(rasterio.shutil, "copy", meddle)
    with pytest.raises(SceneIOError, match=told):
        geodecloud.decloud_scene(scene, tmp_path / "out.tif", model="identity")
    assert not (tmp_path / "out.tif").exists()


def test_pixels_are_not_touched_by_it(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene.tif", epoch=None)
    geodecloud.decloud_scene(scene, tmp_path / "out.tif", model="identity")
    with rasterio.open(scene) as src, rasterio.open(tmp_path / "out.tif") as dst:
        np.testing.assert_array_equal(src.read(), dst.read())
    assert described(tmp_path / "out.tif") == described(scene)

"""What a GeoTIFF cannot hold: GDAL's files beside it, published with it or removed with it.

The oracle is rasterio reading source and result side by side, and what GDAL's own copy leaves.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from conftest import textured_dn, write_raster
from test_conformance import assert_same_raster

import geodecloud
from geodecloud.errors import GeodecloudWarning
from geodecloud.options import FileFormat

#: Rotated pole, as of regional climate models: no GeoTIFF key says this.
ROTATED_POLE = (
    "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +R=6371229 +no_defs"
)


def with_imd(path: Path) -> Path:
    """A scene with the metadata of WorldView, which GDAL keeps in a file of its own."""
    write_raster(path, textured_dn(2, 60, 50))
    with rasterio.open(path, "r+") as dst:
        dst.update_tags(ns="IMD", satId="WV02", cloudCover="0.5")
    return path


def identity(src: Path, dst: Path, format: str = "cog", **options: str) -> None:
    overwrite = dst.exists()
    form = FileFormat(format, options)
    geodecloud.decloud_scene(src, dst, model="identity", format=form, overwrite=overwrite)


@pytest.mark.parametrize("format", ["cog", "gtiff"])
def test_metadata_in_a_file_of_its_own_comes_along(format: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    scene, out = with_imd(tmp_path / "in" / "scene.tif"), tmp_path / "clear.tif"
    for _ in range(2):  # the second replaces both files
        identity(scene, out, format)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["clear.IMD", "clear.tif", "in"]
        with rasterio.open(out) as dst:
            assert dst.tags(ns="IMD") == {"satId": "WV02", "cloudCover": "0.5"}
            assert [Path(file).name for file in dst.files] == ["clear.tif", "clear.IMD"]
        assert_same_raster(scene, out)


def test_bands_have_side_files_of_their_own(tmp_path: Path) -> None:
    scene = with_imd(tmp_path / "scene.tif")
    geodecloud.decloud_scene(scene, tmp_path / "o", layout="bands", model="identity")
    names = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert names == ["scene_1.IMD", "scene_1.tif", "scene_2.IMD", "scene_2.tif"]


def test_world_file_is_that_of_gdal(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", textured_dn(1, 60, 50))
    identity(scene, tmp_path / "out.tif", "gtiff", TFW="YES")
    rasterio.shutil.copy(scene, tmp_path / "gdal.tif", driver="GTiff", TFW="YES")
    assert (tmp_path / "out.tfw").read_text() == (tmp_path / "gdal.tfw").read_text()
    names = ["gdal.tfw", "gdal.tif", "out.tfw", "out.tif", "scene.tif"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_side_file_of_another_raster_is_kept(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", textured_dn(1, 60, 50))
    (tmp_path / "out.tfw").write_text("of out.png")
    with pytest.warns(GeodecloudWarning, match=r"out\.tfw was there before out\.tif and is kept"):
        identity(scene, tmp_path / "out.tif", "gtiff", TFW="YES")
    assert (tmp_path / "out.tfw").read_text() == "of out.png"
    assert_same_raster(scene, tmp_path / "out.tif")


@pytest.mark.parametrize("format", ["cog", "gtiff"])
def test_crs_no_geotiff_can_hold_is_kept_beside_it(format: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    place = {"crs": ROTATED_POLE, "transform": Affine(0.25, 0, -5, 0, -0.25, 7)}
    scene = write_raster(tmp_path / "in" / "scene.tif", textured_dn(2, 60, 50), **place)
    out = tmp_path / "clear.tif"
    identity(scene, out, format)
    assert_same_raster(scene, out)
    with rasterio.open(out) as dst:
        assert dst.crs.to_dict()["proj"] == "ob_tran"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clear.tif", "clear.tif.aux.xml", "in"]
    plain = write_raster(tmp_path / "in" / "plain.tif", textured_dn(2, 60, 50))
    identity(plain, out, format)
    assert_same_raster(plain, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clear.tif", "in"]


@pytest.mark.parametrize("where", ["geodecloud.raster.staging.find_difference", "os.replace"])
def test_failure_removes_side_files_too(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError("no space left")

    scene = with_imd(tmp_path / "scene.tif")
    before = set(tmp_path.iterdir())
    monkeypatch.setattr(where, full)
    with pytest.raises(OSError, match="no space left"):
        identity(scene, tmp_path / "clear.tif", "gtiff", TFW="YES")
    assert set(tmp_path.iterdir()) == before

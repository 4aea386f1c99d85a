"""Tags of every namespace, through the identity model and back.

The oracle is rasterio reading source and result side by side.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import rasterio
from conftest import textured_dn, write_raster
from test_conformance import assert_same_raster

import geodecloud
from geodecloud.errors import OptionError
from geodecloud.staging import FileFormat

NAMESPACES = ("FOO", "ENVI", "GEOLOCATION", "IMAGERY", "NITF_METADATA")


def identity(src: Path, dst: Path, format: str = "cog", **options: str) -> Path:
    geodecloud.decloud_scene(src, dst, model="identity", format=FileFormat(format, options))
    return dst


@pytest.mark.parametrize("format", ["cog", "gtiff"])
@pytest.mark.parametrize(
    ("dataset", "band", "files"),
    [
        (NAMESPACES, (), ["out.tif"]),
        (NAMESPACES, NAMESPACES, ["out.tif"]),
        ((), (None,), ["out.tif"]),
        ((None, *NAMESPACES), (None, *NAMESPACES), ["out.tif", "out.tif.aux.xml"]),
    ],
)
def test_tags_of_every_namespace_are_kept(
    dataset: tuple, band: tuple, files: list, format: str, scene: Path, tmp_path: Path
) -> None:
    """GDAL 3.10 copies either all namespaces, or the default one of bands; the rest goes beside."""
    with rasterio.open(scene, "r+") as dst:
        dst.scales, dst.offsets = (1e-4,) * 4, (-0.1,) * 4
        for namespace in dataset:
            dst.update_tags(ns=namespace, K=f"of {namespace}", other="a\nb=c <&> ü ")
        for namespace in band:
            dst.update_tags(2, ns=namespace, K=f"of band 2, {namespace}")
            dst.update_tags(4, ns=namespace, K=f"of band 4, {namespace}")
    out = identity(scene, tmp_path / "out.tif", format)
    assert_same_raster(scene, out)
    assert sorted(path.name for path in tmp_path.glob("out*")) == files
    assert_same_raster(scene, identity(out, tmp_path / "again.tif", format))


def test_what_one_profile_moves_out_of_the_file_is_kept(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", textured_dn(2, 60, 50))
    with rasterio.open(scene, "r+") as dst:
        dst.update_tags(ns="FOO", K="v")
        dst.update_tags(2, wavelength="490")
    assert_same_raster(scene, identity(scene, tmp_path / "out.tif", "gtiff", PROFILE="GeoTIFF"))


@pytest.mark.parametrize("what", ["scales", "descriptions", "units"])
def test_an_option_that_drops_something_is_refused_before_the_work(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geodecloud.parallel.Threads.store", None)  # the work
    scene = write_raster(tmp_path / "scene.tif", textured_dn(2, 20, 30))
    value = {"scales": (1e-4, 2e-4), "descriptions": ("a", "b"), "units": ("K", "m")}[what]
    with rasterio.open(scene, "r+") as dst:
        setattr(dst, what, value)
    with pytest.raises(OptionError, match=f"PROFILE=BASELINE: its {what} is"):
        identity(scene, tmp_path / "out.tif", "gtiff", PROFILE="BASELINE")
    assert list(tmp_path.iterdir()) == [scene]

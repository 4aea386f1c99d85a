"""Tags of every namespace, through the identity model and back.

The oracle is rasterio reading source and result side by side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import textured_dn, write_raster
from test_conformance import assert_same_raster

import geodecloud
from geodecloud.errors import GeodecloudWarning, OptionError
from geodecloud.options import FileFormat

NAMESPACES = ("FOO", "ENVI", "GEOLOCATION", "IMAGERY", "NITF_METADATA")


def identity(src: Path, dst: Path, format: str = "cog", **options: str) -> Path:
    geodecloud.decloud_scene(src, dst, model="identity", format=FileFormat(format, options))
    return dst


XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><a b='1=2'>ü</a></x:xmpmeta>
<?xpacket end="w"?>"""


def write_xml(path: Path, text: str, namespace: str, index: int = 0) -> None:
    """Put XML into a file: what rasterio writes is ``key=value``, here the XML as it is."""
    head, _, tail = text.partition("=")
    with rasterio.open(path, "r+") as dst:
        dst.update_tags(index, ns=namespace, **{head: tail})


@pytest.mark.parametrize("format", ["cog", "gtiff"])
@pytest.mark.parametrize("tags_of_bands", [True, False])
def test_xml_is_the_same_after_two_passes(
    tags_of_bands: bool, format: str, scene: Path, tmp_path: Path
) -> None:
    write_xml(scene, XMP, "xml:XMP")
    if tags_of_bands:
        with rasterio.open(scene, "r+") as dst:
            dst.update_tags(2, wavelength="490")
    once = identity(scene, tmp_path / "once.tif", format)
    twice = identity(once, tmp_path / "twice.tif", format)
    for path in (scene, once, twice):
        content = path.read_bytes()
        assert XMP.encode() in content
        assert b"xml:XMP=" not in content
        with rasterio.open(path) as src:
            assert src.tags(ns="xml:XMP") == {"xml:XMP": XMP}
    assert_same_raster(scene, twice)
    assert not list(tmp_path.glob("*.aux.xml"))


@pytest.mark.parametrize("format", ["cog", "gtiff"])
def test_other_xml_is_kept_beside_tags_of_bands(format: str, scene: Path, tmp_path: Path) -> None:
    write_xml(scene, '<a  b="1"/>', "xml:FOO")
    write_xml(scene, '<a\n c="2"/>', "xml:BAR", 3)
    with rasterio.open(scene, "r+") as dst:
        dst.update_tags(2, wavelength="490", ns=None)
        dst.update_tags(2, ns="FOO", K="v")
    assert_same_raster(scene, identity(scene, tmp_path / "out.tif", format))


VRT = """<VRTDataset rasterXSize="50" rasterYSize="60">
<Metadata><MDI key="ns">a</MDI><MDI key="kept">b</MDI></Metadata>
<Metadata domain="json:PLACE" format="json">{"x": [1, 2]}</Metadata>
<Metadata domain="xml:NONE" format="xml"><a/></Metadata>
<VRTRasterBand dataType="UInt16" band="1">
<Metadata><MDI key="bidx">c</MDI><MDI key="kept">d</MDI></Metadata>
<SimpleSource><SourceFilename relativeToVRT="1">scene.tif</SourceFilename></SimpleSource>
</VRTRasterBand></VRTDataset>"""


def test_tags_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    write_raster(tmp_path / "scene.tif", textured_dn(1, 60, 50))
    (tmp_path / "scene.vrt").write_text(VRT)
    with pytest.warns(GeodecloudWarning, match="are left out") as told:
        out = identity(tmp_path / "scene.vrt", tmp_path / "out.tif")
    said = {str(warning.message) for warning in told if warning.category is GeodecloudWarning}
    assert len(said) == 4
    for end in ("out: 'ns'", "out: 'bidx'", "namespace xml:NONE", "namespace json:PLACE"):
        assert any(text.endswith(end) for text in said)
    with rasterio.open(out) as dst, rasterio.open(tmp_path / "scene.tif") as src:
        assert dst.tags()["kept"] == "b"
        assert dst.tags(1)["kept"] == "d"
        assert not {"json:PLACE", "xml:NONE"} & set(dst.tag_namespaces())
        np.testing.assert_array_equal(dst.read(), src.read())


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
    monkeypatch.setattr("geodecloud.compute.engine.Threads.store", None)  # the work
    scene = write_raster(tmp_path / "scene.tif", textured_dn(2, 20, 30))
    value = {"scales": (1e-4, 2e-4), "descriptions": ("a", "b"), "units": ("K", "m")}[what]
    with rasterio.open(scene, "r+") as dst:
        setattr(dst, what, value)
    with pytest.raises(OptionError, match=f"PROFILE=BASELINE: its {what} is"):
        identity(scene, tmp_path / "out.tif", "gtiff", PROFILE="BASELINE")
    assert list(tmp_path.iterdir()) == [scene]

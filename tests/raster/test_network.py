"""Files on disk lead to no other host, unless their user says so. The oracle is a host that counts who asks."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result
from conftest import textured_dn, write_raster
from products import build_small

from geodecloud.cli.commands import main
from geodecloud.raster.gdal import ALLOW_REMOTE, is_shut

#: In a process of its own: GDAL's calls that keep Python waiting would keep a server here waiting, too.
_SERVER = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        print(self.command, self.path, flush=True)
        self.send_error(404)
    do_HEAD = do_GET
    def log_message(self, *_):
        pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@dataclass
class Host:
    """A web server of this machine that has nothing, and what it was asked for."""

    log: Path
    seen: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.log.read_text().split()[0]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def asked(self) -> list[str]:
        return self.log.read_text().splitlines()[1 + self.seen :]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    found = Host(tmp_path_factory.mktemp("server") / "log")
    with (
        found.log.open("w") as log,
        subprocess.Popen([sys.executable, "-c", _SERVER], stdout=log) as process,
    ):
        while not found.log.read_text().endswith("\n"):
            time.sleep(0.01)
        yield found
        process.kill()


@pytest.fixture
def host(server: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    for name, value in {
        "AWS_NO_SIGN_REQUEST": "YES",
        "AWS_S3_ENDPOINT": server.address,
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }.items():
        monkeypatch.setenv(name, value)
    server.seen += len(server.asked)
    return server


def vrt(source: str) -> str:
    return (
        '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{escape(source)}</SourceFilename><SourceBand>1</SourceBand>"
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )


_WMS = """<GDAL_WMS><Service name="TMS"><ServerUrl>URL/${z}/${x}/${y}.png</ServerUrl></Service><DataWindow>
<UpperLeftX>0</UpperLeftX><UpperLeftY>8</UpperLeftY><LowerRightX>8</LowerRightX><LowerRightY>0</LowerRightY>
<SizeX>64</SizeX><SizeY>64</SizeY><TileLevel>0</TileLevel></DataWindow><BandsCount>3</BandsCount></GDAL_WMS>"""
_PLACE = {
    "proj:epsg": 32633,
    "proj:bbox": [0, 0, 80, 80],
    "proj:shape": [8, 8],
    "proj:transform": [10, 0, 0, 0, -10, 80],
}
_ITEM = {
    "type": "Feature",
    "stac_version": "1.0.0",
    "stac_extensions": ["https://stac-extensions.github.io/projection/v1.0.0/schema.json"],
    "id": "a",
    "geometry": None,
    "properties": _PLACE,
    "assets": {"B": {"href": "URL/a.tif", "type": "image/tiff", **_PLACE}},
}
_STAC = {"type": "FeatureCollection", "stac_version": "1.0.0", "features": [_ITEM]}
#: Names of files on disk -> what is in them; URL is the host.
FILES = {
    "curl.vrt": vrt("/vsicurl/URL/a.tif"),
    "address.vrt": vrt("URL/a.tif"),
    "streaming.vrt": vrt("/vsicurl_streaming/URL/a.tif"),
    "store.vrt": vrt("/vsis3/bucket/a.tif"),
    "archive.vrt": vrt("/vsizip//vsicurl/URL/a.zip/a.tif"),
    "service.vrt": vrt(_WMS),
    "service.tif": _WMS,
    "wmts.tif": "<GDAL_WMTS><GetCapabilitiesUrl>URL/caps</GetCapabilitiesUrl></GDAL_WMTS>",
    "items.tif": json.dumps(_STAC),
}


def lay(name: str, host: Host, folder: Path) -> Path:
    path = folder / name
    # an address of its own: GDAL remembers which files a host does not have
    path.write_text(FILES[name].replace("URL", f"{host.url}/{folder.name}"))
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words), "--model", "identity", "-q"])


@pytest.mark.parametrize("name", FILES)
def test_a_file_on_disk_leads_to_no_host(name: str, host: Host, tmp_path: Path) -> None:
    path, out = lay(name, host, tmp_path), tmp_path / "out.tif"
    result = run(path, "--out", out)
    assert (result.exit_code, host.asked) == (1, []), result.output
    assert f"{name} cannot be" in result.stderr
    assert "GEODECLOUD_ALLOW_REMOTE=YES" in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("name", FILES)
def test_it_does_where_its_user_trusts_it(
    name: str, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ALLOW_REMOTE, "YES")
    monkeypatch.setenv("HOME", str(tmp_path))  # of a service GDAL keeps what it has learnt
    result = run(lay(name, host, tmp_path), "--out", tmp_path / "out.tif")
    assert result.exit_code == 1
    assert host.asked
    assert ALLOW_REMOTE not in result.stderr


def test_an_address_that_is_typed_is_asked(host: Host, tmp_path: Path) -> None:
    result = run(f"{host.url}/typed/a.tif", "--out", tmp_path / "out.tif")
    assert result.exit_code == 1
    assert {"GET /typed/a.tif", "HEAD /typed/a.tif"} & set(host.asked)
    assert ALLOW_REMOTE not in result.stderr


def test_a_side_file_leads_to_no_host(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overviews may lie anywhere; those of a host are as if they were not there."""
    scene = write_raster(tmp_path / "scene.tif", textured_dn(1, 30, 40))
    beside = f'<MDI key="OVERVIEW_FILE">/vsicurl/{host.url}/a.ovr</MDI>'
    text = f'<PAMDataset><Metadata domain="OVERVIEWS">{beside}</Metadata></PAMDataset>'
    (tmp_path / "scene.tif.aux.xml").write_text(text)
    assert run(scene, "--out", tmp_path / "out.tif").exit_code == 0
    assert host.asked == []
    with rasterio.open(scene) as src, rasterio.open(tmp_path / "out.tif") as dst:
        assert src.overviews(1) == []
        assert host.asked  # so it would have been
        np.testing.assert_array_equal(src.read(), dst.read())


def test_masks_references_and_areas_lead_to_no_host(host: Host, tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", textured_dn(4, 30, 40))
    place = (
        "<SRS>EPSG:32719</SRS><GeoTransform>399960,10,0,6300040,0,-10</GeoTransform><VRTRasterBand "
    )
    raster = lay("curl.vrt", host, tmp_path)
    raster.write_text(raster.read_text().replace("<VRTRasterBand ", place))
    area = tmp_path / "area.vrt"
    source = f"<SrcDataSource>/vsicurl/{host.url}/a.geojson</SrcDataSource>"
    layer = f'<OGRVRTLayer name="a">{source}<SrcLayer>a</SrcLayer></OGRVRTLayer>'
    area.write_text(f"<OGRVRTDataSource>{layer}</OGRVRTDataSource>")
    for option, path in (("--mask", raster), ("--reference", raster), ("--aoi", area)):
        result = run(scene, "--out", tmp_path / "out.tif", option, path)
        assert result.exit_code == 1, result.output
        assert path.name in result.stderr
    assert host.asked == []


def test_documents_of_products_lead_to_no_host_and_no_file(host: Host, tmp_path: Path) -> None:
    name = "S2A_MSIL2A_20230625T104621_N0510_R051_T33UXQ_20230625T170000.SAFE"
    safe = build_small(tmp_path / name, size=24)
    document = safe / "MTD_MSIL2A.xml"
    head, body = document.read_text().split("?>", 1)
    (tmp_path / "secret").write_text("9999")
    for doctype in (
        f'<!DOCTYPE x SYSTEM "{host.url}/x.dtd">',
        f'<!DOCTYPE x [<!ENTITY a SYSTEM "file://{tmp_path}/secret">]>',
        f'<!DOCTYPE x [<!ENTITY % a SYSTEM "{host.url}/x.ent"> %a;]>',
    ):
        document.write_text(f"{head}?>{doctype}{body.replace('10000<', '&a;<')}")
        result = run(safe, "--out", tmp_path / "out.tif")
        assert (result.exit_code, host.asked) == (1, [])
        assert "MTD_MSIL2A.xml cannot be read as XML" in result.stderr
        assert "9999" not in result.output


def test_what_is_on_disk_and_what_is_an_address() -> None:
    shut = (
        "scene.tif",
        "/data/a.vrt",
        "/vsizip//data/a.zip/a.tif",
        "GTIFF_DIR:1:a.tif",
        "C:\\a.tif",
    )
    for path in (*shut, "/vsigzip//a.tif.gz", "/vsimem/a.tif", "vrt:///data/a.tif?bands=1"):
        assert is_shut(path), path
    addresses = (
        "https://x/a.tif",
        "s3://x/a.tif",
        "/vsicurl/http://x",
        "/vsis3/x",
        "/vsiaz/x/a.tif",
    )
    for path in (
        *addresses,
        "/vsizip//vsicurl/http://x/a.zip/a.tif",
        "vrt://https://x/a.tif?bands=1",
    ):
        assert not is_shut(path), path

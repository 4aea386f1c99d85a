"""What is fuzzed: files that somebody else may have made, and the command that reads them.

A target lays good files and one that is wrong into a folder ``in``, and gives the words of a command that
writes into the folder ``out`` beside it.
"""

from __future__ import annotations

import functools
import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import rasterio
import rasterio.shutil
from click.testing import CliRunner
from conftest import make_toy_model, textured_dn, write_raster
from mutations import (
    TEXTS,
    bytes_wrong,
    jp2_wrong,
    json_text_wrong,
    json_wrong,
    tiff_wrong,
    words_wrong,
    xml_wrong,
    zip_wrong,
)
from products import build_small, write_jp2

from geodecloud.cli.commands import main

SHAPE = (30, 40)
SAFE = "S2A_MSIL2A_20230625T104621_N0510_R051_T33UXQ_20230625T170000.SAFE"
OUT = ("--out", "out/clear.tif", "-q")
IDENTITY = (*OUT, "--model", "identity")
Target = Callable[[Path, Random], list[str]]


def _seed(make: Callable[[Path], object]) -> bytes:
    """The bytes of a file that is made in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "seed")
        made = make(path)
        return (made if isinstance(made, Path) else path).read_bytes()


@functools.cache
def scene() -> bytes:
    """A good scene."""
    return _seed(lambda path: write_raster(path, textured_dn(4, *SHAPE)))


@functools.cache
def tiffs() -> tuple[bytes, ...]:
    """TIFFs that are built differently: strips, tiles, codecs, byte orders, masks, overviews, tags."""
    dn = textured_dn(4, *SHAPE)
    small = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    rgb = (dn[:3] >> 6).astype(np.uint8)
    floats = dn.astype(np.float32) / 1e4
    floats[0, 3:7, 3:9] = np.nan
    made = [
        scene(),
        *(
            _seed(functools.partial(write_raster, dn=pixels, **profile))
            for pixels, profile in (
                (dn, {"compress": "deflate", "predictor": 2, "nodata": 0, **small}),
                (dn, {"compress": "lzw", "interleave": "band", "ENDIANNESS": "BIG"}),
                (floats, {"compress": "zstd", "predictor": 3, "nodata": np.nan}),
                (rgb, {"compress": "jpeg", "photometric": "ycbcr"}),
                (dn.astype(np.int16), {"crs": "EPSG:4326", "compress": "packbits"}),
            )
        ),
    ]
    return (*made, _seed(_rich), _seed(_cog))


def _rich(path: Path) -> None:
    """Tags, scales, a mask in the file."""
    write_raster(path, textured_dn(4, *SHAPE), nodata=0)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dst:
        dst.update_tags(DATE="2023-06-25", note="a & b <c>")
        dst.update_tags(1, STATISTICS_MEAN="3")
        dst.scales, dst.offsets = (1e-4,) * 4, (-0.1,) * 4
        dst.write_mask(np.indices(SHAPE).sum(axis=0) > 9)


def _cog(path: Path) -> Path:
    whole = write_raster(path.with_name("whole.tif"), textured_dn(4, 100, 120))
    rasterio.shutil.copy(whole, path, driver="COG", BLOCKSIZE=64)
    return path


def geotiff(folder: Path, rng: Random) -> list[str]:
    """A GeoTIFF as a scene."""
    (folder / "scene.tif").write_bytes(tiff_wrong(rng.choice(tiffs()), rng))
    more = rng.choice(([], ["--format", "gtiff"], ["--provenance", "out/codes.tif"]))
    return ["in/scene.tif", *IDENTITY, *more]


@functools.cache
def jp2s() -> tuple[bytes, ...]:
    """JPEG 2000 with a place and without, of one band and of three."""

    def three(path: Path) -> Path:
        path = path.with_suffix(".jp2")
        dn = (textured_dn(3, *SHAPE) >> 6).astype(np.uint8)
        write_raster(path, dn, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES")
        return path

    def one(path: Path, crs: str | None) -> Path:
        path = path.with_suffix(".jp2")
        write_jp2(path, textured_dn(1, *SHAPE)[0], crs, 600000, 5500020, 10)
        return path

    return _seed(three), _seed(lambda p: one(p, "EPSG:32633")), _seed(lambda p: one(p, None))


def jp2(folder: Path, rng: Random) -> list[str]:
    """A JPEG 2000 file as a scene."""
    (folder / "scene.jp2").write_bytes(jp2_wrong(rng.choice(jp2s()), rng))
    return ["in/scene.jp2", *IDENTITY]


_TILE = """<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd">
<n1:General_Info><TILE_ID metadataLevel="Brief">S2A_OPER_MSI_L2A_TL_2APS_20230625T170000_A041819_T33UXQ_N05.10</TILE_ID>
<SENSING_TIME metadataLevel="Standard">2023-06-25T10:50:12.456Z</SENSING_TIME></n1:General_Info>
<n1:Geometric_Info><Tile_Geocoding metadataLevel="Brief"><HORIZONTAL_CS_CODE>EPSG:32633</HORIZONTAL_CS_CODE>
<Geoposition resolution="10"><ULX>600000</ULX><ULY>5500020</ULY><XDIM>10</XDIM><YDIM>-10</YDIM></Geoposition>
</Tile_Geocoding><Tile_Angles><Mean_Sun_Angle><ZENITH_ANGLE unit="deg">28.1</ZENITH_ANGLE>
<AZIMUTH_ANGLE unit="deg">153.2</AZIMUTH_ANGLE></Mean_Sun_Angle></Tile_Angles></n1:Geometric_Info>
<n1:Quality_Indicators_Info><Image_Content_QI><CLOUDY_PIXEL_PERCENTAGE>12.5</CLOUDY_PIXEL_PERCENTAGE>
</Image_Content_QI></n1:Quality_Indicators_Info></n1:Level-2A_Tile_ID>
"""


@functools.cache
def product() -> dict[str, bytes]:
    """The files of a Sentinel-2 product by name."""
    with tempfile.TemporaryDirectory() as folder:
        offsets = dict.fromkeys((1, 2, 3, 7), -1000)
        safe = build_small(Path(folder, SAFE), size=24, offsets=offsets)
        found = {
            p.relative_to(folder).as_posix(): p.read_bytes()
            for p in safe.rglob("*.*")
            if p.is_file()
        }
    granule = next(name for name in found if "GRANULE/" in name).split("IMG_DATA")[0]
    return found | {f"{granule}MTD_TL.xml": _TILE.encode()}


def _lay(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def safe_xml(folder: Path, rng: Random) -> list[str]:
    """The documents of a Sentinel-2 product."""
    files = dict(product())
    name = rng.choice([name for name in files if name.endswith(".xml")])
    files[name] = xml_wrong(files[name].decode(), rng)
    _lay(folder, files)
    return [f"in/{SAFE}", *IDENTITY, *rng.choice(([], ["--stac"], ["--mask", "scl"]))]


_STAC = {
    "type": "Feature",
    "stac_version": "1.0.0",
    "id": "S2A_33UXQ_20230625_0_L2A",
    "geometry": {"type": "Point", "coordinates": [15, 49]},
    "bbox": [15, 49, 16, 50],
    "properties": {
        "datetime": "2023-06-25T10:50:12.456Z",
        "platform": "sentinel-2a",
        "grid:code": "MGRS-33UXQ",
        "eo:cloud_cover": 12.5,
        "view:sun_elevation": 61.9,
        "view:sun_azimuth": 153.2,
        "s2:processing_baseline": "05.09",
        "s2:product_uri": SAFE,
        "earthsearch:boa_offset_applied": False,
    },
    "links": [],
    "assets": {
        band: {
            "href": f"https://example.com/a/{band}.tif",
            "raster:bands": [{"scale": 1e-4, "offset": -0.1, "nodata": 0}],
        }
        for band in ("B02", "B03", "B04", "B08", "SCL")
    },
}


@functools.cache
def loose_bands() -> dict[str, bytes]:
    """The bands of a product as a provider of COGs has them."""
    return {
        f"tile/{band}.tif": _seed(
            functools.partial(write_raster, dn=textured_dn(1, *SHAPE, seed=i), nodata=0)
        )
        for i, band in enumerate(("B02", "B03", "B04", "B08"))
    }


def stac(folder: Path, rng: Random) -> list[str]:
    """The STAC Item beside the bands of a product."""
    _lay(folder, loose_bands() | {"tile/item.json": json_text_wrong(_STAC, rng)})
    return ["in/tile", *IDENTITY, *rng.choice(([], ["--stac"]))]


_VRT = """<VRTDataset rasterXSize="40" rasterYSize="30"><SRS>EPSG:32719</SRS>
<GeoTransform>399960, 10, 0, 6300040, 0, -10</GeoTransform><Metadata><MDI key="DATE">2023-06-25</MDI></Metadata>
{bands}</VRTDataset>"""
_VRT_BAND = """<VRTRasterBand dataType="UInt16" band="{i}"><Description>B0{i}</Description><NoDataValue>0</NoDataValue>
<Scale>0.0001</Scale><Offset>0</Offset><ColorInterp>Gray</ColorInterp><CategoryNames><Category>a</Category>
</CategoryNames><SimpleSource><SourceFilename relativeToVRT="1">scene.tif</SourceFilename><SourceBand>{i}</SourceBand>
<SrcRect xOff="0" yOff="0" xSize="40" ySize="30"/><DstRect xOff="0" yOff="0" xSize="40" ySize="30"/></SimpleSource>
</VRTRasterBand>"""


def vrt(folder: Path, rng: Random) -> list[str]:
    """A VRT as a scene."""
    (folder / "scene.tif").write_bytes(scene())
    text = _VRT.format(bands="".join(_VRT_BAND.format(i=i) for i in (1, 2, 3, 4)))
    (folder / "scene.vrt").write_bytes(xml_wrong(text, rng))
    return ["in/scene.vrt", *IDENTITY]


_PAM = """<PAMDataset><SRS>EPSG:32719</SRS><GeoTransform>399960, 10, 0, 6300040, 0, -10</GeoTransform>
<Metadata><MDI key="DATE">2023-06-25</MDI></Metadata><GCPList Projection="EPSG:4326">
<GCP Id="1" Pixel="0" Line="0" X="1" Y="2"/></GCPList><PAMRasterBand band="1"><Description>blue</Description>
<NoDataValue>0</NoDataValue><Scale>0.0001</Scale><Offset>0</Offset><UnitType>m</UnitType><CategoryNames>
<Category>a</Category></CategoryNames><GDALRasterAttributeTable><FieldDefn index="0"><Name>Value</Name>
<Type>0</Type><Usage>0</Usage></FieldDefn><Row index="0"><F>1</F></Row></GDALRasterAttributeTable>
<Metadata><MDI key="STATISTICS_MEAN">3</MDI></Metadata></PAMRasterBand></PAMDataset>"""


def side_xml(folder: Path, rng: Random) -> list[str]:
    """What GDAL keeps beside a scene."""
    (folder / "scene.tif").write_bytes(scene())
    (folder / "scene.tif.aux.xml").write_bytes(xml_wrong(_PAM, rng))
    return ["in/scene.tif", *IDENTITY]


_SQUARE = [[400000, 6299800], [400200, 6299800], [400200, 6300000], [400000, 6299800]]
_AOI = {
    "type": "FeatureCollection",
    "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32719"}},
    "features": [
        {
            "type": "Feature",
            "properties": {"n": 1},
            "geometry": {"type": kind, "coordinates": place},
        }
        for kind, place in (("Polygon", [_SQUARE]), ("MultiPolygon", [[_SQUARE]]))
    ],
}


def geojson(folder: Path, rng: Random) -> list[str]:
    """An area of interest."""
    (folder / "scene.tif").write_bytes(scene())
    (folder / "aoi.geojson").write_bytes(json_text_wrong(_AOI, rng))
    return ["in/scene.tif", *IDENTITY, "--aoi", "in/aoi.geojson", "--mask", "none"]


@functools.cache
def weights() -> bytes:
    """A small model."""
    return _seed(make_toy_model)


def model(folder: Path, rng: Random) -> list[str]:
    """A weights file: length, header, card, tensors. What is changed is sealed again, or nobody would read it."""
    from geodecloud.models.tensors import hash_tensors

    (folder / "scene.tif").write_bytes(scene())
    data, kind = weights(), rng.randrange(8)
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    if kind == 0:
        data = struct.pack("<Q", rng.choice((0, 1, 10**6, 10**11, 2**63, 2**64 - 1))) + data[8:]
    elif kind == 1:
        data = bytes_wrong(data, rng)
    elif kind == 2:
        data = data[:8] + json_text_wrong(header, rng).ljust(length)[:length] + body
    else:
        if kind == 3:  # the entries of tensors
            card_text = header.pop("__metadata__")
            header = json_wrong(header, rng)
            header = header if isinstance(header, dict) else {}
            header["__metadata__"] = card_text
        elif kind == 4:
            numbers = np.frombuffer(body, np.float32).copy()
            wrong = (np.nan, np.inf, 1e30, -1e30, 0)
            numbers[rng.randrange(numbers.size) :] = rng.choice(wrong)
            body = numbers.tobytes()
            names = [name for name in header if name != "__metadata__"]
            tensors = {
                name: np.frombuffer(body[slice(*header[name]["data_offsets"])], np.float32).reshape(
                    header[name]["shape"]
                )
                for name in names
            }
            card = json.loads(header["__metadata__"]["geodecloud"]) | {
                "sha256": hash_tensors(tensors)
            }
            header["__metadata__"]["geodecloud"] = json.dumps(card)
        else:
            card = json.loads(header["__metadata__"]["geodecloud"])
            header["__metadata__"]["geodecloud"] = json_text_wrong(card, rng).decode("latin-1")
        text = json.dumps(header).encode()
        data = struct.pack("<Q", len(text)) + text + body
    (folder / "model.safetensors").write_bytes(data)
    if rng.randrange(4) == 0:
        return ["models", "show", "in/model.safetensors"]
    return ["in/scene.tif", *OUT, "--model", "in/model.safetensors", "--backend", "torch"]


def checkpoint(folder: Path, rng: Random) -> list[str]:
    """A checkpoint of torch: an archive of pickles."""
    import torch

    buffer = io.BytesIO()
    torch.save({"gen.gen.conv_in.0.weight": torch.zeros(2, 3)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    data = zip_wrong(members, rng) if rng.random() < 0.5 else bytes_wrong(buffer.getvalue(), rng)
    (folder / "spa.pth").write_bytes(data)
    return ["models", "import", "in/spa.pth", "--out", "out/spa.safetensors"]


_RECORD = {
    "state": "done",
    "made_from": "0" * 64,
    "outputs": {"scene_decloud.tif": [1, 1]},
    "report": {
        "out": "scene_decloud.tif",
        "reason": "",
        "model": "identity",
        "grid": "",
        "valid_px": 3,
    },
    "reason": "",
}


def journal(folder: Path, rng: Random) -> list[str]:
    """What a batch says of its results; also that files outside are its own, to be removed."""
    (folder / "scenes").mkdir()
    (folder / "scenes" / "scene.tif").write_bytes(scene())
    record = folder.parent / "out" / ".geodecloud" / "scene.json"
    said = json.loads(json.dumps(_RECORD))
    words = ["batch", "in/scenes", "--out-dir", "out", "--model", "identity", "-q"]
    kind = rng.randrange(4)
    if kind == 0:  # a record that the next run finds current, but for what is made wrong
        CliRunner().invoke(main, words)
        said = json.loads(record.read_text())
        key = rng.choice(list(said))
        said[key] = json_wrong(said[key], rng)
        record.write_text(json.dumps(said))
    elif kind == 1:
        status = (folder / "scenes" / "scene.tif").stat()
        name = rng.choice(("../in/scenes/scene.tif", str(folder / "scenes" / "scene.tif")))
        said["outputs"] = {name: [status.st_size, status.st_mtime_ns]}
        record.parent.mkdir()
        record.write_text(json.dumps(said))
    else:
        record.parent.mkdir()
        record.write_bytes(json_text_wrong(said, rng))
    return words


def mask(folder: Path, rng: Random) -> list[str]:
    """A mask: its file, and what is asked of it."""
    (folder / "scene.tif").write_bytes(scene())
    data = rng.choice(tiffs())
    (folder / "mask.tif").write_bytes(tiff_wrong(data, rng) if rng.random() < 0.6 else data)
    asked = rng.choice(
        ("", "", ":1", ":B02>50", ":2=3,8-10", ":1&24", ":>1e400", ":1=99-1", ":-1", ":1&-1")
    )
    if rng.randrange(3) == 0:
        asked = ":" + bytes_wrong(b"B02>50,3-9&4", rng).decode(errors="replace").replace("\0", "")
    return ["in/scene.tif", *IDENTITY, "--mask", f"in/mask.tif{asked}"]


def reference(folder: Path, rng: Random) -> list[str]:
    """Another date of the same ground."""
    (folder / "scene.tif").write_bytes(scene())
    (folder / "model.safetensors").write_bytes(weights())
    cloud = _clouds()
    (folder / "cloud.tif").write_bytes(cloud)
    (folder / "other.tif").write_bytes(tiff_wrong(rng.choice((_other(), _other(), *tiffs())), rng))
    words = ["--model", "in/model.safetensors", "--backend", "torch", "--mask", "in/cloud.tif"]
    return [
        "in/scene.tif",
        *OUT,
        *words,
        "--reference",
        "in/other.tif",
        "--source-date",
        "out/d.tif",
    ]


@functools.cache
def _clouds() -> bytes:
    return _seed(
        lambda p: write_raster(p, (textured_dn(1, *SHAPE, seed=5) > 1800).astype(np.uint8))
    )


@functools.cache
def _other() -> bytes:
    return _seed(lambda p: write_raster(p, textured_dn(4, *SHAPE, seed=7)))


def archive(folder: Path, rng: Random) -> list[str]:
    """An archive: of a scene, or of a product."""
    members = {"a/scene.tif": scene()} if rng.random() < 0.5 else product()
    name = rng.choice(("scene.zip", f"{SAFE}.zip"))
    (folder / name).write_bytes(zip_wrong(members, rng))
    return [f"in/{name}", *IDENTITY]


@functools.cache
def result() -> bytes:
    """A result, without compression."""

    def make(path: Path) -> None:
        from geodecloud.decloud_file import decloud_scene

        src = path.with_name("scene.tif")
        src.write_bytes(scene())
        decloud_scene(src, path.with_name("seed.tif"), model="identity", format="gtiff")
        path.with_name("seed.tif").rename(path)

    return _seed(make)


def tags(folder: Path, rng: Random) -> list[str]:
    """A result that says of itself what is not so, and the commands that read it."""
    (folder / "scene.tif").write_bytes(scene())
    path = folder / "result.tif"
    path.write_bytes(result())
    with rasterio.open(path, "r+") as dst:
        said = dst.tags()
        name = rng.choice([key for key in said if key.startswith("GEODECLOUD_")])
        if name == "GEODECLOUD_PARAMETERS" or rng.random() < 0.4:
            name = rng.choice(("GEODECLOUD_PARAMETERS", "GEODECLOUD_REFERENCES"))
            value = json_text_wrong(json.loads(said["GEODECLOUD_PARAMETERS"]), rng).decode(
                "latin-1"
            )
        else:
            value = rng.choice(TEXTS)
        dst.update_tags(**{name: value.replace("\0", "")})
    if rng.random() < 0.5:
        return ["verify", "in/result.tif", "--source", "in/scene.tif"]
    return ["report", "in/result.tif", "--source", "in/scene.tif", "--html", "out/page.html"]


_OPTIONS = {
    "--bands": "B02,B03,B04,B08",
    "--scale": "0.0001",
    "--offset": "-0.1",
    "--mask": "in/scene.tif:1>3000",
    "--nodata": "0",
    "--window": "16",
    "--halo": "40",
    "--batch-size": "2",
    "--workers": "2",
    "--max-memory": "1GB",
    "--co": "ZLEVEL=6",
    "--format": "cog",
    "--backend": "torch",
    "--device": "cpu",
    "--precision": "fp32",
    "--radiometry": "s2-l2a",
    "--model": "identity",
    "--out": "out/clear.tif",
}


def words(folder: Path, rng: Random) -> list[str]:
    """The command itself."""
    (folder / "scene.tif").write_bytes(scene())
    wrong = words_wrong({k: v for k, v in _OPTIONS.items() if k != "--out"}, rng)
    model = [] if "--model" in wrong else ["--model", "identity"]
    return ["in/scene.tif", *OUT, *model, *wrong]


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        *(geotiff, jp2, safe_xml, stac, vrt, side_xml, geojson, model, checkpoint),
        *(journal, mask, reference, archive, tags, words),
    )
}


def lay(name: str, number: int, folder: Path) -> list[str]:
    """Lay the files of one case into ``in`` below a folder, and give its command; the same each time."""
    for part in ("in", "out", "tmp"):
        (folder / part).mkdir()
    return TARGETS[name](folder / "in", Random(f"{name} {number}"))

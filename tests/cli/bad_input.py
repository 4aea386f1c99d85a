"""What users give that cannot work, and what they are told: the table behind docs/bad-input.md.

Each command runs in a folder of its own that holds ``scene.tif``, four bands of Sentinel-2, and what
`make` lays there. In messages … stands for what differs from system to system.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from bad_files import (
    SAFE,
    Make,
    alpha,
    archive,
    complex_numbers,
    cut_document,
    cut_off,
    empty_band,
    folder,
    geojson,
    link_to_nowhere,
    lose_bands,
    lose_document,
    nothing,
    pipe,
    polygon,
    product,
    raster,
    safetensors,
    text,
    together,
    two_pages,
    vrt,
    without_crs,
)
from conftest import textured_dn

OUT = "--out clear.tif"


@dataclass(frozen=True)
class BadInput:
    """One input that cannot work.

    Attributes
    ----------
    what : is wrong, as a reader says it
    words : the command line after ``geodecloud``; ``DATA`` is the folder of real files
    message : what is told
    code : exit code
    make : lays files into the folder
    """

    what: str
    words: str
    message: str
    make: Make = nothing
    code: int = 1

    @property
    def needs_data(self) -> bool:
        """Whether it is about a real file."""
        return "DATA/" in self.words


def _usage(what: str, words: str, message: str, make: Make = nothing) -> BadInput:
    return BadInput(what, words, message, make, code=2)


_FLOAT = textured_dn(4, 30, 40).astype(np.float32)
_PALETTE = (
    "<ColorInterp>Palette</ColorInterp>"
    '<ColorTable><Entry c1="0" c2="128" c3="0" c4="255"/></ColorTable>'
)
_RUN = f"scene.tif {OUT}"

#: Sections of the page -> what stands in them.
TABLE: dict[str, list[BadInput]] = {
    "Files that are no scene": [
        BadInput("no such file", f"gone.tif {OUT}", "gone.tif does not exist"),
        BadInput(
            "a text file",
            f"notes.tif {OUT}",
            "notes.tif cannot be opened as a raster: …",
            text("notes.tif"),
        ),
        BadInput(
            "an empty file",
            f"empty.tif {OUT}",
            "empty.tif cannot be opened as a raster: …",
            text("empty.tif", ""),
        ),
        BadInput(
            "a download that was cut off",
            f"cut.tif {OUT}",
            "cut.tif cannot be read, it may be cut off or damaged: …",
            cut_off,
        ),
        BadInput(
            "a folder without bands",
            f"photos {OUT}",
            "photos is a folder without bands of a Sentinel-2 product (B02.jp2 and the like). "
            "For a folder of scenes: geodecloud batch photos --out-dir DIR",
            folder("photos"),
        ),
        BadInput(
            "an archive without a raster",
            f"papers.zip {OUT}",
            "papers.zip holds no raster (…): in it there is a.txt",
            archive("papers.zip", "a.txt"),
        ),
        BadInput(
            "an archive of two rasters",
            f"two.zip {OUT}",
            "two.zip holds 2 rasters. Give one of them: … /vsizip/… two.zip/a.tif … two.zip/b.tif",
            archive("two.zip", "a.tif", "b.tif"),
        ),
        BadInput(
            "an archive that is damaged",
            f"broken.zip {OUT}",
            "broken.zip cannot be … as a… archive: …",
            text("broken.zip"),
        ),
        BadInput(
            "an archive with a password",
            f"secret.zip {OUT}",
            "secret.zip is encrypted; unpack it",
            archive("secret.zip", "a.tif", encrypted=True),
        ),
        BadInput(
            "a Zarr store",
            f"cube.zarr {OUT}",
            "cube.zarr is a Zarr store; …",
            text("cube.zarr/.zgroup", '{"zarr_format": 2}'),
        ),
        BadInput(
            "radar",
            f"slc.tif {OUT}",
            "slc.tif holds complex numbers (complex64): radar, not reflectance. Clouds do not show in it",
            complex_numbers,
        ),
        BadInput(
            "bands of different dtypes",
            f"mixed.vrt {OUT}",
            "mixed.vrt mixes dtypes uint16, float32; a GeoTIFF holds one. Convert the bands to one dtype first, "
            "for example with: rio convert --dtype",
            vrt("mixed.vrt", [("UInt16", ""), ("Float32", "")]),
        ),
        BadInput(
            "bands of different nodata numbers",
            f"gaps.vrt {OUT}",
            "gaps.vrt gives its bands different nodata numbers (0.0, 255.0); a GeoTIFF holds one. "
            "Bring them to one first, for example with: gdalwarp -dstnodata 0",
            vrt(
                "gaps.vrt",
                [("Byte", f"<NoDataValue>{n}</NoDataValue>") for n in (0, 255)],
            ),
        ),
        BadInput(
            "a TIFF of several images",
            f"pages.tif {OUT}",
            "pages.tif is a container of several rasters. Give one of them: … GTIFF_DIR:1:pages.tif",
            two_pages,
        ),
        BadInput(
            "a class map with a table of colours",
            f"classes.vrt {OUT} --model s2-10m --bands 1,2,3,4",
            "the scene has a colour table: its pixels are places in a table, not measurements. "
            "Expand it to RGB first, for example with: gdal_translate -expand rgb",
            vrt("classes.vrt", [("Byte", _PALETTE), *[("Byte", "")] * 3]),
        ),
    ],
    "What DN mean": [
        BadInput(
            "numbers nobody explains",
            f"counts.tif {OUT} --model s2-10m --bands 1,2,3,4",
            "nothing says what a int32 DN means in reflectance: … Give them, such as --scale 0.0001 --offset 0",
            raster("counts.tif", textured_dn(4, 30, 40).astype(np.int32), bands=list("abcd")),
        ),
        BadInput("a scale of 0", f"{_RUN} --scale 0", "… has no inverse; give finite numbers"),
        BadInput("a scale of nan", f"{_RUN} --scale nan", "… has no inverse; give finite numbers"),
        _usage("a scale in words", f"{_RUN} --scale big", "'big' is not a valid float"),
        BadInput(
            "an offset and no scale",
            f"half.tif {OUT} --model s2-10m",
            "the scene declares an offset of -1000 and no scale, and no reflectance is off by more than 1: "
            "it may be in DN. Give both, such as --scale 0.0001 --offset -0.1",
            raster("half.tif", offsets=-1000),
        ),
        BadInput(
            "DN taken for reflectance",
            f"{_RUN} --model s2-10m --scale 1",
            "a tenth of the reflectance of … these look like DN (…). Give their scale, such as --scale 0.0001",
        ),
        BadInput(
            "reflectance that is scaled again",
            f"scaled.tif {OUT} --model s2-10m --scale 0.0001 --offset 0",
            "99 % of the reflectance of … they had been scaled already (…). If the values are reflectance, "
            "say so: --radiometry reflectance",
            raster("scaled.tif", _FLOAT * np.float32(1e-4)),
        ),
        _usage(
            "a radiometry nobody knows",
            f"{_RUN} --radiometry spot",
            "'spot' is not one of 's2-l2a', 's2-l2a-0400'",
        ),
        _usage(
            "a nodata number the pixels cannot have",
            f"{_RUN} --nodata 99999",
            "nodata 99999… is no number that uint16 pixels can have (0 to 65535)",
        ),
        _usage(
            "a nodata number without end",
            f"{_RUN} --nodata inf",
            "nodata inf is no number that uint16 pixels can have (0 to 65535)",
        ),
        _usage("a nodata word", f"{_RUN} --nodata gap", "'gap' is neither 'none' nor a number"),
    ],
    "Bands": [
        BadInput(
            "a name no band has",
            f"{_RUN} --bands B02,B03,B04,B99",
            "no band is described as 'B99'; the scene's bands are … Name them by 1-based index instead, "
            "such as --bands 1,2,3,4",
        ),
        BadInput(
            "an index no band has",
            f"{_RUN} --bands 1,2,3,9",
            "band 9 does not exist: the scene has bands 1 to 4",
        ),
        BadInput("an empty list", f"{_RUN} --bands ''", "'' is not a list of bands"),
        BadInput(
            "too few",
            f"{_RUN} --model s2-10m --bands 1,2",
            "model s2-10m takes 4 bands (B02 B03 B04 B08), but 2 were given: 1,2",
        ),
        BadInput(
            "one twice",
            f"{_RUN} --bands 1,2,3,3",
            "band 3 is asked for more than once in 1,2,3,3",
        ),
        BadInput(
            "another than the model takes",
            f"five.tif {OUT} --model s2-10m --bands B02,B03,B04,B05",
            "band B05 was given where model s2-10m takes B08; its bands are B02 B03 B04 B08. "
            "To use a band as another, give its 1-based index",
            raster("five.tif", textured_dn(5, 30, 40), bands=["B02", "B03", "B04", "B08", "B05"]),
        ),
        BadInput(
            "two of one name",
            f"twice.tif {OUT} --bands haze,2,3,4",
            "bands [1, 2] are all described as 'haze'; choose one by its 1-based index",
            raster("twice.tif", bands=["haze", "haze", "red", "nir"]),
        ),
        BadInput(
            "names that fit no model",
            f"two.tif {OUT}",
            "no shipped model fits the scene's bands (…). Models and the bands they need: … s2-10m: B02 B03 B04 B08",
            raster("two.tif", textured_dn(2, 30, 40)),
        ),
        BadInput(
            "a mask for a band",
            f"rgba.tif {OUT} --model s2-10m --bands 1,2,3,4 --scale 0.0001",
            "band 4 is the scene's alpha band, which says where there is data. …",
            alpha,
        ),
    ],
    "Models": [
        BadInput(
            "a name no model has",
            f"{_RUN} --model nope",
            "no model is called 'nope' and no such file exists; shipped models: rgb, s2-10m",
        ),
        BadInput(
            "a file that is none",
            f"{_RUN} --model notes.safetensors",
            "notes.safetensors is not a geodecloud weights file (…)",
            text("notes.safetensors"),
        ),
        BadInput(
            "weights of another program",
            f"{_RUN} --model foreign.safetensors",
            "foreign.safetensors holds tensors but no geodecloud model card: not one of ours",
            safetensors,
        ),
        BadInput(
            "a checkpoint of torch",
            f"{_RUN} --model spa.pth",
            "spa.pth is not a … A published .pth checkpoint is turned into one with: geodecloud models import "
            "CHECKPOINT --out FILE.safetensors",
            text("spa.pth"),
        ),
        BadInput(
            "an import of nothing",
            "models import gone.pth --out rice.safetensors",
            "gone.pth does not exist",
        ),
        BadInput(
            "an import of something else",
            "models import notes.pth --out rice.safetensors",
            "notes.pth is not a torch checkpoint that holds weights and nothing else",
            text("notes.pth"),
        ),
    ],
    "Masks and areas of interest": [
        BadInput(
            "a mask that is not there",
            f"{_RUN} --mask gone.tif",
            "gone.tif does not exist",
        ),
        _usage(
            "a classification the scene has not",
            f"{_RUN} --mask scl",
            "--mask scl needs the scene classification of a Sentinel-2 L2A product, and this scene has none, nor a band of the "
            "name SCL; use --mask auto, or give a raster of your own: --mask FILE",
        ),
        BadInput(
            "a mask of another place",
            f"{_RUN} --mask far.tif",
            "mask far.tif does not overlap the scene: …",
            raster("far.tif", np.ones((1, 5, 5), np.uint8), crs="EPSG:32633"),
        ),
        _usage(
            "a condition without a number",
            f"{_RUN} --mask 'qa.tif:1=cloudy'",
            "the mask 'qa.tif:1=cloudy' ends in no number: 'cloudy'; write it like mask.tif:cloud>50 "
            "or mask.tif:2=3,8-10",
            raster("qa.tif", np.ones((1, 30, 40), np.uint8)),
        ),
        BadInput(
            "an area that is not there",
            f"{_RUN} --aoi gone.gpkg",
            "gone.gpkg cannot be read as a vector file: …",
        ),
        BadInput(
            "an area elsewhere",
            f"{_RUN} --aoi far.geojson",
            "area of interest far.geojson does not overlap the scene: …",
            geojson("far.geojson", polygon(10, 50)),
        ),
        BadInput(
            "a point for an area",
            f"{_RUN} --aoi well.geojson",
            "area of interest well.geojson has no area: it holds Point, no polygon",
            geojson("well.geojson", {"type": "Point", "coordinates": [-70, -33]}),
        ),
        BadInput(
            "a table for an area",
            f"{_RUN} --aoi table.csv",
            "table.csv is a table without geometry, no area of interest",
            text("table.csv", "name,size\nfield,3\n"),
        ),
        BadInput(
            "an area without a CRS",
            f"{_RUN} --aoi field.shp",
            "field.shp has no CRS; the area of interest could be anywhere",
            without_crs,
        ),
        BadInput(
            "an area for a scene without a place",
            f"lost.tif {OUT} --aoi far.geojson",
            "the scene has no georeference, so far.geojson cannot be placed on it",
            together(
                geojson("far.geojson", polygon(10, 50)),
                raster("lost.tif", crs=None, transform=None),
            ),
        ),
    ],
    "Other dates": [
        BadInput(
            "the scene itself",
            f"{_RUN} --reference scene.tif",
            "reference scene.tif is the scene itself; give other dates of its ground",
        ),
        BadInput(
            "one that is not there", f"{_RUN} --reference gone.tif", "gone.tif does not exist"
        ),
        BadInput(
            "one of other ground",
            f"{_RUN} --model s2-10m --reference far.tif",
            "far.tif does not overlap the scene: …",
            raster("far.tif", crs="EPSG:32633"),
        ),
        _usage(
            "a raster about other dates, and none",
            f"{_RUN} --source-date days.tif",
            "source_date is about pixels that other dates filled; give references, too",
        ),
        _usage(
            "expected errors that nothing tells",
            f"{_RUN} --model identity --confidence error.tif",
            "nothing tells the confidence: the card of model identity has no table of expected errors. Leave "
            "confidence out, give references, or a model whose card has one (geodecloud models show NAME)",
        ),
    ],
    "Windows, devices and memory": [
        _usage("a window of 0", f"{_RUN} --window 0", "a window of 0 px cannot work; choose 1 to"),
        _usage("a window too large", f"{_RUN} --window 99999999", "a window of 99999999 px cannot"),
        _usage(
            "a window in words",
            f"{_RUN} --window big",
            "'big' is neither 'auto' nor a whole number",
        ),
        _usage(
            "a halo too small",
            f"{_RUN} --halo 8",
            "a halo of 8 px is less than the 152 px that one pixel of model s2-10m depends on: seams would show. "
            "Use --halo auto or --halo 152",
        ),
        _usage(
            "a halo too large",
            f"{_RUN} --halo 99999",
            "a halo of 99999 px cannot work; use --halo auto",
        ),
        _usage(
            "a negative halo",
            f"{_RUN} --halo -1",
            "a halo of -1 px … --halo auto",
        ),
        _usage("a halo in words", f"{_RUN} --halo wide", "'wide' is neither 'auto' nor a whole"),
        _usage("no windows at once", f"{_RUN} --batch-size 0", "at least 1, not 0"),
        _usage("no threads", f"{_RUN} --workers 0", "0 is not in the range x>=1"),
        BadInput(
            "a GPU that is not there",
            f"{_RUN} --device cuda:99",
            "device 'cuda:99' was asked for, but this machine has … CUDA devices; use --device auto or --device cpu",
        ),
        BadInput(
            "a device nobody knows",
            f"{_RUN} --device toaster",
            "device 'toaster' is unknown; use auto, cpu, cuda, cuda:N or mps",
        ),
        _usage("a precision nobody knows", f"{_RUN} --precision fp8", "'fp8' is not one of"),
        _usage("a backend nobody knows", f"{_RUN} --backend tpu", "'tpu' is not one of"),
        _usage(
            "memory in words",
            f"{_RUN} --max-memory lots",
            "'lots' is no amount of memory; write one like --max-memory 4GB",
        ),
        _usage(
            "too little memory",
            f"{_RUN} --max-memory 1MB",
            "a limit of 0.00 GB is too low for this scene and model: about … GB is the least. Give --max-memory …",
        ),
        _usage(
            "a scheduler without an address",
            f"{_RUN} --scheduler 8786",
            "scheduler '8786' is neither 'threads' nor an address such as tcp://10.0.0.1:8786",
        ),
    ],
    "Targets": [
        _usage("no target", "scene.tif", "Missing option '-o' / '--out'"),
        BadInput(
            "a pipe",
            "scene.tif --out pipe --model identity --overwrite",
            "pipe is a pipe; name the file to write; it is not replaced",
            pipe,
        ),
        BadInput(
            "a link to nowhere",
            "scene.tif --out link.tif --model identity",
            "link.tif is a link to …/no/such.tif, and the folder …/no does not exist; make it first",
            link_to_nowhere,
        ),
        BadInput(
            "a target that exists",
            f"{_RUN} --model identity",
            "clear.tif exists; give --overwrite to replace it",
            text("clear.tif"),
        ),
        BadInput(
            "the scene itself",
            "scene.tif --out scene.tif --overwrite",
            "scene.tif is named twice; inputs and outputs must all differ",
        ),
        BadInput(
            "one target twice",
            f"{_RUN} --cloud-map clear.tif --overwrite",
            "clear.tif is named twice; inputs and outputs must all differ",
        ),
        BadInput(
            "a folder that is not there",
            "scene.tif --out no/clear.tif --model identity",
            "the folder no of clear.tif does not exist; make it first",
        ),
        BadInput(
            "a folder for a file",
            "scene.tif --out results --model identity",
            "results is a folder; name the file to write, such as results/clear.tif",
            folder("results"),
        ),
        BadInput(
            "a file for a folder of bands",
            "scene.tif --out bands --layout bands --model identity",
            "bands is a file; --layout bands needs a folder to write to",
            text("bands"),
        ),
        BadInput(
            "the standard output",
            "scene.tif --out - --model identity",
            "- stands for the standard output, and what is written here are files; name one, such as clear.tif",
        ),
        BadInput(
            "another kind of file",
            "scene.tif --out clear.png --model identity",
            "clear.png is to be a GeoTIFF; end its name in .tif",
        ),
        BadInput(
            "an address that takes no files",
            "scene.tif --out https://example.com/clear.tif --model identity",
            "https://example.com/clear.tif cannot be written to; outputs are local files or objects of a store (s3://",
        ),
        _usage(
            "single bands to an address",
            "scene.tif --out s3://bucket/bands --layout bands --model identity",
            "--layout bands writes a local folder, and s3://bucket/bands is an address",
        ),
        _usage(
            "a STAC Item of a scene without a date",
            f"{_RUN} --stac --model identity",
            "a STAC Item says when a scene was taken, and scene.tif does not; leave --stac out",
        ),
        _usage("half a creation option", f"{_RUN} --co COMPRESS", "'COMPRESS' is not KEY=VALUE"),
        _usage(
            "a creation option GDAL does not take",
            f"{_RUN} --co COMPRESS=SQUEEZE --model identity",
            "creation options COMPRESS=SQUEEZE: …",
        ),
        _usage("another format", f"{_RUN} --format png", "'png' is not one of 'cog', 'gtiff'"),
        _usage("an option nobody knows", f"{_RUN} --colour red", "No such option"),
    ],
    "Sentinel-2 products": [
        BadInput(
            "no product metadata",
            f"{SAFE} {OUT}",
            f"{SAFE} has lost its product metadata (MTD_MSIL1C.xml or MTD_MSIL2A.xml…), which says how DN are to be "
            "read. Download it again, or say it: --s2-offset -1000 (baseline 04.00 and later) or --s2-offset none",
            product(lose_document),
        ),
        BadInput(
            "metadata that is cut off",
            f"{SAFE} {OUT}",
            f"{SAFE}: MTD_MSIL2A.xml cannot be read as XML: …",
            product(cut_document),
        ),
        BadInput(
            "a band of 0 bytes",
            f"{SAFE} {OUT}",
            "B04_10m.jp2 is empty (0 bytes); download the product again",
            product(empty_band),
        ),
        BadInput(
            "no bands at all",
            f"{SAFE} {OUT}",
            f"{SAFE} holds no band files (B02.jp2 and the like)",
            product(lose_bands),
        ),
        BadInput(
            "a resolution it has not",
            f"{SAFE} {OUT} --resolution 60",
            f"{SAFE} holds no band at 60 m, only at 10 m",
            product(),
        ),
        _usage(
            "an option of products for a raster",
            f"{_RUN} --resolution 20",
            "--resolution 20 is for Sentinel-2 products, and scene.tif is a raster file; for its DN there are "
            "--scale 0.0001 and --offset 0",
        ),
        _usage(
            "an offset in words", f"{_RUN} --s2-offset some", "'some' is neither 'auto', 'none' nor"
        ),
    ],
    "Batches": [
        BadInput(
            "a folder that is not there",
            "batch gone --out-dir clear",
            "gone does not exist",
        ),
        BadInput(
            "a folder without scenes",
            "batch photos --out-dir clear",
            "photos holds no scene or product. Looked for: … there is: 1 .jpeg",
            text("photos/a.jpeg"),
        ),
        BadInput(
            "a pattern that fits none",
            "batch in --out-dir clear --pattern 'S2A_*'",
            "in holds no scene or product whose name fits 'S2A_*'. …",
            raster("in/a.tif"),
        ),
        _usage(
            "results among the scenes",
            "batch in --out-dir in",
            "in holds the scenes; give another folder for the results",
            raster("in/a.tif"),
        ),
        _usage(
            "other dates in words",
            "batch in --out-dir clear --references all",
            "references of a batch are 'auto', 'none', or a number up to …, not 'all'",
            raster("in/a.tif"),
        ),
        BadInput(
            "one bad scene among good ones",
            "batch in --out-dir clear --model identity --references none",
            "notes.tif: failed in/notes.tif cannot be opened as a raster: …",
            together(raster("in/a.tif"), text("in/notes.tif")),
        ),
        BadInput(
            "files of others in the folder of results",
            "batch in --out-dir clear --model identity",
            "clear/a_decloud.tif exists and is not of this batch; to replace it: --overwrite",
            together(raster("in/a.tif"), text("clear/a_decloud.tif")),
        ),
    ],
    "Simulation": [
        _usage(
            "a sky nobody knows",
            "simulate scene.tif --out pairs --sky purple",
            "there is no sky 'purple'; known: ",
        ),
        BadInput(
            "bands without wavelengths",
            "simulate plain.tif --out pairs",
            "no band of plain.tif has a known wavelength: … Name the bands B01 to B12",
            raster("plain.tif", textured_dn(2, 30, 40)),
        ),
    ],
    "Real files": [
        BadInput(
            f"`{name}`: {what}",
            f"DATA/conformance/{name} {OUT} --model identity",
            f"{name.rpartition('/')[2]} {message}",
        )
        for name, what, message in [
            (
                "rasterio/corrupt.tif",
                "damaged blocks",
                "cannot be read, it may be cut off or damaged: …",
            ),
            ("rio-cogeo/slc.tif", "radar", "holds complex numbers (…): radar, not reflectance."),
            ("rioxarray/cint16.tif", "radar in integers", "holds complex numbers (…): radar"),
            (
                "rioxarray/PLANET_SCOPE_3D.nc",
                "a container of variables",
                "is a container of several rasters. Give one of them: …",
            ),
            (
                "rioxarray/sentinel_2_L1C_geographic.nc",
                "a container of variables",
                "is a container of several rasters. Give one of them: …",
            ),
        ]
    ],
}

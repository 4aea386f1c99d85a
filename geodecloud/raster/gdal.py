"""GDAL as this package uses it: the settings its results depend on, and its errors.

GDAL's settings come from the environment, from a ``gdalrc`` file or from a caller's `rasterio.Env`, and many who
work with data in the cloud set some for all they do. `gdal_settings` is around everything here that opens, reads or writes a
raster, in the thread that does it, and pins those that pixels, masks, places or metadata depend on. Credentials,
proxies, timeouts, caches and all others of the network are left as they are, but for files on disk, see `is_shut`.
"""

from __future__ import annotations

import functools
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
from rasterio._env import del_gdal_config
from rasterio._err import CPLE_BaseError
from rasterio.env import get_gdal_config, hasenv, set_gdal_config
from rasterio.errors import RasterioError
from rasterio.session import DummySession

from geodecloud.errors import SceneIOError

# `del_gdal_config` is private in rasterio 1.4: `set_gdal_config` with None makes a setting of None
#: What GDAL's failures are raised as. Those of `rasterio.shutil` come as GDAL's own classes, which rasterio
#: 1.4 has in a private module only (tests/raster/test_gdal.py looks whether that still holds).
#: Names and tags that are no UTF-8 rasterio cannot decode.
GDAL_ERRORS = (RasterioError, CPLE_BaseError, UnicodeDecodeError)

_OURS: dict[str, str] = {
    # 3.10 decodes the blocks of a JPEG 2000 file on threads of its own and loses their errors: a file that is
    # cut off reads as zeros. On one thread it says so; the threads here are ours
    "GDAL_NUM_THREADS": "1",
    # masks are written into the file
    "GDAL_TIFF_INTERNAL_MASK": "YES",
}
#: GDAL's defaults of what results depend on, put in place of what else is set.
_DEFAULTS: dict[str, str] = {
    # tags, places and classes that a GeoTIFF cannot hold are in a file beside it
    "GDAL_PAM_ENABLED": "YES",
    "GDAL_PAM_MODE": "PAM",
    "ESRI_XML_PAM": "NO",
    # what is damaged is told, not read as zeros
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    # where a raster lies, and in which CRS
    "GDAL_GEOREF_SOURCES": "PAM,INTERNAL,TABFILE,WORLDFILE,XML",
    "GTIFF_POINT_GEO_IGNORE": "NO",
    "GTIFF_HONOUR_NEGATIVE_SCALEY": "NO",
    "GTIFF_IMPORT_FROM_EPSG": "YES",
    "GTIFF_REPORT_COMPD_CS": "YES",
    "GTIFF_SRS_SOURCE": "EPSG",
    "GTIFF_LINEAR_UNITS": "DEFAULT",
    "GTIFF_ESRI_CITATION": "YES",
    "GTIFF_WRITE_TOWGS84": "AUTO",
    "GTIFF_READ_ANGULAR_PARAMS_IN_DEGREE": "NO",
    "GTIFF_WRITE_ANGULAR_PARAMS_IN_DEGREE": "NO",
    "GDAL_IGNORE_AXIS_ORIENTATION": "NO",
    "GDAL_JP2K_ALT_OFFSETVECTOR_ORDER": "NO",
    "GDAL_USE_GEOJP2": "YES",
    "GDAL_USE_GMLJP2": "YES",
    "OSR_USE_NON_DEPRECATED": "YES",
    "OSR_ADD_TOWGS84_ON_IMPORT_FROM_EPSG": "NO",
    "OSR_ADD_TOWGS84_ON_EXPORT_TO_WKT1": "NO",
    "OSR_STRIP_TOWGS84": "YES",
    "OSR_DEFAULT_AXIS_MAPPING_STRATEGY": "AUTHORITY_COMPLIANT",
    "OSR_USE_APPROX_TMERC": "NO",
    "OSR_USE_ETMERC": "YES",
    "OSR_WKT_FORMAT": "DEFAULT",
    # masks on other grids
    "OGR_CT_FORCE_TRADITIONAL_GIS_ORDER": "NO",
    # pixels as they are
    "GTIFF_FORCE_RGBA": "NO",
    "CONVERT_YCBCR_TO_RGB": "YES",
    "GDAL_JPEG_TO_RGB": "YES",
    "JPEG_READ_MASK": "YES",
    "JP2OPENJPEG_PROMOTE_1BIT_ALPHA_AS_8BIT": "YES",
    "GDAL_RASTERIO_RESAMPLING": "NEAR",
    # what is written: masks, overviews (those of a COG: raster/staging.py), byte order
    "GDAL_TIFF_INTERNAL_MASK_TO_8BIT": "YES",
    "GDAL_TIFF_ENDIANNESS": "NATIVE",
    "GTIFF_DONT_WRITE_BLOCKS": "NO",
    "GTIFF_WRITE_IMAGE_STRUCTURE_METADATA": "YES",
    "GDAL_OVR_PROPAGATE_NODATA": "NO",
    "PREDICTOR_OVERVIEW": "1",
    "PHOTOMETRIC_OVERVIEW": "MINISBLACK",
    "INTERLEAVE_OVERVIEW": "PIXEL",
    "SPARSE_OK_OVERVIEW": "NO",
    "COG_TMP_COMPRESSION": "LZW",
    "COG_DELETE_TEMP_FILES": "YES",
    "GDAL_DEFAULT_CREATE_COPY": "NO",
    "TIFF_READ_STREAMING": "NO",
    "TIFF_USE_OVR": "NO",
    "USE_RRD": "NO",
    # a creation option that is misspelt is told
    "GDAL_VALIDATE_CREATION_OPTIONS": "YES",
}
#: What keeps GDAL from all hosts: no file of a host has this name, and no proxy can listen on port 0.
SHUT: dict[str, str] = {
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    "GDAL_HTTP_PROXY": "127.0.0.1:0",
    "GDAL_HTTPS_PROXY": "127.0.0.1:0",
}
#: No setting of GDAL's: whether files on disk may lead to other hosts.
ALLOW_REMOTE = "GEODECLOUD_ALLOW_REMOTE"
_LISTING = "GDAL_DISABLE_READDIR_ON_OPEN"
#: No setting of GDAL's: what the user has asked for, for settings within settings.
_ASKED = "GEODECLOUD_READDIR_ASKED"
#: An address, and GDAL's own forms of one: all of its virtual files but those that lie on disk or in memory.
_HOST = re.compile(
    r"://|/vsi(?!(?:zip|gzip|tar|7z|rar|mem|subfile|sparse|crypt|cached|stdin|stdout)\b)\w+/"
)
#: Formats that results are read and made with.
_DRIVERS = ("GTiff", "COG", "VRT", "MEM")
#: Where GDAL puts temporary files, such as overviews in the making.
SCRATCH = "CPL_TMPDIR"
#: What holds in this thread.
_here = threading.local()


@contextmanager
def gdal_settings(
    path: str | Path = "",
    where_set: Mapping[str, str] | None = None,
    shut: bool = False,
    **more: str | int,
) -> Iterator[None]:
    """Pin GDAL's settings in this thread; afterwards they are what they were.

    Parameters
    ----------
    path : what is opened within, where it is one raster
    where_set : values to put in place of others, where a setting is made at all
    shut : keep GDAL from the network, see `is_shut`
    **more : further settings

    Notes
    -----
    rasterio makes those of the main thread the process's and those of other threads their own, so that this is
    needed in each thread.
    """
    asked = _current(_ASKED) or _current(_LISTING) or "NO"
    listing = _listing(path, asked)
    outer: tuple[str, bool] | None = getattr(_here, "holds", None)
    shut = shut or (outer is not None and outer[1])
    if outer == (listing, shut) and not (where_set or more):  # they hold in this thread already
        yield
        return
    ours: dict[str, str | int] = {**_OURS, _ASKED: asked, _LISTING: listing, **more}
    if shut:
        ours |= SHUT
    replaced = {**_DEFAULTS, **(where_set or {})}
    ours |= {name: value for name, value in replaced.items() if _current(name) is not None}
    folder = _current(SCRATCH)
    if folder is not None and not os.access(folder, os.W_OK | os.X_OK):
        ours[SCRATCH] = tempfile.gettempdir()
    # rasterio gives back what was set before its first Env of a thread, and within it only what itself has set
    before = {name: _current(name) for name in ours} if hasenv() else {}
    try:
        # the session: rasterio would look for credentials each time, and opening a file does so anyway
        with rasterio.Env.from_defaults(session=DummySession(), **ours):
            _here.holds = listing, shut
            yield
    finally:
        _here.holds = outer
        for name in ours:
            _give_back(name, before.get(name, _current(name)))


@functools.cache
def check_drivers() -> None:
    """See early that GDAL has what results are made with; ``GDAL_SKIP`` takes drivers away when a process starts.

    Raises
    ------
    SceneIOError
        If it lacks one.
    """
    with rasterio.Env() as env:
        lacking = [name for name in _DRIVERS if name not in env.drivers()]
    if lacking:
        raise SceneIOError(
            f"GDAL has no driver {lacking[0]}, and cannot read or write scenes without it; is the environment "
            "variable GDAL_SKIP set? Unset it"
        )


def is_shut(path: str | Path) -> bool:
    """Whether what a path leads to is read without the network: a file on disk, which somebody else may have made.

    A VRT, a description of a web service or a STAC Item on disk can name any host. Who has written the path
    itself as an address, or set ``GEODECLOUD_ALLOW_REMOTE=YES``, has asked for it.
    """
    allowed = str(_current(ALLOW_REMOTE) or "").upper() in ("YES", "TRUE", "ON", "1")
    return not (allowed or _HOST.search(str(path).removeprefix("vrt://").removeprefix("file://")))


def scratch_folder() -> Path | None:
    """Where GDAL is to put temporary files, if somebody has said so and it can be written to."""
    folder = _current(SCRATCH)
    if folder is None or not os.access(folder, os.W_OK | os.X_OK):
        return None
    return Path(folder)


def _give_back(name: str, value: Any) -> None:
    """Let a setting be what it was: one of the environment is there once ours is gone."""
    if value is None or value == os.environ.get(name):
        del_gdal_config(name)  # after an Env rasterio would keep a variable's value for good
    elif _current(name) != value:
        set_gdal_config(name, value, normalize=False)


def _current(name: str) -> Any:
    """The setting as it stands, from wherever; None: there is none."""
    return get_gdal_config(name, normalize=False)


def _listing(path: str | Path, asked: str) -> str:
    """How files beside a raster are found: in the list of its folder, or by asking for their names.

    With EMPTY_DIR they would not be found at all. A list is expensive in a store; who has turned it off gets the
    second there.
    """
    may_be_remote = "://" in str(path) or str(path).startswith("/vsi") or _is_vrt(path)
    turned_off = asked.upper() not in ("NO", "FALSE", "OFF", "0")
    return "TRUE" if turned_off and may_be_remote else "NO"


def _is_vrt(path: str | Path) -> bool:
    return str(path).lower().endswith(".vrt")

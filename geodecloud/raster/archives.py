"""Rasters in archives, read by GDAL where they lie: ``.zip``, ``.tar``, ``.tgz``, ``.tif.gz``."""

from __future__ import annotations

import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from geodecloud.errors import SceneError, SceneIOError

#: Files that may be scenes.
RASTERS = (".tif", ".tiff", ".jp2", ".vrt", ".img")
#: Archives that GDAL reads in place, and those it does not.
ARCHIVES = (".zip", ".tar", ".tgz", ".gz")
_UNREAD = (".7z", ".rar", ".bz2", ".xz", ".zst")

#: What to do with a store of Zarr, which is opened by xarray.
HOW_WITH_ZARR = (
    "open it with xarray and give that to geodecloud.remove_clouds; docs/xarray.md says how, for "
    "ESA's EOPF products, too"
)


def is_archive(path: str | Path) -> bool:
    """Whether a file is an archive by its name, one that can be read in place."""
    return Path(path).suffix.lower() in ARCHIVES and os.path.isfile(path)


def raster_path(path: str | Path) -> str:
    """What GDAL opens for a path: the only raster of an archive; else the path itself.

    Raises
    ------
    SceneError
        If an archive holds no raster, or several, or is of a kind GDAL does not read.
    SceneIOError
        If it is damaged, or its name is no text.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # of an old file system; GDAL takes UTF-8
        raise SceneIOError(
            f"the name {str(path)!r} is no UTF-8, and cannot be opened; rename it"
        ) from error
    if Path(path).suffix.lower() in _UNREAD and os.path.isfile(path):
        raise SceneError(f"{path} is an archive that cannot be read in place; unpack it")
    if not is_archive(path):
        return str(path)
    rasters = rasters_in(path)
    if len(rasters) == 1:
        return rasters[0]
    names = member_names(path)
    if any(".SAFE/" in name for name in names):
        raise SceneError(
            f"{path} holds a Sentinel-2 product, and products are read from folders and .zip; unpack it"
        )
    if rasters:
        inside = "\n".join(f"  {raster}" for raster in rasters)
        raise SceneError(f"{path} holds {len(rasters)} rasters. Give one of them:\n{inside}")
    if any(PurePosixPath(name).name in (".zgroup", "zarr.json") for name in names):
        raise SceneError(f"{path} holds a Zarr store; unpack it, and {HOW_WITH_ZARR}")
    some = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
    raise SceneError(
        f"{path} holds no raster ({' '.join(RASTERS)}): in it there is {some or 'nothing'}"
    )


def rasters_in(archive: str | Path) -> list[str]:
    """GDAL's names of the rasters in an archive, sorted.

    Raises
    ------
    SceneIOError
        If it is damaged.
    SceneError
        If it is encrypted.
    """
    place, suffix = os.path.abspath(archive), Path(archive).suffix.lower()
    if _is_one_file(archive):
        inner = Path(archive).with_suffix("").suffix.lower()
        return [f"/vsigzip/{place}"] if inner in RASTERS else []
    prefix = "/vsizip/" if suffix == ".zip" else "/vsitar/"
    return [
        f"{prefix}{place}/{name}"
        for name in sorted(member_names(archive))
        if PurePosixPath(name).suffix.lower() in RASTERS
    ]


def member_names(archive: str | Path) -> list[str]:
    """Names of the files in an archive, without those systems leave there.

    Raises
    ------
    SceneIOError
        If it is damaged.
    SceneError
        If it is encrypted, or a name points out of it.
    """
    if _is_one_file(archive):
        return [Path(archive).stem]
    try:
        if Path(archive).suffix.lower() == ".zip":
            with zipfile.ZipFile(archive) as opened:
                encrypted = any(entry.flag_bits & 1 for entry in opened.infolist())
                names = opened.namelist()
        else:
            encrypted = False
            with tarfile.open(archive) as tar:
                names = [member.name for member in tar if member.isfile()]
    except (
        *(zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, zlib.error),
        *(ValueError, NotImplementedError),  # names in another code than they say, a newer version
    ) as error:
        raise SceneIOError(f"{archive} cannot be opened as an archive: {error}") from error
    if encrypted:
        raise SceneError(f"{archive} is encrypted; unpack it")
    check_names(archive, names)
    return [
        name
        for name in names
        if not name.endswith("/") and not name.startswith("__MACOSX/") and "/._" not in f"/{name}"
    ]


def check_names(archive: str | Path, names: Iterable[str]) -> None:
    """See that all files of an archive lie in it.

    Raises
    ------
    SceneError
        If a name points out of the archive: whoever made it meant harm.
    """
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name):
            raise SceneError(
                f"{archive} holds a file named {name!r}, which points out of the archive; it is not as a "
                "provider of satellite scenes makes them, and is not read"
            )


def _is_one_file(archive: str | Path) -> bool:
    """Whether it is one compressed file, ``scene.tif.gz``, and not ``scenes.tar.gz``."""
    path = Path(archive)
    return path.suffix.lower() == ".gz" and path.with_suffix("").suffix.lower() != ".tar"


def is_zarr(path: str | Path) -> bool:
    """Whether a folder is a Zarr store."""
    marks = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
    return os.path.isdir(path) and (
        Path(path).suffix.lower() == ".zarr"
        or any(os.path.isfile(os.path.join(path, mark)) for mark in marks)
    )


def is_eopf(path: str | Path) -> bool:
    """Whether a Zarr store is a product of ESA's new format, EOPF."""
    return is_zarr(path) and os.path.isdir(os.path.join(path, "measurements"))

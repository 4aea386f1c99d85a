"""Object stores as targets, with GDAL's own drivers: ``s3://bucket/key.tif`` and its relatives.

An object is written under a temporary name, looked at, copied to its name by the store itself,
and the temporary one deleted: its name never holds half of it.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import rasterio
import rasterio.shutil
from rasterio.errors import RasterioError

from geodecloud.errors import SceneIOError
from geodecloud.raster.gdal import GDAL_ERRORS, gdal_settings
from geodecloud.raster.temporaries import part_folder

#: Stores GDAL can write to. S3 is what the tests run against; the others share GDAL's code.
_WRITABLE = ("s3", "gs", "az", "oss")
_PREFIXES = (*(f"{name}://" for name in _WRITABLE), *(f"/vsi{name}/" for name in _WRITABLE))


def check_address(address: str) -> None:
    """Refuse early what would fail late: write a small object beside the target and delete it.

    Raises
    ------
    SceneIOError
        If the store cannot be written to, or refuses.
    """
    if not address.startswith(_PREFIXES):
        raise SceneIOError(
            f"{address} cannot be written to; outputs are local files or objects of a store "
            f"({', '.join(f'{name}://' for name in _WRITABLE)})"
        )
    probe = _beside(address)
    with _about(address), part_folder(Path(tempfile.gettempdir(), "small.tif")) as folder:
        small = folder / "small.tif"
        # a raster, because GDAL deletes nothing else
        with rasterio.open(small, "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8"):
            pass
        try:
            rasterio.shutil.copyfiles(str(small), probe)
            with (
                gdal_settings(address),
                rasterio.open(probe),
            ):  # some refusals GDAL puts into its log only
                pass
        finally:
            _delete(probe)


def exists(address: str) -> bool:
    """Whether there is a raster at an address already."""
    try:
        with gdal_settings(address), rasterio.open(address):
            return True
    except RasterioError:
        return False


def put(local: Path, address: str) -> None:
    """Upload a raster; the address holds all of it or what it held before.

    Raises
    ------
    SceneIOError
        If the store refuses, or the object is not what was sent.
    """
    temporary = _beside(address)
    with _about(address):
        try:
            rasterio.shutil.copyfiles(str(local), temporary)
            with (
                gdal_settings(address),
                rasterio.open(local) as sent,
                rasterio.open(temporary) as kept,
            ):
                if sent.profile != kept.profile:
                    raise SceneIOError(f"{address} did not arrive as it was sent; try again")
            rasterio.shutil.copyfiles(temporary, address)
        finally:
            _delete(temporary)


def _beside(address: str) -> str:
    folder, _, name = address.rpartition("/")
    return f"{folder}/.{name}.{secrets.token_hex(4)}.part.tif"


def _delete(address: str) -> None:
    with suppress(*GDAL_ERRORS):  # it may never have come to be
        rasterio.shutil.delete(address)


@contextmanager
def _about(address: str) -> Iterator[None]:
    """GDAL's errors within are about this address; one sentence, with where to look."""
    try:
        with gdal_settings():  # side files go with the raster
            yield
    except GDAL_ERRORS as error:
        raise SceneIOError(
            f"{address} cannot be written: {error}. Does the bucket exist, and do the credentials "
            "(for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile) let you write?"
        ) from error

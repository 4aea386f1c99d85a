"""A raster file as a scene."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from geodecloud.raster.archives import is_archive, raster_path
from geodecloud.raster.reader import (
    open_array,
    open_file_mask,
    open_raster,
    read_metadata_and_files,
    read_sample,
)
from geodecloud.scene.address import without_query
from geodecloud.scene.grid import Grid
from geodecloud.scene.metadata import Metadata

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

#: Tags that say when a scene was acquired, the surest first.
_DATE_TAGS = ("sensing_time", "date", "datetime", "acquisition_date", "date_acquired")
_DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)")


@dataclass(frozen=True)
class RasterFile:
    """A raster that GDAL opens by its name, as it was when it was looked at.

    Attributes
    ----------
    path : what GDAL opens
    name : the file's name
    files : the files on disk that are read: itself or the archive it lies in, and for a VRT those it is made of
    metadata : everything the file says besides its pixels
    band_names : for files of single bands: the file's name with those of its bands, or their numbers
    facts : a raster file has no documents
    """

    path: str
    name: str
    files: list[str]
    metadata: Metadata
    band_names: list[str]
    facts: None = None

    @classmethod
    def at(cls, path: str) -> RasterFile:
        """The raster at a path, also the only one of an archive.

        Raises
        ------
        SceneIOError, SceneError
            If it cannot be opened, or is nothing that can be worked with.
        """
        inside = raster_path(path)
        metadata, files = read_metadata_and_files(inside)
        name = name_of(inside)
        bands = enumerate(metadata.descriptions, start=1)
        band_names = [f"{Path(name).stem}_{band or number}" for number, band in bands]
        return cls(inside, name, [path] if is_archive(path) else files, metadata, band_names)

    @property
    def grid(self) -> Grid:
        """Where it lies."""
        return self.metadata.grid

    @property
    def band_places(self) -> list[tuple[str, int]]:
        """The bands of this file."""
        return [(self.path, index) for index in range(1, self.metadata.count + 1)]

    @property
    def date(self) -> datetime.date | None:
        """The day it was acquired, by its tags or its name."""
        tags = {key.lower(): value for key, value in self.metadata.tags.get("", {}).items()}
        said = (tags.get(key, "") for key in _DATE_TAGS)
        return next((day for text in (*said, self.name) if (day := _day_in(text))), None)

    def open(self, side: int | None = None) -> xr.DataArray:
        """The scene, lazily."""
        return open_array(self.path, self.metadata, side)

    def file_mask(self, side: int) -> da.Array | None:
        """The file's own mask."""
        return open_file_mask(self.path, self.metadata, side)

    def sample(self) -> NDArray[Any]:
        """Some of its pixels, without those its mask leaves out."""
        return read_sample(self.path)

    def describe(self) -> dict[str, Any]:
        """GDAL's driver."""
        with open_raster(self.path) as src:
            return {"driver": src.driver}


def name_of(path: str) -> str:
    """A raster's name, of what GDAL opens."""
    name = Path(without_query(path)).name
    return name[:-3] if path.startswith("/vsigzip/") else name  # scene.tif.gz


def _day_in(text: str) -> datetime.date | None:
    """The first day in a text, such as 2019-07-31 or 20190731; None: there is none."""
    for found in _DAY.finditer(text.replace("T", " ")):
        try:
            return datetime.date(int(found[1]), int(found[3]), int(found[4]))
        except ValueError:  # the 31st of a shorter month
            continue
    return None

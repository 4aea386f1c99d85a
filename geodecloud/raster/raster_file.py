"""A raster file as a scene."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from geodecloud.raster.archives import is_archive, raster_path
from geodecloud.raster.reader import (
    open_array,
    open_file_mask,
    open_raster,
    read_metadata,
    read_sample,
    source_files,
)
from geodecloud.scene.address import without_query
from geodecloud.scene.metadata import Metadata

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

#: Tags that say when a scene was acquired, the surest first.
_DATE_TAGS = ("sensing_time", "date", "datetime", "acquisition_date", "date_acquired")
_DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)")


@dataclass(frozen=True)
class RasterFile:
    """A raster that GDAL opens by its name.

    Attributes
    ----------
    path : what GDAL opens
    archive : the file on disk that it lies in, ``scene.zip``; None: it lies in none
    """

    path: str
    archive: str | None = None

    @classmethod
    def at(cls, path: str) -> RasterFile:
        """The raster at a path, also the only one of an archive."""
        inside = raster_path(path)
        return cls(inside, path) if is_archive(path) else cls(inside)

    @property
    def name(self) -> str:
        """The file's name."""
        name = Path(without_query(self.path)).name
        return name[:-3] if self.path.startswith("/vsigzip/") else name  # scene.tif.gz

    @property
    def files(self) -> list[str]:
        """The file, and for a VRT those it is made of."""
        return source_files(self.path) if self.archive is None else [self.archive]

    @property
    def band_places(self) -> list[tuple[str, int]]:
        """The bands of this file."""
        return [(self.path, index) for index in range(1, self.metadata.count + 1)]

    @cached_property
    def metadata(self) -> Metadata:
        """Everything the file says besides its pixels."""
        return read_metadata(self.path)

    @property
    def facts(self) -> None:
        """A raster file has no documents."""

    @property
    def date(self) -> datetime.date | None:
        """The day it was acquired, by its tags or its name."""
        tags = {key.lower(): value for key, value in self.metadata.tags.get("", {}).items()}
        said = (tags.get(key, "") for key in _DATE_TAGS)
        return next((day for text in (*said, self.name) if (day := _day_in(text))), None)

    @property
    def band_names(self) -> list[str]:
        """The file's name with those of its bands, or their numbers."""
        stem = Path(self.name).stem
        names = self.metadata.descriptions
        return [f"{stem}_{name or number}" for number, name in enumerate(names, start=1)]

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


def _day_in(text: str) -> datetime.date | None:
    """The first day in a text, such as 2019-07-31 or 20190731; None: there is none."""
    for found in _DAY.finditer(text.replace("T", " ")):
        try:
            return datetime.date(int(found[1]), int(found[3]), int(found[4]))
        except ValueError:  # the 31st of a shorter month
            continue
    return None

"""References named by path: files and products of other dates of the same ground."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from geodecloud.errors import OptionError, SceneError
from geodecloud.options import FileOptions
from geodecloud.restore.other_dates import Reference
from geodecloud.restore.references import MAX_REFERENCES
from geodecloud.source import Source, open_source

#: Files of a folder that may be other dates.
_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt", ".zip", ".safe")


@dataclass(frozen=True)
class ReferenceFile:
    """Another date of the same ground, on disk.

    Attributes
    ----------
    source : where it is
    clear_map : raster on its grid, not 0 where it shows ground; None: that is not known yet
    """

    source: Source
    clear_map: Path | None = None

    @property
    def date(self) -> datetime.date | None:
        """The day of acquisition, where anything says so."""
        return self.source.date

    def open(self, chunk_px: int | None = None) -> Reference:
        """The reference, lazily; some pixels are read of floats that declare a scale, which may have been applied."""
        said = self.source.metadata
        is_scaled = set(said.scales) != {1.0} or set(said.offsets) != {0.0}
        sample = self.source.sample() if is_scaled and said.dtypes[0].startswith("float") else None
        clear = None if self.clear_map is None else open_source(self.clear_map).open(chunk_px)
        return Reference(self.source.open(chunk_px), self.source.path, self.date, sample, clear)


def open_references(
    scene: Source, asked: FileOptions, clear_maps: Mapping[str, Path] | None = None
) -> list[ReferenceFile]:
    """Find the references that are asked for; nothing is read of their pixels.

    Parameters
    ----------
    clear_maps : rasters that say where some of them show ground, by their paths

    Raises
    ------
    OptionError
        If they are no paths, or too many.
    SceneError, SceneIOError
        If one cannot be read, or is the scene itself.
    """
    named = asked.references
    if named is None:
        return []
    if isinstance(named, str) or not all(isinstance(one, str | Path) for one in named):
        raise OptionError(f"references of a file are paths of other dates, not {named!r}")
    found = [
        ReferenceFile(source, (clear_maps or {}).get(str(path)))
        for path in named
        for source in _sources(str(path))
    ]
    if len(found) > MAX_REFERENCES:
        raise OptionError(
            f"{len(found)} references are more than can be fitted at once; give the {MAX_REFERENCES} that are "
            "nearest in time and clearest"
        )
    own = {os.path.realpath(file) for file in scene.files}
    for reference in found:
        if own & {os.path.realpath(file) for file in reference.source.files}:
            raise SceneError(
                f"reference {reference.source.path} is the scene itself; give other dates of its ground"
            )
    return found


def _sources(path: str) -> Iterator[Source]:
    """The sources at a path: itself, or what a folder of scenes holds."""
    folder = Path(path)
    try:
        source = open_source(path)
    except SceneError:
        inside = [] if not folder.is_dir() else sorted(folder.iterdir())
        children = [child for child in inside if child.suffix.lower() in _SUFFIXES]
        if not children:
            raise
        for child in children:
            yield open_source(child)
        return
    yield source

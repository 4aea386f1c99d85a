"""A scene and what was made of it, looked at together from afar."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from geodecloud.errors import SceneError
from geodecloud.pictures.drawing import Look
from geodecloud.raster.archives import raster_path
from geodecloud.raster.look import BandPlace, look_shape, read_look, read_valid_look
from geodecloud.raster.outputs import band_paths
from geodecloud.raster.raster_file import RasterFile
from geodecloud.raster.reader import read_metadata
from geodecloud.scene.metadata import Metadata
from geodecloud.source import Source


@dataclass(frozen=True)
class ScenePair:
    """A scene and the result made of it.

    Attributes
    ----------
    source : the scene
    out : the result, a file or a folder of single bands
    places : where the bands of the result are
    """

    source: Source
    out: str
    places: Sequence[BandPlace]

    @classmethod
    def of(cls, source: Source, out: str | Path) -> ScenePair:
        """The pair of a scene and its result.

        Raises
        ------
        SceneError
            If the result has another grid or other bands than the scene.
        SceneIOError
            If either cannot be read.
        """
        out = str(out)
        if os.path.isdir(out):
            planned = band_paths(out, source.band_names)
            if not all(path.is_file() for path in planned):
                raise SceneError(
                    f"{out} is a folder without {planned[0].name}, which would be the first band of "
                    f"{source.path}; name the file that was written"
                )
            places = [(str(path), 1) for path in planned]
        else:
            places = RasterFile.at(out).band_places
        pair = cls(source, out, places)
        pair._check()
        return pair

    def _check(self) -> None:
        scene, result = self.source.metadata, self.metadata
        theirs, ours = (
            f"{count} bands on {about.grid}, from {about.grid.place(0, 0)}"
            for count, about in ((scene.count, scene), (len(self.places), result))
        )
        same_place = scene.grid.transform.almost_equals(result.grid.transform)
        same_shape = scene.grid.shape_yx == result.grid.shape_yx
        if not (same_place and same_shape and scene.count == len(self.places)):
            raise SceneError(
                f"{self.out} was not made of {self.source.path}: it has {ours}, and that has {theirs}"
            )

    @cached_property
    def metadata(self) -> Metadata:
        """What the result says about itself; of single bands, the first."""
        return read_metadata(self.places[0][0])

    def shape_of_look(self, most_yx: tuple[int, int]) -> tuple[int, int]:
        """Height and width of a look of at most so many px."""
        return look_shape(self.source.metadata.grid.shape_yx, most_yx)

    def look(self, most_yx: tuple[int, int], channels: Sequence[int] | None = None) -> Look:
        """Some bands from afar, before and after.

        Parameters
        ----------
        channels : 0-based; None: all
        """
        scene, shape = self.source.metadata, self.shape_of_look(most_yx)
        chosen = range(scene.count) if channels is None else channels
        before_at, after_at = (
            [places[i] for i in chosen] for places in (self.source.band_places, self.places)
        )
        before, after = read_look(before_at, shape), read_look(after_at, shape)
        valid = read_valid_look(before_at[0][0], shape) & read_valid_look(after_at[0][0], shape)
        for nodata in {scene.nodata, self.metadata.nodata} - {None}:
            valid &= (before != nodata).any(axis=0)
        for image in (before, after):
            if np.issubdtype(image.dtype, np.floating):
                valid &= np.isfinite(image).all(axis=0)
        step = max(1, round(scene.grid.shape_yx[0] / shape[0]))
        return Look(before, after, valid, step)


def read_result_tags(out: str | Path) -> dict[str, str]:
    """The tags of a result: of a file, or of the first file in a folder of single bands.

    Raises
    ------
    SceneError
        If a folder holds no GeoTIFF.
    SceneIOError
        If it cannot be read.
    """
    path = raster_path(str(out))
    if os.path.isdir(path):
        bands = sorted(Path(path).glob("*.tif"))
        if not bands:
            raise SceneError(
                f"{out} is a folder without GeoTIFFs; name the result that was written"
            )
        path = str(bands[0])
    return dict(read_metadata(path).tags.get("", {}))

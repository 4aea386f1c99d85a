"""Windows of a scene as small scenes of their own, sent down the path that the scene takes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from geodecloud.compute.engine import engine
from geodecloud.masks.areas import touches_aoi
from geodecloud.masks.classes import CLOUD, HIDING
from geodecloud.masks.sources import open_clouds, open_data_area
from geodecloud.options import Options
from geodecloud.pipeline import decloud
from geodecloud.restore.composite import Bool, add_margin
from geodecloud.restore.decisions import Decisions
from geodecloud.restore.other_dates import Reference
from geodecloud.scene.cube import Cube
from geodecloud.scene.gaps import find_data
from geodecloud.scene.grid import Grid
from geodecloud.scene.metadata import SCL, VALID, Metadata
from geodecloud.windows.tiler import Window

Array = NDArray[np.float32]

#: A scene up to this side is one crop.
WHOLE_PX = 512
#: Sides of the crops of larger ones: up to so many pixels in all, and of still larger ones. A fifth of the time is
#: enough for them, from scenes of a megapixel on.
_SIDES_PX, _MIDDLE = (256, 512), 2048**2
#: Crops that are declouded under clouds, at most, and as a share of the scene; twice as many are looked at.
_MOST, _SHARE = 8, 0.06
#: Crops begin at multiples of it, where blocks of networks do.
_STEP_PX = 64
#: Class of the scene classification that says what a mask does: nothing, `CLOUD`, `HIDING`.
_SCL_OF = {0: 4, CLOUD: 10, HIDING: 9}
_SCL_NODATA = 0


def plan_crops(grid: Grid) -> tuple[list[Window], int]:
    """Where crops of a scene lie, spread over it and in the order they are looked at; and how many are needed.

    They depend on the grid alone: the same scene has the same crops wherever it is computed.
    """
    height, width = grid.shape_yx
    if max(height, width) <= WHOLE_PX:
        return [Window(0, 0, width, height)], 1
    side = _SIDES_PX[height * width > _MIDDLE]
    needed = int(np.clip(_SHARE * height * width / side**2, 1, _MOST))
    rng = np.random.default_rng(seed_of(grid))
    rows, cols = (max(1, length // side) for length in (height, width))
    cells = rng.permutation([(row, col) for row in range(rows) for col in range(cols)])
    extent = Window(0, 0, width, height)
    windows = [
        Window(
            int(col * width / cols) // _STEP_PX * _STEP_PX,
            int(row * height / rows) // _STEP_PX * _STEP_PX,
            side,
            side,
        ).grow(0, extent)
        for row, col in cells
    ]
    return windows[: 2 * needed], needed


def seed_of(grid: Grid) -> int:
    """A number that is the same wherever this scene is computed."""
    return zlib.crc32(repr((grid.shape_yx, tuple(grid.transform), str(grid.crs))).encode())


@dataclass(frozen=True)
class Crop:
    """One window of a scene, in memory.

    Attributes
    ----------
    window : scene pixels
    dn : (C, H, W), the scene's dtype
    valid : (H, W), the scene has data by its mask and its classification; None: nothing says so
    known : (H, W) uint8, what the mask that was asked for says, see `geodecloud.masks`; None: nothing
    """

    window: Window
    dn: NDArray[Any]
    valid: Bool | None
    known: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Restored:
    """What became of a crop.

    Attributes
    ----------
    image : (C, H, W) reflectance of the restored bands
    opacity : (H, W) in [0, 1], NaN where the network was not asked
    codes : (H, W), provenance
    """

    image: Array
    opacity: Array
    codes: NDArray[np.uint8]


class Cropper:
    """Cuts a scene into crops and declouds them with the decisions of the scene.

    Parameters
    ----------
    cube, metadata, decisions, options, references : as `geodecloud.pipeline.decloud` takes them
    """

    def __init__(
        self,
        cube: Cube,
        metadata: Metadata,
        decisions: Decisions,
        options: Options,
        references: Sequence[Reference],
    ) -> None:
        self.cube, self.metadata, self.options = cube, metadata, options
        # the layout is that of the whole scene; the result does not depend on it
        self.decisions = replace(decisions, layout=None)
        self.references = references

    def touches(self, window: Window) -> bool:
        """Whether anything of a window may change."""
        aoi = self.options.aoi
        return aoi is None or touches_aoi(aoi, self._metadata(window).grid)

    def read(self, windows: Sequence[Window]) -> list[Crop]:
        """Read crops, as the scene's source gives them."""
        pixels = self._pixels()
        scale, offset = self.decisions.formula
        asked = replace(self.options, scale=scale, offset=offset)
        found = open_clouds(self.cube, (pixels, self.cube.index), self.metadata, asked)
        known = None if self._finds_itself or found is None else found[0]
        area = open_data_area(self.cube)
        planes = [pixels, None if area is None else area[0], known]
        wanted = [
            None if plane is None else plane[..., *window.slices_yx]
            for window in windows
            for plane in planes
        ]
        read = iter(self._compute([part for part in wanted if part is not None]))
        parts: list[Any] = [None if part is None else next(read) for part in wanted]
        return [Crop(window, *parts[3 * i : 3 * i + 3]) for i, window in enumerate(windows)]

    def decloud(self, crops: Sequence[Crop], with_references: bool) -> list[Restored]:
        """Send crops down the path of the scene."""
        references = self.references if with_references else ()
        arrays = []
        for crop in crops:
            scene, metadata, asked = self._scene(crop)
            result = decloud(scene, asked, metadata, self.decisions, references)
            arrays += [result.image.data, result.cloud_map.data, result.provenance.data]
        done = iter(self._compute(arrays))
        return [
            Restored(self.reflectance(dn), opacity, codes)
            for dn, opacity, codes in zip(done, done, done, strict=True)
        ]

    def reflectance(self, dn: NDArray[Any]) -> Array:
        """Reflectance (C, H, W) of the restored bands."""
        return self.decisions.codec.decode(dn[list(self.decisions.channels)]).astype(np.float32)

    def usable(self, crop: Crop) -> Bool:
        """Pixels (H, W) that the network can read."""
        decisions = self.decisions
        return find_data(
            crop.dn,
            crop.valid,
            decisions.codec.nodata,
            decisions.gaps,
            decisions.channels,
            self.metadata.alpha,
        )[1]

    def is_cloud(self, crop: Crop, opacity: Array) -> Bool:
        """Where (H, W) cloud or shadow is known or seen, with a margin."""
        with np.errstate(invalid="ignore"):
            found = opacity > self.decisions.card.cloud_threshold
        if crop.known is not None:
            found |= crop.known > 0
        return add_margin(found)

    @property
    def _finds_itself(self) -> bool:
        """Whether the mask is found anew in each crop, from its pixels."""
        return str(self.options.mask) == "s2cloudless"

    def _pixels(self) -> da.Array:
        data = self.cube.array.data
        return data if isinstance(data, da.Array) else da.from_array(data, chunks=(-1, 512, 512))

    def _metadata(self, window: Window) -> Metadata:
        grid = self.metadata.grid
        transform = grid.window_transform(window) if grid.has_place else grid.transform
        return replace(self.metadata, grid=Grid(grid.crs, transform, window.shape_yx))

    def _scene(self, crop: Crop) -> tuple[Any, Metadata, Options]:
        """A crop as a scene, what it says of itself, and the options it is declouded with.

        What the mask says of it comes as a scene classification: the clouds put over it are in no file.
        """
        y, x = self.cube.array.dims[-2:]
        rows, cols = crop.window.slices_yx
        array = self.cube.array.isel({y: rows, x: cols}).drop_vars((VALID, SCL), errors="ignore")
        array = array.copy(data=da.from_array(crop.dn, chunks=-1, name=False))
        metadata, asked = self._metadata(crop.window), self.options
        if crop.known is None:
            if crop.valid is not None:
                array = array.assign_coords({VALID: ((y, x), crop.valid)})
            return array, metadata, asked
        table = np.array([_SCL_OF[code] for code in range(3)], np.uint8)
        classes = table[crop.known]
        if crop.valid is not None:
            classes[~crop.valid] = _SCL_NODATA
        array = array.assign_coords({SCL: ((y, x), classes)})
        if str(asked.mask) != "auto":
            asked = replace(asked, mask="scl")
        return array, replace(metadata, has_classes=True), asked

    def _compute(self, arrays: Sequence[da.Array]) -> list[NDArray[Any]]:
        with engine(self.options.scheduler, self.options.workers) as computer:
            return computer.compute(arrays)

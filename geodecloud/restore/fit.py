"""The fit of a scene on its other dates: once for the whole scene, before its chunks.

It sees clear pixels from all over the scene, at places anchored to its pixel grid, so it is the same for every
chunk however the scene is cut; the first pass says which pixels are clear.
"""

from __future__ import annotations

import logging
from typing import Any

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray

from geodecloud.compute.blocks import read_again
from geodecloud.restore.chunk import ChunkRestorer
from geodecloud.restore.other_dates import OtherDates
from geodecloud.restore.references import Coefficients, Sample, merge, solve, take_sample, unpack
from geodecloud.windows.tiler import Window

log = logging.getLogger(__name__)


#: Side of the patches that a fit looks at, how many there are at most along an axis, and the share of an axis
#: that they cover: the other dates are read there.
PATCH_PX, _PATCHES, _SHARE = 256, 6, 0.2
_BLOCK_PX = 1024


def plan_patches(extent: Window) -> list[Window]:
    """Patches that a fit of the scene looks at: all of a small one, else a lattice of them.

    They depend on the size of the scene alone.
    """
    rows, cols = (_places(length) for length in extent.shape_yx)
    return [Window(x, y, width, height) for y, height in rows for x, width in cols]


def _places(length: int) -> list[tuple[int, int]]:
    """(offset, size) of the patches along an axis."""
    if length <= 2 * PATCH_PX:
        return [(0, length)]
    count = min(_PATCHES, max(2, round(_SHARE * length / PATCH_PX)), length // (2 * PATCH_PX))
    step = length / count
    begins = [int(step * (i + 0.5)) - PATCH_PX // 2 for i in range(count)]
    # within one of the blocks that files are read in: of those that a patch straddles, all would be read
    return [(b - max(0, b % _BLOCK_PX + PATCH_PX - _BLOCK_PX), PATCH_PX) for b in begins]


def fit_other_dates(
    restorer: ChunkRestorer, pixels: da.Array, clear: da.Array, dates: OtherDates
) -> da.Array:
    """The scene's `Coefficients`, lazily, as the one item of a 0-d array of objects.

    Parameters
    ----------
    pixels : (C, H, W) DN
    clear : (H, W) bool, see `geodecloud.restore.first_pass.clear_pixels`
    """
    extent = restorer.extent
    # read once more: else dask would hold what lies around the patches until the holes are filled
    pixels, dates = read_again(pixels, "fit"), dates.read_again("fit")
    stride = max(1, PATCH_PX // 128)
    parts = []
    for core in plan_patches(extent):
        view = core.slices_yx
        there = [_in_one(pixels[:, *view]), _in_one(clear[view])]
        there += [
            [_in_one(each[..., *view]) for each in all_] for all_ in (dates.values, dates.usable)
        ]
        sample = dask.delayed(_sample_patch, pure=True)
        step = 1 if core == extent else stride
        parts.append(sample(restorer, *there, core, step))
    side = max(extent.shape_yx) // _PATCHES
    fitted = dask.delayed(_solve, pure=True)(parts, extent, side)
    return da.from_delayed(fitted, shape=(), dtype=object, meta=np.empty((), object))


def _in_one(array: da.Array) -> Any:
    """An array as one task; a graph of it alone, optimised for itself, is not what is asked for."""
    return array.rechunk(-1, method="tasks").to_delayed(optimize_graph=False).item()


def _sample_patch(
    restorer: ChunkRestorer,
    dn: NDArray[Any],
    clear: NDArray[np.bool_],
    values: list[NDArray[np.int16]],
    usable: list[NDArray[np.bool_]],
    core: Window,
    stride: int,
) -> Sample:
    """Clear ground of one patch, with what the other dates show there."""
    references = unpack(np.stack(values))
    return take_sample(restorer.reflectance(dn), clear, references, np.stack(usable), core, stride)


def _solve(parts: list[Sample], extent: Window, side: int) -> NDArray[Any]:
    found: Coefficients = solve(merge(parts), extent, cell_px=max(500, side))
    held = np.empty((), object)
    held[()] = found
    return held

"""The first pass over a scene: where it is clear, and what that says of the ground under its clouds.

A network finds the clouds, part by part, in pixels twice as wide: it sees twice as far so, at a quarter of the
work. Of the clear pixels means of blocks are kept, and carried to where nothing is clear
(`geodecloud.restore.ground_around`). All of it happens once for the whole scene, at places anchored to its pixel
grid, so it is the same for every chunk however the scene is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.graph_manipulation import clone
from numpy.typing import NDArray

from geodecloud.compute.chunks import Indexed, call_on_chunks
from geodecloud.models.card import COARSE_PX
from geodecloud.restore.chunk import ChunkRestorer, strips
from geodecloud.restore.composite import MARGIN_PX, Bool, add_margin
from geodecloud.restore.ground_around import (
    CLEAR_OPACITY,
    GroundAround,
    block_sums,
    carry_ground,
)
from geodecloud.restore.network import NetworkPredictor
from geodecloud.windows.tiler import Window

Array = NDArray[np.float32]

#: Side of the parts of a scene that are looked at one by one, of small scenes and of large ones: whole blocks
#: of a prior.
_PARTS_PX = 512, 1536


@dataclass(frozen=True)
class FirstPass:
    """Finds what is clear in one part of a scene.

    Attributes
    ----------
    restorer : of the scene
    finder : the network that finds clouds, in coarse pixels; None: the mask that is given has the last word
    picks : which of the restored bands it reads, in its own order
    """

    restorer: ChunkRestorer
    finder: NetworkPredictor | None
    picks: tuple[int, ...] = ()

    @property
    def mirrored(self) -> FirstPass:
        """The same with a network that sees the scene mirrored; under a mask that is given, this one."""
        if self.finder is None:
            return self
        return replace(self, finder=replace(self.finder, mirrored=True))

    @property
    def halo_px(self) -> int:
        """Context a part must bring; parts with it begin where coarse pixels do."""
        context = 0 if self.finder is None else COARSE_PX * (self.finder.context_px + 1)
        return -(-(MARGIN_PX + context) // COARSE_PX) * COARSE_PX

    def __call__(
        self,
        dn: NDArray[Any],
        valid: Bool | None,
        clouds: NDArray[np.uint8] | None,
        allowed: Bool | None,
        *,
        core: Window,
        padded: Window,
    ) -> tuple[Array, Array]:
        """Sums of the clear ground of each block of `core`, see `block_sums`.

        Parameters
        ----------
        dn, valid, clouds, allowed : over `padded`, see `ChunkRestorer.__call__`. Where nothing near by may
            change, nothing is looked at
        """
        restorer = self.restorer
        _, usable = restorer.validity(dn, valid)
        if allowed is not None and not allowed.any():
            usable = np.zeros_like(usable)
        region = core.grow(MARGIN_PX, restorer.extent)
        view = region.relative_to(padded).slices_yx
        cloud = np.zeros(region.shape_yx, bool) if clouds is None else clouds[view] > 0
        if self.finder is not None and usable[view].any():
            cloud |= self._find_clouds(self.finder, dn, usable, region, padded)
        clear = usable[view] & ~add_margin(cloud)
        inner = core.relative_to(region).slices_yx
        own = dn[:, *core.relative_to(padded).slices_yx]
        return block_sums(restorer.reflectance(own), clear[inner])

    def _find_clouds(
        self,
        finder: NetworkPredictor,
        dn: NDArray[Any],
        usable: Bool,
        region: Window,
        padded: Window,
    ) -> Bool:
        """Where a network sees cloud in `region` (H, W), told of coarse pixels as a whole."""
        picks = list(self.picks)
        sums = [
            block_sums(self.restorer.reflectance(dn[:, rows])[picks], usable[rows], COARSE_PX)
            for rows in strips(dn.shape[1])
        ]
        total, share = (np.concatenate(parts, axis=-2) for parts in zip(*sums, strict=True))
        there = share > 0
        seen = np.divide(total, share, out=np.zeros_like(total), where=there)
        asked, given = coarse(region), coarse(padded)
        wanted = there[asked.relative_to(given).slices_yx]
        _, opacity = finder.restore(seen, there, wanted, asked, given)
        found = wanted & ~(opacity <= CLEAR_OPACITY)  # what is no number is not clear
        covered = Window(*(COARSE_PX * n for n in asked))
        fine: Bool = found.repeat(COARSE_PX, 0).repeat(COARSE_PX, 1)
        return fine[region.relative_to(covered).slices_yx]


def coarse(window: Window) -> Window:
    """The coarse pixels that a window touches, counted from the scene's corner."""
    left, top = window.col_off // COARSE_PX, window.row_off // COARSE_PX
    right = -(-(window.col_off + window.width) // COARSE_PX)
    bottom = -(-(window.row_off + window.height) // COARSE_PX)
    return Window(left, top, right - left, bottom - top)


def look_around(first_pass: FirstPass, arrays: Sequence[Indexed | None]) -> Indexed:
    """The scene's `GroundAround`, lazily, as the item of a 0-d array of objects; of a stack, one for each date.

    Parameters
    ----------
    arrays : pixels ([date,] C, H, W), and ([date,] H, W) where there are data and clouds, and what may change, as
        `ChunkRestorer.__call__` takes them
    """
    # read once more: else dask would hold the pixels of the whole scene from the first pass to the second
    apart = [None if one is None else (clone(one[0], seed="around"), one[1]) for one in arrays[:4]]
    extent = first_pass.restorer.extent
    side = _PARTS_PX[max(extent.shape_yx) > 2048]
    rows, cols = (
        tuple(min(side, length - begin) for begin in range(0, length, side))
        for length in extent.shape_yx
    )
    seen = call_on_chunks(first_pass, apart, first_pass.halo_px, (rows, cols))
    dated = seen.ndim == 3
    parts = seen.to_delayed(optimize_graph=False)
    join = dask.delayed(_join_parts, pure=True)
    if not dated:
        joined = join(parts.tolist())
        return da.from_delayed(joined, (), object, np.empty((), object)), ""
    dates = [
        da.from_delayed(join(part.tolist()), (count,), object, np.empty((0,), object))
        for part, count in zip(parts, seen.chunks[0], strict=True)
    ]
    return da.concatenate(dates), "t"


def _join_parts(parts: list[list[tuple[Array, Array]]]) -> NDArray[Any]:
    """What the parts of a scene show, in rows of parts, carried to all of it; of dates, of each."""
    total, share = (
        np.concatenate([np.concatenate([part[i] for part in row], axis=-1) for row in parts], -2)
        for i in (0, 1)
    )
    held = np.empty(share.shape[:-2], object)
    for date in np.ndindex(held.shape):
        held[date] = GroundAround(carry_ground(total[date], share[date]))
    return held

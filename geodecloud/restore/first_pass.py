"""The first pass over a scene: where it is clear, and what that says of the ground under its clouds.

A network finds the clouds, part by part; of the clear pixels means of blocks are kept, and carried to where
nothing is clear (`geodecloud.restore.ground_around`). All of it happens once for the whole scene, at places
anchored to its pixel grid, so it is the same for every chunk however the scene is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.graph_manipulation import clone
from numpy.typing import NDArray

from geodecloud.compute.chunks import Indexed
from geodecloud.models.card import PRIOR_PX
from geodecloud.restore.chunk import ChunkRestorer
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


#: A stack of more chunks has no first pass: planning it alone would take minutes.
_MOST_CHUNKS = 2000


@dataclass(frozen=True)
class FirstPass:
    """Finds what is clear in one part of a scene.

    Attributes
    ----------
    restorer : of the scene
    finder : the network that finds clouds; None: the mask that is given has the last word
    picks : which of the restored bands it reads, in its own order
    """

    restorer: ChunkRestorer
    finder: NetworkPredictor | None
    picks: tuple[int, ...] = ()

    @property
    def halo_px(self) -> int:
        """Context a part must bring."""
        return MARGIN_PX + (0 if self.finder is None else self.finder.context_px)

    def __call__(
        self,
        dn: NDArray[Any],
        valid: Bool | None,
        clouds: NDArray[np.uint8] | None,
        allowed: Bool | None,
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
        if dn.ndim == 4:  # of a stack, one date
            (dn,) = dn
        valid = valid[0] if valid is not None and valid.ndim == 3 else valid
        clouds = clouds[0] if clouds is not None and clouds.ndim == 3 else clouds
        _, usable = restorer.validity(dn, valid)
        if allowed is not None and not allowed.any():
            usable = np.zeros_like(usable)
        image = restorer.reflectance(dn)
        region = core.grow(MARGIN_PX, restorer.extent)
        view = region.relative_to(padded).slices_yx
        cloud = np.zeros(region.shape_yx, bool) if clouds is None else clouds[view] > 0
        wanted = usable[view]
        if self.finder is not None and wanted.any():
            seen = image[list(self.picks)]
            _, opacity = self.finder.restore(seen, usable, wanted, region, padded)
            cloud |= wanted & (opacity > CLEAR_OPACITY)
        clear = wanted & ~add_margin(cloud)
        inner = core.relative_to(region).slices_yx
        return block_sums(image[:, *core.relative_to(padded).slices_yx], clear[inner])


def can_look_around(pixels: da.Array) -> bool:
    """Whether the first pass over a lazy stack can be planned in reasonable time; one scene always can."""
    return pixels.ndim == 3 or pixels.npartitions <= _MOST_CHUNKS


def look_around(first_pass: FirstPass, arrays: Sequence[Indexed | None]) -> Indexed:
    """The scene's `GroundAround`, lazily, as the item of a 0-d array of objects; of a stack, one for each date.

    Parameters
    ----------
    arrays : pixels ([date,] C, H, W), and ([date,] H, W) where there are data and clouds, and what may change, as
        `ChunkRestorer.__call__` takes them
    """
    # read once more: else dask would hold the pixels of the whole scene from the first pass to the second
    apart = [None if one is None else (clone(one[0], seed="around"), one[1]) for one in arrays[:4]]
    pixels, index = apart[0]  # type: ignore[misc]
    if "t" not in index:
        return _look_around(first_pass, [one and one[0] for one in apart]), ""
    dates = [
        _look_around(
            # a date as a stack of one: arrays of the user's may know slices only
            first_pass,
            [one and (one[0][t : t + 1] if "t" in one[1] else one[0]) for one in apart],
        )
        for t in range(len(pixels))
    ]
    return da.stack(dates).rechunk((pixels.chunks[0],)), "t"


def _look_around(first_pass: FirstPass, arrays: Sequence[da.Array | None]) -> da.Array:
    """`look_around` of one date."""
    extent = first_pass.restorer.extent
    side = _PARTS_PX[max(extent.shape_yx) > 2048]
    cores = [
        Window(x, y, side, side).grow(0, extent)
        for y in range(0, extent.height, side)
        for x in range(0, extent.width, side)
    ]
    look, parts = dask.delayed(first_pass, pure=True), []
    for core in cores:
        padded = core.grow(first_pass.halo_px, extent)
        seen = [None if one is None else one[..., *padded.slices_yx] for one in arrays]
        parts.append(look(*seen, core, padded))
    joined = dask.delayed(_join_parts, pure=True)(parts, cores, extent)
    return da.from_delayed(joined, shape=(), dtype=object, meta=np.empty((), object))


def _join_parts(
    parts: list[tuple[Array, Array]], cores: list[Window], extent: Window
) -> NDArray[Any]:
    """What the parts of a scene show, carried to all of it."""
    rows, cols = (-(-length // PRIOR_PX) for length in extent.shape_yx)
    total = np.zeros((len(parts[0][0]), rows, cols), np.float32)
    share = np.zeros((rows, cols), np.float32)
    for core, (sums, clear) in zip(cores, parts, strict=True):
        y, x = core.row_off // PRIOR_PX, core.col_off // PRIOR_PX
        here = np.s_[y : y + clear.shape[0], x : x + clear.shape[1]]
        total[:, *here], share[here] = sums, clear
    held = np.empty((), object)
    held[()] = GroundAround(carry_ground(total, share))
    return held

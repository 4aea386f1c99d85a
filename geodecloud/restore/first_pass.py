"""The first pass over a scene: where it is clear, and what that says of the ground under its clouds.

A network finds the clouds, part by part (`geodecloud.restore.clear_ground`). Of the clear pixels means of blocks are
kept, and carried to where nothing is clear (`geodecloud.restore.ground_around`); where the scene is clear, it is
fitted on its other dates (`geodecloud.restore.fit`). All of it happens once for the whole scene, at places
anchored to its pixel grid, so it is the same for every chunk however the scene is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray

from geodecloud.compute.blocks import read_again
from geodecloud.compute.chunks import Indexed, call_on_chunks
from geodecloud.models.card import PRIOR_PX
from geodecloud.restore.chunk import ChunkRestorer, strips
from geodecloud.restore.clear_ground import CloudFinder, whole_coarse
from geodecloud.restore.composite import MARGIN_PX, Bool, add_margin
from geodecloud.restore.ground_around import (
    CLEAR_OPACITY,
    GroundAround,
    block_means,
    block_sums,
)
from geodecloud.restore.relight import Light, Shadows
from geodecloud.restore.shade import cast_shade
from geodecloud.windows.tiler import Window

Array = NDArray[np.float32]

#: Side of the parts of a scene that are looked at one by one, at most: of small scenes and of large ones, where each
#: core has a part of its own, and where all of them work on one part.
_PARTS_PX, _SHARED_PX = (512, 1536), 3072
#: From this opacity on a pixel tells nothing of whether its ground lies in shadow.
_CLOUD_OPACITY = 0.4


@dataclass(frozen=True)
class Sky:
    """What is known of how clouds throw their shadows, see `geodecloud.restore.shade.cast_shade`.

    Attributes
    ----------
    is_read : whether the network is told where they may lie
    """

    pixel_m: float
    sun_azimuth_deg: float | None
    light: Light
    is_read: bool

    def around(
        self, total: Array, share: Array, seen: Array, usual: tuple[float, ...]
    ) -> GroundAround:
        """The ground around as it is in the sun, and where shadows lie, of what `FirstPass.see` says of them."""
        opacity, dark, known, squares = seen
        shade = cast_shade(opacity, dark, known, self.pixel_m, self.sun_azimuth_deg)
        shadows = Shadows.of(shade, dark, known, self.light)
        if shadows is not None:
            lit = shadows.is_ground.astype(np.float32)
            total, share, squares = total * lit, share * lit, squares * lit
        around = GroundAround.of(total, share, usual, squares)
        return replace(around, shade=shade.blocks if self.is_read else None, shadows=shadows)


@dataclass(frozen=True)
class FirstPass:
    """Finds what is clear in one part of a scene.

    Attributes
    ----------
    restorer : of the scene
    finder : finds clouds; None: the mask that is given has the last word
    clear_opacity : that a pixel may have at most to count as clear ground when dates are compared; what stands in
        for hidden ground is made of clearer ones
    dark : of the restored bands the one in which shadows are darkest against the ground
    """

    restorer: ChunkRestorer
    finder: CloudFinder | None
    clear_opacity: float
    dark: int = -1

    @property
    def mirrored(self) -> FirstPass:
        """The same with a network that sees the scene mirrored; under a mask that is given, this one."""
        if self.finder is None:
            return self
        network = replace(self.finder.network, mirrored=True)
        return replace(self, finder=replace(self.finder, network=network))

    @property
    def halo_px(self) -> int:
        """Context a part must bring; parts with it begin where coarse pixels do."""
        return whole_coarse(MARGIN_PX + (0 if self.finder is None else self.finder.halo_px))

    def __call__(self, *arrays: Any, core: Window, padded: Window) -> tuple[NDArray[Any], ...]:
        """What `see` makes of a part, or what a run that was killed had made of it."""
        mirrored = self.finder is not None and self.finder.network.mirrored
        name = "-".join(map(str, ("mirrored" if mirrored else "seen", *core)))
        return self.restorer.shelf.keep(name, lambda: self.see(*arrays, core=core, padded=padded))

    def see(
        self,
        dn: NDArray[Any],
        valid: Bool | None,
        clouds: NDArray[np.uint8] | None,
        allowed: Bool | None,
        *,
        core: Window,
        padded: Window,
    ) -> tuple[Array, Array, NDArray[np.uint8], Array]:
        """Sums of the clearest ground of each block of `core`, see `block_sums`; which pixels are clear; and more of each block.

        The clear pixels are bits along rows (H, ceil(W / 8)), see `numpy.packbits`, for they wait until all of the scene
        has been seen. Last (4, h, w) float32, of each block: mean opacity; of what is no cloud sums of the
        near infrared, and how much of the block that is; of the clearest ground sums of squares, mean over the bands.

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
        opacity = np.zeros(region.shape_yx, np.float32)
        if self.finder is not None and usable[view].any():
            seen = (
                (restorer.reflectance(dn[:, rows]), usable[rows]) for rows in strips(dn.shape[1])
            )
            opacity = self.finder.opacity(seen, region, padded)
        inner = core.relative_to(region).slices_yx
        clearest, clear = (
            (usable[view] & ~add_margin(cloud | (opacity > most)))[inner]
            for most in (CLEAR_OPACITY, self.clear_opacity)
        )
        own = dn[:, *core.relative_to(padded).slices_yx]
        cover = np.maximum(opacity, cloud)[inner]
        ground = usable[view][inner] & (cover < _CLOUD_OPACITY)
        sums = []
        for rows in strips(len(clear)):
            image = restorer.reflectance(own[:, rows])
            total, share = block_sums(image, clearest[rows])
            dark, known = block_sums(image[[self.dark]], ground[rows])
            squares = np.where(clearest[rows], np.square(image).mean(axis=0), np.float32(0))
            about = block_means(cover[rows]), dark[0], known, block_means(squares)
            sums.append((total, share, np.stack(about)))
        total, share, shadows = (
            np.concatenate(parts, axis=-2) for parts in zip(*sums, strict=True)
        )
        return total, share, np.packbits(clear, axis=1), shadows


def look(first_pass: FirstPass, arrays: Sequence[Indexed | None], shared: bool) -> da.Array:
    """What a first pass sees of all parts of a scene, lazily, for `clear_pixels` and `look_around`.

    Parameters
    ----------
    arrays : pixels ([date,] C, H, W), and ([date,] H, W) where there are data and clouds, and what may change, as
        `ChunkRestorer.__call__` takes them
    shared : whether all cores work on one part
    """
    # read once more: else dask would hold the pixels of the whole scene from the first pass to the second
    apart = [None if one is None else (read_again(one[0], "around"), one[1]) for one in arrays[:4]]
    extent = first_pass.restorer.extent
    side = _SHARED_PX if shared else _PARTS_PX[max(extent.shape_yx) > 2048]
    rows, cols = (_parts(length, side) for length in extent.shape_yx)
    return call_on_chunks(first_pass, apart, first_pass.halo_px, (rows, cols))


def _parts(length: int, most: int) -> tuple[int, ...]:
    """Sizes of nearly equal parts of an axis: whole blocks of a prior, but for the last."""
    side = -(-length // (-(-length // most) * PRIOR_PX)) * PRIOR_PX
    return tuple(min(side, length - begin) for begin in range(0, length, side))


def clear_pixels(seen: da.Array) -> da.Array:
    """Where one date is clear (H, W), lazily, of what `look` saw of it."""
    return da.map_blocks(_unpack, seen, dtype=bool, meta=np.empty((0, 0), bool))


def _unpack(part: tuple[Array, Array, NDArray[np.uint8]], block_info: Any = None) -> Bool:
    (left, right) = block_info[0]["array-location"][1]
    return np.unpackbits(part[2], axis=1, count=right - left).astype(bool)


def look_around(seen: da.Array, usual: tuple[float, ...] = (), sky: Sky | None = None) -> Indexed:
    """The scene's `GroundAround`, lazily, as the item of a 0-d array of objects; of a stack, one for each date.

    Parameters
    ----------
    seen : see `look`
    usual : see `GroundAround.of`
    sky : tells where shadows lie; None: that cannot be told
    """
    dated = seen.ndim == 3
    parts = seen.to_delayed(optimize_graph=False)
    join = dask.delayed(_join_parts, pure=True)
    if not dated:
        joined = join(parts.tolist(), usual, sky)
        return da.from_delayed(joined, (), object, np.empty((), object)), ""
    dates = [
        da.from_delayed(join(part.tolist(), usual, sky), (count,), object, np.empty((0,), object))
        for part, count in zip(parts, seen.chunks[0], strict=True)
    ]
    return da.concatenate(dates), "t"


def _join_parts(
    parts: list[list[tuple[Array, ...]]], usual: tuple[float, ...], sky: Sky | None
) -> NDArray[Any]:
    """What the parts of a scene show, in rows of parts, carried to all of it; of dates, of each."""
    total, share, seen = (
        np.concatenate([np.concatenate([part[i] for part in row], axis=-1) for row in parts], -2)
        for i in (0, 1, 3)
    )
    held = np.empty(share.shape[:-2], object)
    for date in np.ndindex(held.shape):
        if sky is None:
            held[date] = GroundAround.of(total[date], share[date], usual, seen[date][-1])
        else:
            held[date] = sky.around(total[date], share[date], seen[date], usual)
    return held

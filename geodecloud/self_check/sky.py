"""The clouds of one crop, moved over the ground of another.

A scene's own clouds are told from what became of it: of a pixel ``before`` with the opacity ``a``, and ``after``
it was restored, the light that is not the ground's is ``before - (1 - a) * after``. Over other ground it makes::

    cloudy = (1 - a) * ground + light

Cloud adds light and shadow takes some away, so one formula does for both. It keeps the clouds' own texture and
colours, and knows nothing of what the network did not see as cloud.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.composite import Bool
from geodecloud.self_check.crops import Crop, Cropper, Restored

Array = NDArray[np.float32]

#: Moves that are tried; the one whose cover is nearest to the scene's is taken.
_MOVES = 12
#: More cover than this is not put over clear ground: what is left must show the colours of the surroundings.
_MOST_COVER = 0.5


@dataclass(frozen=True)
class Sky:
    """Clouds and shadows over a crop.

    Attributes
    ----------
    opacity : (H, W) in [0, 1], 0 where the sky is clear
    light : (C, H, W) reflectance that is not the ground's, 0 where the sky is clear
    cloud : (H, W), where it is not clear
    known : (H, W) uint8, what the mask said of it; None: nothing
    """

    opacity: Array
    light: Array
    cloud: Bool
    known: NDArray[np.uint8] | None

    @classmethod
    def of(cls, crop: Crop, restored: Restored, cropper: Cropper) -> Sky:
        """The sky of a crop, told from what became of it."""
        cloud = cropper.is_cloud(crop, restored.opacity) & cropper.usable(crop)
        opacity = np.where(cloud, np.nan_to_num(restored.opacity), 0).astype(np.float32)
        before = cropper.reflectance(crop.dn)
        light = np.where(cloud, before - (1 - opacity) * restored.image, 0).astype(np.float32)
        return cls(opacity, np.nan_to_num(light), cloud, crop.known)

    @property
    def cover(self) -> float:
        """Share of the crop that is not clear."""
        return float(self.cloud.mean())

    def over(self, clear: Bool, cover: float, rng: np.random.Generator) -> Sky:
        """The sky moved over other ground, so that about so much of what is clear there is covered."""
        wanted = min(cover, _MOST_COVER)
        moved = [self._moved(move) for move in _moves(clear.shape, rng)]
        return min(moved, key=lambda sky: abs(float(sky.cloud[clear].mean()) - wanted))

    def put_over(self, crop: Crop, cropper: Cropper) -> Crop:
        """A crop under this sky; its own clouds stay below it."""
        channels = list(cropper.decisions.channels)
        where = self.cloud & cropper.usable(crop)
        ground = cropper.reflectance(crop.dn).astype(np.float64)
        cloudy = np.maximum((1 - self.opacity) * ground + self.light, 0)
        dn = crop.dn.copy()
        codec = cropper.decisions.codec
        dn[channels] = np.where(where, codec.encode(np.nan_to_num(cloudy)), dn[channels])
        known = crop.known
        if known is not None and self.known is not None:
            known = np.where(where, np.maximum(known, self.known), known)
        return replace(crop, dn=dn, known=known)

    def _moved(self, move: Move) -> Sky:
        known = None if self.known is None else move(self.known)
        return Sky(move(self.opacity), move(self.light), move(self.cloud), known)


@dataclass(frozen=True)
class Move:
    """Mirrors and shifts an array (..., H, W), to another shape.

    Attributes
    ----------
    flip_yx : whether it is mirrored
    shift_yx : px
    shape_yx : of what comes out
    """

    flip_yx: tuple[bool, bool]
    shift_yx: tuple[int, int]
    shape_yx: tuple[int, int]

    def __call__(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array moved; beyond its edges it goes on mirrored, so that no cloud ends at a line."""
        rows, cols = (
            _mirrored((np.arange(length) + shift)[:: -1 if flip else 1], there)
            for length, shift, flip, there in zip(
                self.shape_yx, self.shift_yx, self.flip_yx, array.shape[-2:], strict=True
            )
        )
        return np.ascontiguousarray(array[..., rows[:, None], cols])


def _mirrored(places: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Places on a line of so many pixels, back and forth between its ends."""
    there = places % (2 * length)
    return np.minimum(there, 2 * length - 1 - there)


def _moves(shape_yx: tuple[int, ...], rng: np.random.Generator) -> Iterator[Move]:
    height, width = shape_yx
    for _ in range(_MOVES):
        flips = rng.integers(2, size=2).astype(bool)
        shifts = int(rng.integers(2 * height)), int(rng.integers(2 * width))
        yield Move((bool(flips[0]), bool(flips[1])), shifts, (height, width))

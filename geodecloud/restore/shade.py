"""Where the clouds of a scene may throw their shadow: told from all of the scene, for networks that read it.

A shadow lies away from the sun by the height of its cloud over the tangent of the sun's elevation: 0.2 to 6 km, further
than a network sees. So the cloud map of the first pass is moved there. How far is told by the scene: at the distance at which what
the clouds were moved to is darker in the near infrared than its surroundings (normalised cross-correlation, as a template
is matched). What this gives is a hint: whether a pixel is in shadow the network sees itself.

References
----------
Shadows by the cloud mask moved along the sun's azimuth: Zhu and Woodcock, Remote Sensing of Environment 118 (2012).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import gaussian_filter

from geodecloud.models.card import PRIOR_PX

Array = NDArray[np.float32]
Map = NDArray[np.float64]
Number = TypeVar("Number", bound=np.generic)

#: Distances of shadows that are looked at, in m.
_NEAREST_M, _FURTHEST_M = 200.0, 6000.0
#: Around a distance that was found, shadows are expected this much nearer and further, as a share, for clouds differ in
#: height; and where the sun is known and no distance stands out, as far as this, in m.
_NEARER, _FURTHER, _USUAL_M = 0.75, 1.3, 2500.0
#: Directions within this of the sun's are its own: a scene has several viewing angles, and its grid is not quite north.
_TURN_DEG = 8.0
#: Brightness is compared with that within about so many blocks.
AROUND_BLOCKS = 8.0
#: A correlation stands out if it is as large, and so many times as large as the largest in other directions; where the sun
#: is known, as much larger as at most distances.
_LEAST, _TIMES, _OTHER_DEG = 0.1, 2.0, 45.0
#: Fewer blocks with ground than this tell nothing; the direction, too, takes more of them (on crops of 256 px chance looks alike).
_FEW, _FEW_WITHOUT_SUN = 400, 2000


@dataclass(frozen=True)
class Shade:
    """Where clouds may throw their shadow.

    Attributes
    ----------
    blocks : (h, w) float32 in [0, 1], of blocks of `PRIOR_PX`; 0 everywhere if nothing tells
    found : the same for clouds of one height alone, that the scene told; None: the sun alone told in which direction
    """

    blocks: Array
    found: Array | None = None


def cast_shade(
    opacity: Array, ground: Array, share: Array, pixel_m: float, azimuth_deg: float | None
) -> Shade:
    """Where clouds may throw their shadow.

    Parameters
    ----------
    opacity : (H, W), mean over each block of `PRIOR_PX`
    ground : (H, W), sums of near infrared reflectance of what is no cloud, as shares of a block
    share : (H, W), how much of each block is that
    pixel_m : side of a pixel in m
    azimuth_deg : where the sun stands, clockwise from the top; None: the clouds and what is dark have to tell
    """
    side_m, clouds = PRIOR_PX * pixel_m, throws_shadow(opacity)
    found = _find_shift(clouds, ground, share, side_m, azimuth_deg)
    if found is not None:
        distance = math.hypot(*found)
        toward = found[0] / distance, found[1] / distance
        blocks = cast(clouds, toward, _NEARER * distance, _FURTHER * distance)
        return Shade(blocks, cast(clouds, toward, distance, distance))
    if azimuth_deg is None:
        return Shade(np.zeros_like(opacity))
    azimuth = math.radians(azimuth_deg)
    toward = math.cos(azimuth), -math.sin(azimuth)
    return Shade(cast(clouds, toward, _NEAREST_M / side_m, _USUAL_M / side_m))


def _find_shift(
    opacity: Array, ground: Array, share: Array, side_m: float, azimuth_deg: float | None
) -> tuple[int, int] | None:
    """How far down and right shadows lie, in blocks; None if nothing stands out."""
    seen = share > 0.5
    few = _FEW_WITHOUT_SUN if azimuth_deg is None else _FEW
    if np.count_nonzero(seen) < few or not (opacity > 0.3).any():
        return None
    most = min(math.ceil(_FURTHEST_M / side_m), min(opacity.shape) // 2)
    down, right = np.mgrid[-most : most + 1, -most : most + 1]
    distance = np.hypot(down, right)
    possible = (distance * side_m >= _NEAREST_M) & (distance <= most)
    likeness = np.where(
        possible, _correlate(opacity, darkness(ground, share, seen), seen, most), -1
    )
    direction = np.degrees(np.arctan2(-right, down))  # of the sun, if a shadow fell so
    if azimuth_deg is None:
        best = likeness.argmax()
        others = possible & (_turn(direction - direction.flat[best]) > _OTHER_DEG)
        least = max(_LEAST, _TIMES * likeness[others].max(initial=0))
    else:
        own = possible & (_turn(direction - azimuth_deg) <= _TURN_DEG)
        best = np.where(own, likeness, -1).argmax()
        least = _LEAST + max(0, np.median(likeness[own])) if own.any() else 1
    if likeness.flat[best] < least:
        return None
    return int(down.flat[best]), int(right.flat[best])


def _turn(degrees: Map) -> Map:
    """The size of an angle, 0 to 180."""
    return np.asarray(np.abs((degrees + 180) % 360 - 180))


def darkness(
    ground: Array, share: Array, seen: NDArray[np.bool_], own_share: Array | None = None
) -> Map:
    """How much darker each block is than what is around it, as a share; 0 where there is no ground.

    Parameters
    ----------
    ground : (H, W), sums of reflectance, as shares of a block
    share : (H, W), how much of each block counts for its surroundings
    seen : (H, W), the blocks that are asked for
    own_share : (H, W), how much of each block the sums are of; None: as much as counts
    """
    own_share = share if own_share is None else own_share
    means = np.divide(ground, own_share, out=np.zeros(ground.shape), where=own_share > 0)
    known = np.where(seen, share, 0).astype(np.float64)
    weight, around = (
        gaussian_filter(values, AROUND_BLOCKS, mode="constant") for values in (known, known * means)
    )
    usual = np.divide(around, weight, out=np.ones_like(weight), where=weight > 1e-6)
    own = np.where(seen & (weight > 1e-6), means, usual)
    return np.asarray(np.clip(1 - own / np.maximum(usual, 0.02), -0.5, 0.8))


def _correlate(opacity: Array, dark: Map, seen: NDArray[np.bool_], most: int) -> Map:
    """Correlation of what is dark with the clouds moved by each shift of up to `most` (2 most + 1, 2 most + 1).

    Over the blocks with ground to which a block of the scene was moved (Padfield, IEEE Trans. Image Processing 21, 2012).
    """
    shape = [next_fast_len(n + most, real=True) for n in opacity.shape]
    cloud = opacity.astype(np.float64)
    of_cloud = [rfft2(values, shape) for values in (np.ones_like(cloud), cloud, cloud**2)]
    valid = seen.astype(np.float64)
    of_dark = [rfft2(values, shape) for values in (valid, valid * dark, valid * dark**2)]
    where = np.arange(-most, most + 1)

    def sums(dark_power: int, cloud_power: int) -> Map:
        found = irfft2(of_dark[dark_power] * of_cloud[cloud_power].conj(), shape)
        return np.asarray(found[np.ix_(where, where)])

    count = np.maximum(sums(0, 0), 1)
    both = sums(1, 1) - sums(1, 0) * sums(0, 1) / count
    spread = (sums(2, 0) - sums(1, 0) ** 2 / count) * (sums(0, 2) - sums(0, 1) ** 2 / count)
    enough = (spread > 1e-9) & (count > _FEW / 2)
    likeness = np.divide(
        both, np.sqrt(np.maximum(spread, 1e-9)), out=np.zeros_like(both), where=enough
    )
    # rounding differs between processors; a shift must not
    return np.asarray(likeness.round(6))


def throws_shadow(opacity: Array) -> Array:
    """How much of a cloud of some opacity throws a shadow that can be seen, 0 to 1: thin cirrus does not."""
    return np.clip(1.5 * opacity - 0.25, 0, 1).astype(np.float32)


def cast(opacity: Array, toward: tuple[float, float], near: float, far: float) -> Array:
    """Clouds moved by each of the distances that their shadows may lie at: the largest of them at each place.

    Parameters
    ----------
    opacity : (H, W) float32, of blocks
    toward : unit vector (down, right) away from the sun
    near, far : distances in blocks

    Returns
    -------
    (H, W) float32; nothing lies beyond the edge
    """
    shade = np.zeros_like(opacity)
    for step in range(math.floor(near), math.ceil(far) + 1):
        distance = min(max(step, near), far)
        moved = shifted(opacity, round(distance * toward[0]), round(distance * toward[1]))
        np.maximum(shade, moved, out=shade)
    return shade


def shifted(values: NDArray[Number], down: int, right: int) -> NDArray[Number]:
    """Values (H, W) moved, zeros behind them."""
    out = np.zeros_like(values)
    height, width = values.shape
    if abs(down) < height and abs(right) < width:
        out[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = values[
            max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
        ]
    return out

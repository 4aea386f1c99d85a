"""Roofs, greenhouses and roads drawn over clear ground, so that they are not taken for clouds.

Clear imagery shows mostly fields and forest, so that a small, white, sharp-edged object in a training
crop would nearly always be a cloud; roofs look like that too. Settlements are therefore simulated:
rectangles side by side along the same two directions, each of one material.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geodecloud.restore.composite import Bool
from geodecloud.training.clouds import Array

#: Wavelengths in nm at which a simulated material gets its reflectance; linear in between.
_NODES_NM = (440, 560, 665, 860, 1610, 2200)
#: Width of an edge as a sensor sees it.
_EDGE_PX = 1.5


def add_buildings(crop: Array, wavelengths_nm: Sequence[float], rng: np.random.Generator) -> Array:
    """Put one settlement of 3 to 60 rectangles on the ground.

    Each is 2 to 40 px long and 1.5 to 16 px wide, drawn log-uniformly. A quarter of them is
    translucent, as plastic over a field. Spectra are smooth: the logarithm of reflectance walks from
    node to node by steps of 0.25 in the standard deviation.

    Parameters
    ----------
    crop : (C, H, W) float32 reflectance; channels of zeros are absent and stay so, pixels that
        are zero in all channels are nodata and stay so
    """
    wavelengths = np.asarray(wavelengths_nm, np.float32)
    shape_yx = crop.shape[1:]
    present: Bool = np.any(crop, axis=(1, 2))
    there = present & (np.abs(wavelengths - 1374) >= 10)  # B10 sees no ground
    vapour = _vapour(crop, wavelengths)
    town, spread = rng.uniform(0, shape_yx), rng.uniform(0.1, 0.5) * np.array(shape_yx)
    angle = rng.uniform(0, np.pi / 2)
    seen = crop.copy()
    for _ in range(int(rng.integers(3, 61))):
        cover = _rectangle(shape_yx, list(rng.normal(town, spread)), angle, rng)
        if rng.random() < 0.25:
            cover *= np.float32(rng.uniform(0.3, 0.7))
        material = _material(wavelengths, rng) * vapour
        rough = 1 + 0.04 * rng.standard_normal(cover.shape, dtype=np.float32)
        seen[there] += cover * (material[there, None, None] * rough - seen[there])
    ground: Bool = np.any(crop, axis=0)
    return np.where(ground, seen, crop).astype(np.float32)


def _rectangle(
    shape_yx: Sequence[int], centre_yx: Sequence[float], angle: float, rng: np.random.Generator
) -> Array:
    """How much of each pixel a rectangle covers, 0 to 1: (H, W) float32."""
    half = np.exp(rng.uniform(np.log([2, 1.5]), np.log([40, 16]))) / 2
    angle += np.pi / 2 * int(rng.integers(2))
    y, x = np.ogrid[: shape_yx[0], : shape_yx[1]]
    along = np.abs((x - centre_yx[1]) * np.cos(angle) + (y - centre_yx[0]) * np.sin(angle))
    across = np.abs((y - centre_yx[0]) * np.cos(angle) - (x - centre_yx[1]) * np.sin(angle))
    deep = [(half[0] - along) / _EDGE_PX + 0.5, (half[1] - across) / _EDGE_PX + 0.5]
    inside: Array = np.prod(np.clip(np.broadcast_arrays(*deep), 0, 1), axis=0, dtype=np.float32)
    return inside


def _material(wavelengths_nm: Array, rng: np.random.Generator) -> Array:
    """Reflectance of a random building material, one number per channel."""
    walk = np.cumsum(0.25 * rng.standard_normal(len(_NODES_NM)))
    mean = rng.uniform(np.log(0.08), np.log(0.7))
    level = np.interp(wavelengths_nm, _NODES_NM, mean + walk - walk.mean())
    return np.minimum(np.exp(level), 1.2).astype(np.float32)


def _vapour(crop: Array, wavelengths: Array) -> Array:
    """Transmission of the atmosphere per channel: less than 1 for B09 of uncorrected ground."""
    left = np.ones(len(crop), np.float32)
    wet, dry = np.abs(wavelengths - 945) < 10, np.abs(wavelengths - 865) < 10
    if wet.any() and dry.any() and (below := crop[dry].mean()) > 0:
        left[wet] = min(1.0, crop[wet].mean() / below)
    return left

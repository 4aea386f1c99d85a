"""Shadows of clouds: found where the sky throws them and the ground is dark, and lit up again.

A shadow is skylight alone: the ground is darker by a share that is nearly the same under all opaque clouds of a scene, a little
less in the blue, of which the sky has more. The share is told by the scene itself, from the blocks to which clouds are thrown
(`geodecloud.restore.shade`). Nothing is lit where nothing stands out: neither direction nor distance, nor more dark ground
where shadows should lie than elsewhere.

References
----------
Matched by projection and darkness in the near infrared: Zhu and Woodcock, Remote Sensing of Environment 118 (2012). Lit by the share
of direct light: Shahtahmassebi et al., Chinese Geographical Science 23 (2013), where such methods are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from geodecloud.models.card import PRIOR_PX
from geodecloud.restore.references.pyramid import over_pixels
from geodecloud.restore.shade import AROUND_BLOCKS, Shade, darkness
from geodecloud.windows.tiler import Window

Array = NDArray[np.float32]
Bool = NDArray[np.bool_]

#: Opacity that a shadow gets in the cloud map at most: below what begins to hide the ground.
SHADOW_OPACITY = 0.33
#: Blocks lie in the shade from so much of a cloud on.
_SHADED = 0.3
#: Blocks there have to be inside and outside; so many of them count for one; by how many standard errors those inside have to be
#: darker.
_FEW, _ALIKE, _SURE = 25, 9, 3.0
#: What shadows take of the near infrared, at least and at most.
_TAKES = (0.12, 0.75)
#: A block is dark from this share on. If so many of them inside are, and so many times as many as outside, this quantile of theirs
#: is what a whole shadow takes: many blocks lie in its rim.
_DARK, _LEAST_DARK, _TIMES, _WHOLLY = 0.3, 0.15, 3.0, 0.7
#: Shadows that take less, or more, than this are light, or deep; of how many pixels darkness is told (standard deviation, reach).
_LIGHT, _DEEP, _BLUR_PX, BLUR_REACH_PX = 0.25, 0.45, 1.5, 4
#: From this opacity on the network has the word.
_CLOUD = 0.5


@dataclass(frozen=True)
class Light:
    """The bands that tell of shadows, and what a shadow takes of each.

    Attributes
    ----------
    dark : the band in which shadows are darkest against the ground
    wet : one in which water is brighter than in that; None: water cannot be told
    takes : of each band, as a share of what is taken of `dark`
    """

    dark: int
    wet: int | None
    takes: tuple[float, ...]

    @classmethod
    def of(cls, bands: Sequence[str], wavelengths_nm: Sequence[float]) -> Light | None:
        """Of bands with these names and wavelengths; None: without near infrared, shadows cannot be told."""
        dark = next((bands.index(band) for band in ("B08", "B8A") if band in bands), None)
        if dark is None:
            return None
        wet = next((bands.index(band) for band in ("B03", "B02") if band in bands), None)
        nm = np.asarray(wavelengths_nm, float)
        # skylight, as in the simulator: a fifth less is taken at the short end
        direct = 0.8 + 0.2 * np.clip((nm - 490) / (835 - 490), 0, 1)
        return cls(dark, wet, tuple((direct / direct[dark]).tolist()))


@dataclass(frozen=True)
class Shadows:
    """Where the shadows of a scene lie, and how dark they are.

    Attributes
    ----------
    blocks : (h, w) in [0, 1], of blocks of `PRIOR_PX`: whether they may hold a shadow
    strength : (h, w) in [0, 1], how much of a shadow each holds in the mean
    share : of the light in `light.dark` that a whole one takes
    """

    blocks: Array
    strength: Array
    share: float
    light: Light

    @classmethod
    def of(cls, shade: Shade, dark: Array, share: Array, light: Light) -> Shadows | None:
        """Of a scene whose clouds are thrown there; None: nothing was found, or what lies there is no darker than elsewhere.

        Parameters
        ----------
        dark, share : (h, w), what `geodecloud.restore.shade.cast_shade` calls ground and share
        """
        if shade.found is None:
            return None
        seen = share > 0.8
        below = darkness(dark, np.where(shade.blocks < _SHADED, share, 0), seen, share)
        takes = _taken(below, seen, shade)
        if takes is None:
            return None
        inside = seen & (shade.blocks > 0.05)
        weight, total = (
            gaussian_filter(values.astype(np.float64), 1.0, mode="constant")
            for values in (inside, np.where(inside, below, 0))
        )
        there = np.divide(total, weight * takes, out=np.zeros_like(total), where=weight > 1e-3)
        may = np.clip(shade.blocks / _SHADED, 0, 1)
        gate = np.clip((np.maximum(there, below / takes) - 0.2) / 0.3, 0, 1) * may
        strength = np.clip(there, 0, 1) * gate
        return cls(gate.astype(np.float32), strength.astype(np.float32), takes, light)

    @property
    def is_ground(self) -> NDArray[np.bool_]:
        """Blocks (h, w) that tell what the ground around looks like in the sun."""
        return self.blocks < 0.5

    def touch(self, window: Window) -> bool:
        """Whether any block that a pixel of a window may depend on lies in a shadow."""
        top, left = (max(n // PRIOR_PX - 1, 0) for n in (window.row_off, window.col_off))
        bottom, right = (
            -(-(begin + length) // PRIOR_PX) + 1
            for begin, length in ((window.row_off, window.height), (window.col_off, window.width))
        )
        return bool(self.blocks[top:bottom, left:right].any())

    def relight(
        self, image: Array, around: Array, restored: Array, opacity: Array, window: Window
    ) -> tuple[Array, Array]:
        """Restored pixels and opacity (C, H, W) and (H, W) of a window, its shadows lit.

        Parameters
        ----------
        image : (C, H + 2 r, W + 2 r), of the window and `BLUR_REACH_PX` more on each side; where the scene ends, as at its edge
        around : (H, W), the ground around in the band `light.dark`
        restored, opacity : of the network; NaN where it saw nothing
        """
        reach = BLUR_REACH_PX
        inner = np.s_[reach:-reach, reach:-reach]
        weight = self._weight(image, around, window)
        if not weight.any():
            return restored, opacity
        with np.errstate(invalid="ignore"):
            weight *= np.clip(1 - np.nan_to_num(opacity) / _CLOUD, 0, 1)
            takes = self.share * np.asarray(self.light.takes, np.float32)[:, None, None]
            lit = image[:, *inner] / (1 - np.minimum(takes, 0.9) * weight)
            # as much of it as there is shadow: `weight` is in the light already
            share = np.clip(weight / 0.3, 0, 1)
            restored = np.where(weight > 0, restored + share * (lit - restored), restored)
            opacity = np.where(weight > 0, np.fmax(opacity, SHADOW_OPACITY * share), opacity)
        return restored.astype(np.float32), opacity.astype(np.float32)

    def _weight(self, image: Array, around: Array, window: Window) -> Array:
        """How far each pixel (H, W) of a window lies in a shadow, in [0, 1]."""
        may, strength = over_pixels(np.stack([self.blocks, self.strength]), window, PRIOR_PX)
        reach = BLUR_REACH_PX
        inner = np.s_[reach:-reach, reach:-reach]
        bands = [self.light.dark] + ([] if self.light.wet is None else [self.light.wet])
        dark, *wet = (
            gaussian_filter(image[band], _BLUR_PX, radius=reach, mode="nearest")[inner]
            for band in bands
        )
        # deep shadows are seen pixel by pixel; light ones are no darker than fields differ, and told by blocks
        deep = float(np.clip((self.share - _LIGHT) / (_DEEP - _LIGHT), 0, 1))
        with np.errstate(invalid="ignore", divide="ignore"):
            below = 1 - dark / np.maximum(around, 0.02)
            low, high = 0.4 * self.share, 0.85 * self.share
            own = np.clip((below - low) / (high - low), 0, 1) * may
            weight = deep * own + (1 - deep) * strength
            for band in wet:
                weight *= np.clip((dark / np.maximum(band, 1e-3) - 1) / 0.3, 0, 1)
        return np.nan_to_num(weight).astype(np.float32)


def _taken(below: NDArray[np.float64], seen: Bool, shade: Shade) -> float | None:
    """The share of light that a shadow takes, by how much darker blocks in the shade are; None: by too little.

    The slope of the darkness over the shade, both against what is around, so that a dark part of the scene is no shadow.
    """
    assert shade.found is not None
    inside, outside = seen & (shade.found > 0.8), seen & (shade.blocks < 0.05)
    if min(np.count_nonzero(inside), np.count_nonzero(outside)) < _FEW:
        return None
    weight = gaussian_filter(seen.astype(np.float64), AROUND_BLOCKS, mode="constant")
    own = [np.where(seen, values, 0).astype(np.float64) for values in (shade.found, below)]
    shaded, dark = (
        (one - gaussian_filter(one, AROUND_BLOCKS, mode="constant") / np.maximum(weight, 1e-6))[
            seen
        ]
        for one in own
    )
    both, square = float((shaded * dark).mean()), float((shaded**2).mean())
    takes = both / max(square, 1e-9)
    likeness = both / max(np.sqrt(square * float((dark**2).mean())), 1e-9)
    # neighbours are alike: some blocks count for one
    error = takes * np.sqrt(max(1 - likeness**2, 0) * _ALIKE / shaded.size) / max(likeness, 1e-9)
    if takes < max(_TAKES[0], _SURE * error):
        return None
    # where clouds differ in height, part of the blocks is in the sun, and the dark ones tell
    within, beside = below[inside], below[outside]
    deep = within > _DARK
    if deep.mean() > max(_LEAST_DARK, _TIMES * (beside > _DARK).mean()):
        takes = max(takes, float(np.quantile(within[deep], _WHOLLY)))
    return min(takes, _TAKES[1])

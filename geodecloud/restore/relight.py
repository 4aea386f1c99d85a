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
from geodecloud.restore.references.pyramid import interpolate_blocks
from geodecloud.restore.shade import darkness
from geodecloud.windows.tiler import Window

Array = NDArray[np.float32]

#: Opacity that a shadow gets in the cloud map at most: below what begins to hide the ground.
SHADOW_OPACITY = 0.33
#: Blocks lie in the shade from so much of a cloud on; a dark block is darker than its surroundings by this share.
_SHADED, _DARK = 0.3, 0.3
#: Of the blocks wholly in the shade so many have to be dark, and so many times as many as of those that are not; how many
#: blocks there have to be.
_LEAST_DARK, _TIMES, _FEW = 0.15, 3.0, 25
#: Of what such blocks are darker by this quantile is a whole shadow's: many blocks lie in its rim.
_WHOLLY = 0.7
#: What shadows take of the near infrared, at least and at most.
_TAKES = (0.3, 0.75)
#: Darker than the ground around by less than this is no shadow; of how many pixels darkness is told (standard deviation, reach).
_LIT, _BLUR_PX, BLUR_REACH_PX = 0.2, 1.5, 4
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
    blocks : (h, w) in [0, 1], of blocks of `PRIOR_PX`
    share : of the light in `light.dark` that they take
    """

    blocks: Array
    share: float
    light: Light

    @classmethod
    def of(cls, shade: Array, dark: Array, share: Array, light: Light) -> Shadows | None:
        """Of a scene whose clouds are thrown there; None: what lies there is no darker than elsewhere.

        Parameters
        ----------
        shade : (h, w), see `geodecloud.restore.shade.cast_shade`
        dark, share : see there `ground` and `share`
        """
        seen = share > 0.8
        below = darkness(dark, np.where(shade < _SHADED, share, 0), seen, share)
        is_dark = seen & (below > _DARK)
        inside, outside = seen & (shade > 0.6), seen & (shade < 0.05)
        counts = np.count_nonzero(inside), np.count_nonzero(outside)
        if min(counts) < _FEW:
            return None
        within, beside = (is_dark[part].mean() for part in (inside, outside))
        if within < max(_LEAST_DARK, _TIMES * beside):
            return None
        takes = float(np.quantile(below[inside & is_dark], _WHOLLY))
        blocks = np.clip(shade / _SHADED, 0, 1) * (below > _LIT)
        return cls(blocks.astype(np.float32), float(np.clip(takes, *_TAKES)), light)

    @property
    def is_ground(self) -> NDArray[np.bool_]:
        """Blocks (h, w) that tell what the ground around looks like in the sun."""
        return self.blocks < 0.5

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
        y, x = (
            (np.arange(begin, begin + length) + 0.5) / PRIOR_PX - 0.5
            for begin, length in ((window.row_off, window.height), (window.col_off, window.width))
        )
        shaded = interpolate_blocks(self.blocks[None], y, x)[0]
        if not shaded.any():
            return shaded
        reach = BLUR_REACH_PX
        inner = np.s_[reach:-reach, reach:-reach]
        bands = [self.light.dark] + ([] if self.light.wet is None else [self.light.wet])
        dark, *wet = (
            gaussian_filter(image[band], _BLUR_PX, radius=reach, mode="nearest")[inner]
            for band in bands
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            below = 1 - dark / np.maximum(around, 0.02)
            weight = np.clip((below - _LIT) / (0.85 * self.share - _LIT), 0, 1) * shaded
            for band in wet:
                weight *= np.clip((dark / np.maximum(band, 1e-3) - 1) / 0.3, 0, 1)
        return np.nan_to_num(weight).astype(np.float32)

"""Scenes on a screen: which bands are red, green and blue, and one stretch for all that is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.scene.bands import canonical_name

Bool = NDArray[np.bool_]

#: Below this share of a look, clear pixels do not stand for the scene.
_FEW = 0.02
#: Gamma of pictures: ground is dark, and screens show little of what is near black.
_GAMMA = 0.8
#: What is shown where there is no data.
_NODATA_GREY = 128


@dataclass(frozen=True)
class Look:
    """The same bands before and after, thinned out alike.

    Attributes
    ----------
    before, after : (band, h, w), in the scene's dtype
    valid : (h, w), True where both have data
    step : how many pixels of the scene, in a row, make one
    """

    before: NDArray[Any]
    after: NDArray[Any]
    valid: Bool
    step: int

    @property
    def unchanged(self) -> Bool:
        """Pixels (h, w) with data that are the same before and after."""
        same: Bool = (self.before == self.after).all(axis=0) & self.valid
        return same


@dataclass(frozen=True)
class Stretch:
    """Values to the brightness of a screen; the same for every picture that is to be compared.

    Attributes
    ----------
    low, high : (3,) values that become black and white
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, rgb: NDArray[Any], shown: NDArray[np.bool_], true_colour: bool) -> Stretch:
        """From the 2nd to the 98th percentile of some pixels (h, w) of an image (3, h, w).

        In true colour the three have one stretch, so that grey stays grey; else each has its own.
        """
        if not shown.any():
            return cls(np.zeros(3), np.ones(3))
        pixels = rgb[:, shown].astype(np.float64)
        low, high = np.percentile(pixels, [2, 98], axis=None if true_colour else 1)
        return cls(np.broadcast_to(low, 3), np.broadcast_to(high, 3))

    def apply(self, rgb: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """The picture (3, h, w) of an image; grey where there is no data."""
        low, high = self.low[:, None, None], self.high[:, None, None]
        with np.errstate(invalid="ignore"):
            unit = np.clip((rgb.astype(np.float32) - low) / np.maximum(high - low, 1e-12), 0, 1)
        drawn = np.where(valid, 255 * np.nan_to_num(unit) ** _GAMMA, _NODATA_GREY)
        return np.rint(drawn).astype(np.uint8)


@dataclass(frozen=True)
class Colours:
    """Which bands are shown as red, green and blue.

    Attributes
    ----------
    channels : 0-based bands
    are_true : whether they are red, green and blue by their names
    """

    channels: tuple[int, int, int]
    are_true: bool

    @classmethod
    def of(cls, names: Sequence[str | None]) -> Colours:
        """Those by name, else the first three; of fewer, the first in grey."""
        known = [canonical_name(name) for name in names]
        if {"B04", "B03", "B02"} <= set(known):
            return cls((known.index("B04"), known.index("B03"), known.index("B02")), True)
        return cls((0, 1, 2) if len(known) >= 3 else (0, 0, 0), False)

    @property
    def needed(self) -> list[int]:
        """The bands, each once and in order."""
        return sorted(set(self.channels))

    def within(self, chosen: Sequence[int]) -> Colours:
        """The same, counted among some bands only."""
        red, green, blue = (chosen.index(i) for i in self.channels)
        return Colours((red, green, blue), self.are_true)


def draw_before_after(
    look: Look, colours: Colours, clear: NDArray[np.bool_] | None = None
) -> list[NDArray[np.uint8]]:
    """Both pictures (3, h, w) of a look, in one stretch: that of the scene's clear ground.

    Parameters
    ----------
    colours : counted among the bands of the look
    clear : pixels (h, w) that show ground; None: those that were not changed
    """
    if clear is None:
        clear = look.unchanged
    if clear.mean() < _FEW:  # nothing is clear: what the result shows has to do
        shown, clear = look.after, look.valid
    else:
        shown = look.before
    rgb = list(colours.channels)
    stretch = Stretch.of(shown[rgb], clear, colours.are_true)
    return [stretch.apply(image[rgb], look.valid) for image in (look.before, look.after)]


def join(pictures: Sequence[NDArray[np.uint8]], axis: int, gap_px: int) -> NDArray[np.uint8]:
    """Pictures (3, H, W) in a column (axis 1) or in a row (axis 2), with white gaps."""
    shape = [gap_px if i == axis else n for i, n in enumerate(pictures[0].shape)]
    gap = np.full(shape, 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=axis)

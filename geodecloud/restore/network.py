"""The network over one chunk: gaps are filled, windows planned, predicted and placed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodecloud.backends import Margins
from geodecloud.restore.composite import Bool, add_margin, fill_gaps
from geodecloud.restore.declouder import ModelHandle
from geodecloud.windows.stitcher import Mosaic
from geodecloud.windows.tiler import Ends, PaddedWindow, Window, plan_windows

Array = NDArray[np.float32]


@dataclass(frozen=True)
class NetworkPredictor:
    """Restores the pixels of a chunk that are wanted, window by window.

    Attributes
    ----------
    model : loaded where a chunk is computed
    slots : the model's channel that each restored band feeds
    window_px : wished side of a window; None: as the backend likes it
    reach_px : context around a window, at least what the network needs
    fill_px : radius of the mean that fills gaps; 0 where the scene cannot have any
    ends : rows and columns at which windows end, see `geodecloud.windows.tiler.plan_chunks`
    """

    model: ModelHandle
    slots: tuple[int, ...]
    window_px: int | None
    reach_px: int
    fill_px: int
    ends: Ends = ((), ())

    @property
    def context_px(self) -> int:
        """Context the prediction of one pixel needs."""
        return self.reach_px + self.fill_px

    @property
    def opaque_threshold(self) -> float:
        """Opacity above which the ground counts as not visible."""
        return self.model.card.opaque_threshold

    def restore(
        self, image: Array, usable: Bool, wanted: Bool, region: Window, padded: Window
    ) -> tuple[Array, Array]:
        """Restored reflectance and opacity over a region, where wanted.

        Parameters
        ----------
        image : (C, h, w) over `padded`, reflectance of the restored bands; unusable pixels may be NaN
        usable : (h, w) over `padded`
        wanted : (H, W) over `region`, True somewhere
        region, padded : scene pixels

        Returns
        -------
        restored : (C, H, W) float32, 0 where not computed
        opacity : (H, W) float32 in [0, 1]; NaN where the model makes no cloud map
        """
        count = len(image)
        image = fill_gaps(image, usable, self.fill_px)
        mosaic = Mosaic(count + 1, region)
        for window, patch, opacity in self._predict_windows(image, wanted, region, padded):
            mosaic.place(window.core, np.concatenate([patch, opacity[None]]))
        both = mosaic.image(wanted)
        return both[:count], both[count]

    def find_clouds(self, opacity: Array) -> Bool:
        """Where the model sees cloud, with a margin for its rim; NaN is no cloud."""
        with np.errstate(invalid="ignore"):
            return add_margin(opacity > self.model.card.cloud_threshold)

    def find_hidden(self, opacity: Array) -> Bool:
        """Where the ground was not visible.

        A model without a cloud map cannot tell visible ground from hidden: all counts as hidden.
        """
        hidden: Bool = ~(opacity <= self.opaque_threshold)
        return hidden

    def _predict_windows(
        self, image: Array, wanted: Bool, region: Window, padded: Window
    ) -> Iterator[tuple[PaddedWindow, Array, Array]]:
        """Predict the windows that hold a wanted pixel; yields (window, core patch, opacity)."""
        declouder = self.model.load()
        area = around_wanted(wanted, region)
        # strips are worth their graphs where all of the chunk is wanted, as of its neighbours
        ends = self.ends if area == region else ((), ())
        side = self.window_px or declouder.window_px
        windows = [
            window
            for window in plan_windows(area, side, self.reach_px, padded, ends)
            if wanted[window.core.relative_to(region).slices_yx].any()
        ]
        for batch in _like_batches(windows, declouder.batch_size):
            patches = [image[:, *window.padded.relative_to(padded).slices_yx] for window in batch]
            stacked = np.stack(patches) if len(patches) > 1 else patches[0][None]  # no copy of one
            restored, opacity = self._predict(stacked, margins_of(batch[0]))
            yield from zip(batch, restored, opacity, strict=True)

    def _predict(self, patches: Array, margins: Margins) -> tuple[Array, Array]:
        """Restored bands and opacity of cores; a band the scene lacks is a plane of zeros."""
        count, declouder = len(self.model.card.channels), self.model.load()
        if count <= len(self.slots):
            return declouder.predict(patches, margins)
        batch = np.zeros((len(patches), count, *patches.shape[2:]), np.float32)
        batch[:, self.slots] = patches
        restored, opacity = declouder.predict(batch, margins)
        return restored[:, self.slots], opacity


def margins_of(window: PaddedWindow) -> Margins:
    """Context on each side of a window's core."""
    core, padded = window.core, window.padded
    top, left = core.row_off - padded.row_off, core.col_off - padded.col_off
    return Margins(
        top=top,
        right=padded.width - core.width - left,
        bottom=padded.height - core.height - top,
        left=left,
    )


def around_wanted(wanted: Bool, region: Window) -> Window:
    """The smallest window around the wanted pixels of a region; there is at least one."""
    (top, bottom), (left, right) = (
        (int(found[0]), int(found[-1]) + 1)
        for found in (np.flatnonzero(wanted.any(axis=axis)) for axis in (1, 0))
    )
    return Window(region.col_off + left, region.row_off + top, right - left, bottom - top)


def _like_batches(windows: list[PaddedWindow], size: int) -> list[list[PaddedWindow]]:
    """Group windows of equal shape and margins into batches of at most `size`."""
    groups: dict[tuple[tuple[int, int], Margins], list[PaddedWindow]] = {}
    for window in windows:
        groups.setdefault((window.padded.shape_yx, margins_of(window)), []).append(window)
    return [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]

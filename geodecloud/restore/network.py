"""The network over one chunk: gaps are filled, windows planned, predicted and placed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodecloud.backends import Margins
from geodecloud.backends.declouder import ModelHandle
from geodecloud.restore.composite import Bool, add_margin, fill_gaps
from geodecloud.restore.ground_around import GroundAround
from geodecloud.windows.stitcher import Mosaic
from geodecloud.windows.tiler import Ends, PaddedWindow, Window, plan_windows

Array = NDArray[np.float32]

#: Radius of the mean that fills gaps, at most: of a network that sees further, what is deep in a gap is dark.
MOST_FILL_PX = 36


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
    extent : the whole scene
    align_px : windows begin at multiples of it, counted from the scene's corner
    ends : rows and columns at which windows end, see `geodecloud.windows.tiler.plan_chunks`
    mirrored : the network sees each window with left and right changed over: another opinion of the same ground
    """

    model: ModelHandle
    slots: tuple[int, ...]
    window_px: int | None
    reach_px: int
    fill_px: int
    extent: Window
    align_px: int = 1
    ends: Ends = ((), ())
    mirrored: bool = False

    @property
    def context_px(self) -> int:
        """Context the prediction of one pixel needs: windows around it begin a little before it."""
        return self.reach_px + self.fill_px + self.align_px - 1

    @property
    def opaque_threshold(self) -> float:
        """Opacity above which the ground counts as not visible."""
        return self.model.card.opaque_threshold

    def restore(
        self,
        image: Array,
        usable: Bool,
        wanted: Bool,
        region: Window,
        padded: Window,
        around: GroundAround | None = None,
    ) -> tuple[Array, Array]:
        """Restored reflectance and opacity over a region, where wanted.

        Parameters
        ----------
        image : (C, h, w) over `padded`, reflectance of the restored bands; unusable pixels may be NaN
        usable : (h, w) over `padded`
        wanted : (H, W) over `region`, True somewhere
        region, padded : scene pixels
        around : what the first pass saw; None: this is the first, or the only one

        Returns
        -------
        restored : (C, H, W) float32, 0 where not computed
        opacity : (H, W) float32 in [0, 1]; NaN where the model makes no cloud map
        """
        count = len(image)
        if around is None:
            image = fill_gaps(image, usable, self.fill_px)
        elif not usable.all():
            image = np.where(usable, image, around.pixels(padded)[0])
        # windows begin where blocks do, a little before the region and after it
        canvas = region.snap(self.align_px, self.extent)
        inner = region.relative_to(canvas).slices_yx
        asked = np.zeros(canvas.shape_yx, bool)
        asked[inner] = wanted
        mosaic = Mosaic(count + 1, canvas)
        for window, patch, opacity in self._predict_windows(image, asked, canvas, padded, around):
            mosaic.place(window.core, np.concatenate([patch, opacity[None]]))
        both = mosaic.image(asked)[:, *inner]
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
        self,
        image: Array,
        wanted: Bool,
        region: Window,
        padded: Window,
        around: GroundAround | None,
    ) -> Iterator[tuple[PaddedWindow, Array, Array]]:
        """Predict the windows that hold a wanted pixel; yields (window, core patch, opacity)."""
        declouder = self.model.load()
        area = around_wanted(wanted, region)
        # strips are worth their graphs where all of the chunk is wanted, as of its neighbours
        ends = self.ends if area == region else ((), ())
        side, align = self.window_px or declouder.window_px, self.align_px
        windows = [
            window
            for window in plan_windows(area, side, self.reach_px, self._frame(padded), ends, align)
            if wanted[window.core.relative_to(region).slices_yx].any()
        ]
        for batch in _like_batches(windows, declouder.batch_size):
            patches = [image[:, *window.padded.relative_to(padded).slices_yx] for window in batch]
            stacked = np.stack(patches) if len(patches) > 1 else patches[0][None]  # no copy of one
            prior = None
            if around is not None:
                blocks = self.model.card.blocks
                prior = np.stack([around.prior(window.padded, blocks) for window in batch])
            predict = self._predict_mirrored if self.mirrored else self._predict
            restored, opacity = predict(stacked, margins_of(batch[0]), prior)
            yield from zip(batch, restored, opacity, strict=True)

    def _frame(self, padded: Window) -> Window:
        """The part of a chunk in which windows can lie: it begins where a block does."""
        align = self.align_px
        left, top = (-(-n // align) * align for n in (padded.col_off, padded.row_off))
        right, bottom = padded.col_off + padded.width, padded.row_off + padded.height
        # the last block may be cut off where the scene ends, and nowhere else
        if right < self.extent.col_off + self.extent.width:
            right = right // align * align
        if bottom < self.extent.row_off + self.extent.height:
            bottom = bottom // align * align
        return Window(left, top, right - left, bottom - top)

    def _predict(
        self, patches: Array, margins: Margins, prior: Array | None
    ) -> tuple[Array, Array]:
        """Restored bands and opacity of cores; a band the scene lacks is a plane of zeros."""
        count, declouder = len(self.model.card.channels), self.model.load()
        if count <= len(self.slots):
            return declouder.predict(patches, margins, prior)
        batch = self._in_slots(patches, count)
        if prior is not None:
            known = len(self.slots)
            bands = self._in_slots(prior[:, :known], count)
            prior = np.concatenate([bands, prior[:, known:]], axis=1)
        restored, opacity = declouder.predict(batch, margins, prior)
        return restored[:, self.slots], opacity

    def _predict_mirrored(
        self, patches: Array, margins: Margins, prior: Array | None
    ) -> tuple[Array, Array]:
        """The same of windows that are mirrored before, and back after.

        A window that is cut off where the scene ends is filled up first, as a network on blocks does: so blocks lie where
        they lay, and what comes out does not depend on the windows.
        """
        more = -patches.shape[-1] % self.model.card.blocks
        patches = np.pad(patches, ((0, 0), (0, 0), (0, 0), (0, more)), mode="edge")
        turned = margins._replace(left=margins.right + more, right=margins.left)
        flipped = np.ascontiguousarray(patches[..., ::-1])
        behind = None if prior is None else np.ascontiguousarray(prior[..., ::-1])
        restored, opacity = self._predict(flipped, turned, behind)
        return restored[..., ::-1], opacity[..., ::-1]

    def _in_slots(self, bands: Array, count: int) -> Array:
        """The scene's bands among all of the model's."""
        planes = np.zeros((len(bands), count, *bands.shape[2:]), np.float32)
        planes[:, self.slots] = bands
        return planes


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

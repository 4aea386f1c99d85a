"""One block of a scene through the network: the arithmetic behind the pipeline.

A block comes with its halo. Gaps are filled, the windows that hold something to replace are
restored, the mask decides what changes, and DN come back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.backends import Margins
from geodecloud.masks.sources import HIDING
from geodecloud.models.veil import Veil
from geodecloud.restore.composite import (
    FEATHER_PX,
    MARGIN_PX,
    Bool,
    add_margin,
    classify_pixels,
    fill_gaps,
)
from geodecloud.restore.declouder import ModelHandle
from geodecloud.scene.reflectance import Codec, check_values
from geodecloud.windows.stitcher import Mosaic
from geodecloud.windows.tiler import (
    BLEND_OVERLAP_PX,
    BLENDED_PX,
    Ends,
    PaddedWindow,
    Window,
    plan_overlapping,
    plan_windows,
)

Array = NDArray[np.float32]

#: The mask's margin and soft edge look this much further than the pixels asked for.
MASK_REACH_PX = FEATHER_PX + MARGIN_PX
#: Fewer pixels than this say nothing about what their values mean.
_FEW_PX = 100
#: About as many pixels as are looked at.
_SAMPLE_PX = 256 * 256


@dataclass(frozen=True)
class ChunkRestorer:
    """Everything one block needs to know; decided once per scene, the same for each block.

    Attributes
    ----------
    declouder : model on a device, loaded where a block is computed
    codec : DN <-> reflectance of the restored bands
    channels : 0-based bands of the scene that the model restores, in the model's order
    slots : the model's channel that each of them feeds
    mask_kind : see `geodecloud.restore.decisions.Plan`
    strict : see `geodecloud.restore.composite.classify_pixels`
    extent : the whole scene
    window_px : wished side of a window; None: as the backend likes it
    reach_px : context around a window, at least what the network needs; None: no limit, blend
    fill_px : radius of the mean that fills gaps; 0 where the scene cannot have any
    alpha : 0-based band that is a mask and no data, or None
    ends : rows and columns at which windows end, see `geodecloud.windows.tiler.plan_chunks`
    veil : over the whole scene; then it is lifted and that is all, or None
    check : refuse blocks that look like DN and are taken for reflectance; nobody has looked yet
    """

    declouder: ModelHandle
    codec: Codec
    channels: tuple[int, ...]
    slots: tuple[int, ...]
    mask_kind: str
    strict: bool
    extent: Window
    window_px: int | None
    reach_px: int | None
    fill_px: int
    alpha: int | None = None
    ends: Ends = ((), ())
    veil: Veil | None = None
    check: bool = False

    @property
    def context_px(self) -> int:
        """Context the prediction of one pixel needs."""
        if self.reach_px is None:
            return self._blended_px + self.fill_px  # all windows that touch a pixel lie within
        return self.reach_px + self.fill_px

    @property
    def halo_px(self) -> int:
        """Context a block must bring: for the prediction, and for the mask's soft edge."""
        return self.context_px + MASK_REACH_PX

    @property
    def _blended_px(self) -> int:
        """Side of the windows of a model that blends: its result depends on it."""
        return self.window_px or BLENDED_PX

    def __call__(
        self,
        dn: NDArray[Any],
        valid: Bool | None,
        clouds: NDArray[np.uint8] | None,
        allowed: Bool | None,
        *,
        core: Window,
        padded: Window,
    ) -> tuple[NDArray[Any], Array, NDArray[np.uint8]]:
        """Decloud one block.

        Parameters
        ----------
        dn : (C, h, w) over `padded`, the scene's dtype
        valid, allowed : (h, w) over `padded`; None: all valid, all allowed
        clouds : (h, w) over `padded`, see `geodecloud.masks.sources`; None: nothing is known
        core, padded : scene pixels

        Returns
        -------
        dn : (C, H, W) over `core`
        opacity : (H, W) float32; NaN where nothing was computed
        provenance : (H, W) uint8

        Raises
        ------
        SceneError
            If the values of the block look like DN that were taken for reflectance.
        """
        has_data, usable = self._validity(dn, valid)
        if self.check:
            self._check_values(dn, usable, core, padded)
        allowed = np.ones_like(usable) if allowed is None else allowed
        region = core.grow(MASK_REACH_PX, self.extent)
        view = region.relative_to(padded).slices_yx
        has_data, usable_here, allowed = has_data[view], usable[view], allowed[view]
        wanted = usable_here & allowed
        known = None if clouds is None else clouds[view]
        if self.mask_kind == "given":
            assert known is not None
            wanted &= known > 0

        if self.veil is not None:
            restored, opacity = self._lift(self.veil, dn[:, *view])
        else:
            restored, opacity = self._restore(dn, usable, wanted, region, padded)
        # which windows were computed depends on the cut; what is said about a pixel must not
        opacity = np.where(wanted, opacity, np.nan).astype(np.float32)
        is_cloud = self._is_cloud(opacity, has_data, known)
        # a model without a cloud map cannot tell visible ground from hidden: all counts as hidden
        hidden = ~(opacity <= self.declouder.card.opaque_threshold)
        if self.veil is not None:  # ground shows through it
            hidden[:] = False
        if known is not None:
            hidden |= known == HIDING
        decision = classify_pixels(has_data, usable_here, is_cloud, hidden, allowed, self.strict)

        inner = core.relative_to(region).slices_yx
        out = dn[:, *core.relative_to(padded).slices_yx]
        out = self._composite(out, restored[:, *inner], decision.weight[inner])
        return np.ascontiguousarray(out), opacity[inner], decision.provenance[inner]

    def _check_values(self, dn: NDArray[Any], usable: Bool, core: Window, padded: Window) -> None:
        """Refuse the block if its own pixels, without the halo, look like DN."""
        rows, cols = np.nonzero(usable[core.relative_to(padded).slices_yx])
        if rows.size < _FEW_PX:
            return
        some = slice(None, None, max(1, rows.size // _SAMPLE_PX))
        inner = dn[:, *core.relative_to(padded).slices_yx]
        pixels = inner[np.array(self.channels)[:, None], rows[some], cols[some]]
        where = (
            f"the {core.width} x {core.height} px from column {core.col_off}, row {core.row_off}"
        )
        check_values(pixels[:, None], self.codec, where)

    def _composite(
        self, dn: NDArray[Any], restored: Array, weight: NDArray[np.float64]
    ) -> NDArray[Any]:
        """DN with the restored bands put in by weight; a weight of 0 keeps the very same DN."""
        if not weight.any():
            return dn
        dn, channels = dn.copy(), list(self.channels)
        for rows in _bands_of_rows(len(weight)):
            share, old = weight[rows], dn[channels, rows]
            before = self.codec.decode(old)
            # the change in float32, added in float64: no change gives back the very same DN
            change = restored[:, rows] - before.astype(np.float32)
            with np.errstate(invalid="ignore"):  # gaps may hold NaN; their weight is 0
                after = np.where(share > 0, before + share * change, 0)
            dn[channels, rows] = np.where(share > 0, self.codec.encode(after), old)
        return dn

    def _reflectance(self, dn: NDArray[Any]) -> Array:
        """Reflectance (C, H, W) of the restored bands, in the network's float32."""
        channels = list(self.channels)
        image = np.empty((len(channels), *dn.shape[1:]), np.float32)
        for rows in _bands_of_rows(dn.shape[1]):
            image[:, rows] = self.codec.decode(dn[channels, rows])
        return image

    def _lift(self, veil: Veil, dn: NDArray[Any]) -> tuple[Array, Array]:
        """Ground under a veil, (C, H, W), and its opacity, (H, W): it lies over the picture as it is seen."""
        tone = self.codec.tone
        lifted: Array = tone.light(veil.lift(tone.values(self._reflectance(dn)))).astype(np.float32)
        return lifted, np.full(dn.shape[1:], veil.opacity, np.float32)

    def _validity(self, dn: NDArray[Any], valid: Bool | None) -> tuple[Bool, Bool]:
        """Pixels with data in any band, and pixels the model can read."""
        nodata = self.codec.nodata
        missing = np.zeros(dn.shape, bool)
        if nodata is not None and np.isfinite(nodata):
            missing = dn == nodata
        if np.issubdtype(dn.dtype, np.floating):
            missing |= ~np.isfinite(dn)
        data_bands = [i for i in range(len(dn)) if i != self.alpha] or [0]
        has_data: Bool = ~np.all(missing[data_bands], axis=0)
        usable: Bool = ~np.any(missing[list(self.channels)], axis=0)
        if valid is not None:
            has_data, usable = has_data & valid, usable & valid
        return has_data, usable

    def _is_cloud(self, opacity: Array, has_data: Bool, known: NDArray[np.uint8] | None) -> Bool:
        if self.mask_kind == "none":
            return has_data
        is_cloud = np.zeros_like(has_data) if known is None else known > 0
        if self.veil is not None and self.mask_kind == "auto":
            is_cloud[:] = True
        elif self.mask_kind == "auto":
            with np.errstate(invalid="ignore"):  # NaN: not computed, so not cloud
                is_cloud |= add_margin(opacity > self.declouder.card.cloud_threshold)
        return is_cloud & has_data

    def _restore(
        self, dn: NDArray[Any], usable: Bool, wanted: Bool, region: Window, padded: Window
    ) -> tuple[Array, Array]:
        """Restored reflectance (C, H, W) and opacity (H, W) over `region`, where wanted."""
        count = len(self.channels)
        restored = np.zeros((count, *region.shape_yx), np.float32)
        opacity = np.full(region.shape_yx, np.nan, np.float32)
        if not wanted.any():
            return restored, opacity
        image = fill_gaps(self._reflectance(dn), usable, self.fill_px)
        if self.reach_px is None:
            both = self._blend_windows(image, region, padded)
            restored, opacity = both[:count], both[count]
        else:
            for plan, patch, seen in self._place_windows(image, wanted, region, padded):
                where = plan.core.relative_to(region).slices_yx
                restored[:, *where], opacity[where] = patch, seen
        return restored, opacity

    def _predict(self, patches: Array, margins: Margins | None = None) -> tuple[Array, Array]:
        """Restored bands and opacity of cores; a band the scene lacks is a plane of zeros."""
        count, declouder = len(self.declouder.card.channels), self.declouder.load()
        if count <= len(self.slots):
            return declouder.predict(patches, margins)
        batch = np.zeros((len(patches), count, *patches.shape[2:]), np.float32)
        batch[:, self.slots] = patches
        restored, opacity = declouder.predict(batch, margins)
        return restored[:, self.slots], opacity

    def _place_windows(
        self, image: Array, wanted: Bool, region: Window, padded: Window
    ) -> Iterator[tuple[PaddedWindow, Array, Array]]:
        """Predict the windows that hold a wanted pixel; yields (plan, core patch, opacity)."""
        assert self.reach_px is not None
        declouder = self.declouder.load()
        window_px = self.window_px or declouder.window_px
        area = _around(wanted, region)
        # strips are worth their graphs where all of the chunk is wanted, as of its neighbours
        ends = self.ends if area == region else ((), ())
        plans = [
            plan
            for plan in plan_windows(area, window_px, self.reach_px, padded, ends)
            if wanted[plan.core.relative_to(region).slices_yx].any()
        ]
        for batch in _like_batches(plans, declouder.batch_size):
            patches = [image[:, *plan.padded.relative_to(padded).slices_yx] for plan in batch]
            stacked = np.stack(patches) if len(patches) > 1 else patches[0][None]  # no copy of one
            restored, opacity = self._predict(stacked, margins_of(batch[0]))
            yield from zip(batch, restored, opacity, strict=True)

    def _blend_windows(self, image: Array, region: Window, padded: Window) -> Array:
        """Predict overlapping windows of the scene's lattice and blend: (C + 1, H, W)."""
        mosaic = Mosaic(len(self.channels) + 1, region)
        windows = plan_overlapping(self.extent, self._blended_px, BLEND_OVERLAP_PX, region)
        for window in windows:
            patch = image[:, *window.relative_to(padded).slices_yx]
            restored, opacity = self._predict(np.ascontiguousarray(patch)[None])
            mosaic.add(window, np.concatenate([restored[0], opacity]), BLEND_OVERLAP_PX)
        return mosaic.result()


def _bands_of_rows(height: int) -> Iterator[slice]:
    """Rows of an array, some at a time: what is in float64 on the way stays small."""
    return (slice(row, row + 64) for row in range(0, height, 64))


def _around(wanted: Bool, region: Window) -> Window:
    """The smallest window around the wanted pixels of a region; there is at least one."""
    (top, bottom), (left, right) = (
        (int(found[0]), int(found[-1]) + 1)
        for found in (np.flatnonzero(wanted.any(axis=axis)) for axis in (1, 0))
    )
    return Window(region.col_off + left, region.row_off + top, right - left, bottom - top)


def margins_of(plan: PaddedWindow) -> Margins:
    """Context on each side of a window's core."""
    core, padded = plan.core, plan.padded
    top, left = core.row_off - padded.row_off, core.col_off - padded.col_off
    return Margins(
        top=top,
        right=padded.width - core.width - left,
        bottom=padded.height - core.height - top,
        left=left,
    )


def _like_batches(plans: list[PaddedWindow], size: int) -> list[list[PaddedWindow]]:
    """Group windows of equal shape and margins into batches of at most `size`."""
    groups: dict[tuple[tuple[int, int], Margins], list[PaddedWindow]] = {}
    for plan in plans:
        groups.setdefault((plan.padded.shape_yx, margins_of(plan)), []).append(plan)
    return [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]

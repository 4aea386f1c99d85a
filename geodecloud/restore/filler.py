"""The second pass over a chunk, where other dates are known: their ground goes into the holes.

The first pass (`ChunkSeer`) keeps what the network restored and the opacity it saw. The second
(`ChunkFiller`) sees both over a wider halo: it finds clouds and shadows that the mask missed, fills holes
with ground of other dates, and composites.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.chunk import Array, ChunkRestorer, Codes
from geodecloud.restore.composite import (
    MASK_REACH_PX,
    Bool,
    Provenance,
    add_margin,
    classify_pixels,
)
from geodecloud.restore.references import (
    DETECT_REACH_PX,
    REACH_PX,
    BandIndex,
    Coefficients,
    Fill,
    Prediction,
    Sun,
    fill,
    find_missed_clouds,
    find_shadows,
)
from geodecloud.windows.tiler import Window

#: A fill must be expected to be better than this, in reflectance, to be put in place of the network's guess.
WORST_FILL = 0.08
#: From so much less opacity than hides the ground, other dates begin to weigh.
_BLEND = 0.2


@dataclass(frozen=True)
class ChunkSeer:
    """The first pass over a chunk: what the network makes of it, without a decision."""

    restorer: ChunkRestorer

    @property
    def halo_px(self) -> int:
        """Context a chunk must bring."""
        return self.restorer.predictor.context_px

    def __call__(
        self,
        dn: NDArray[Any],
        valid: Bool | None,
        clouds: Codes | None,
        allowed: Bool | None,
        *,
        core: Window,
        padded: Window,
    ) -> tuple[Array, Array]:
        """Restored reflectance (C, H, W) and opacity (H, W) of `core`; see `ChunkRestorer`."""
        _, usable = self.restorer.validity(dn, valid)
        if self.restorer.check:
            self.restorer.check_values(dn, valid, core, padded)
        view = core.relative_to(padded).slices_yx
        may_change = np.ones(core.shape_yx, bool) if allowed is None else allowed[view]
        known = None if clouds is None else clouds[view]
        return self.restorer.look(dn, usable, known, may_change, core, padded)


@dataclass(frozen=True)
class ChunkFiller:
    """The second pass over a chunk.

    Attributes
    ----------
    restorer : what the first pass ran
    bands : which of the restored bands is which
    sun : where shadows fall; None: not known, and shadows are not looked for
    days : of each other date, since 1970-01-01; 0 where not known
    synthesis : whether the network's guess fills what no date shows
    """

    restorer: ChunkRestorer
    bands: BandIndex | None
    sun: Sun | None
    days: tuple[int, ...]
    synthesis: bool = True

    @property
    def halo_px(self) -> int:
        """Context a chunk must bring: of the fill, of what is found, and of the mask's soft edge."""
        return REACH_PX + DETECT_REACH_PX + MASK_REACH_PX

    def __call__(
        self,
        dn: NDArray[Any],
        valid: Bool | None,
        clouds: Codes | None,
        allowed: Bool | None,
        restored: Array,
        opacity: Array,
        references: Array,
        seen: Bool,
        coefficients: NDArray[Any],
        *,
        core: Window,
        padded: Window,
    ) -> tuple[NDArray[Any], Array, Codes, NDArray[np.uint16], Array]:
        """Finish one chunk.

        Parameters
        ----------
        dn, valid, clouds, allowed : see `ChunkRestorer.__call__`
        restored, opacity : (C, h, w) and (h, w) float32 over `padded`, of the first pass
        references : (R, B, h, w) float32 reflectance over `padded`
        seen : (R, h, w), a date shows ground
        coefficients : 0-d array that holds the scene's `Coefficients`

        Returns
        -------
        dn, opacity, provenance : see `ChunkRestorer.__call__`
        days : (H, W) uint16, of the date that a filled pixel comes from, 0 elsewhere
        error : (H, W) float32, expected error of filled pixels in reflectance, NaN elsewhere
        """
        restorer, fit = self.restorer, coefficients.item()
        has_data, usable = restorer.validity(dn, valid)
        scene = restorer.reflectance(dn)
        scene[:, ~usable] = np.nan
        is_cloud, hidden = restorer.find_clouds(opacity, clouds)
        prediction = fit.predict(references, seen, padded)
        found, shadow = self._missed(scene, prediction, is_cloud & usable)
        hole = usable & (found | shadow)
        is_cloud |= hole
        hidden = (hidden & is_cloud) | hole
        cloudy = restorer.predictor.find_clouds(opacity) | hole
        if clouds is not None:
            cloudy |= clouds > 0
        clear = usable & ~add_margin(cloudy)
        filled = self._fill(
            scene, clear, prediction, fit, hidden | (self._share(opacity) > 0), padded
        )
        can_fill = self._can_fill(filled, fit)

        view = core.grow(MASK_REACH_PX, restorer.extent).relative_to(padded).slices_yx
        may_change = np.ones(usable.shape, bool) if allowed is None else allowed
        weight = np.where(can_fill & hidden, np.float32(1), self._share(opacity) * can_fill)
        ground = (
            np.where(np.isfinite(restored), restored, 0) * (1 - weight) + weight * filled.ground
        )
        possible = usable & (np.isfinite(restored).all(axis=0) | (weight == 1))
        if not self.synthesis:
            possible &= ~(hidden & ~can_fill)
        decision = classify_pixels(
            has_data[view],
            possible[view],
            is_cloud[view],
            hidden[view],
            may_change[view],
            restorer.strict,
        )
        inner = core.relative_to(core.grow(MASK_REACH_PX, restorer.extent)).slices_yx
        own = core.relative_to(padded).slices_yx
        codes = decision.provenance[inner].copy()
        other = (codes == Provenance.SYNTHESISED) & can_fill[own]
        codes[other] = Provenance.OTHER_DATE
        # hidden ground that a date shows is put in whole: the fill meets what is around, and a ramp would
        # let the cloud shine through along the mask's edge
        put_in = np.where(other, 1.0, decision.weight[inner])
        out = restorer.composite(dn[:, *own], ground[:, *own].astype(np.float32), put_in)
        days = np.asarray((0, *self.days), np.uint16)[filled.date[own].astype(int) + 1]
        return (
            np.ascontiguousarray(out),
            opacity[own],
            codes,
            np.where(other, days, 0).astype(np.uint16),
            np.where(other, filled.error[own], np.nan).astype(np.float32),
        )

    @staticmethod
    def _fill(
        scene: Array,
        clear: Bool,
        prediction: Prediction,
        fit: Coefficients,
        hole: Bool,
        padded: Window,
    ) -> Fill:
        """Fill the holes of a window; elsewhere the ground is the prediction, of no use to anybody."""
        if not hole.any():
            return Fill(prediction.ground, prediction.error[0], prediction.date)
        rows, cols = (np.flatnonzero(hole.any(axis=axis)) for axis in (1, 0))
        around = Window(
            padded.col_off + int(cols[0]),
            padded.row_off + int(rows[0]),
            int(cols[-1] - cols[0]) + 1,
            int(rows[-1] - rows[0]) + 1,
        ).grow(REACH_PX, padded)
        view = around.relative_to(padded).slices_yx
        part = Prediction(
            prediction.ground[:, *view], prediction.error[:, *view], prediction.date[view]
        )
        filled = fill(scene[:, *view], clear[view], part, fit.field, around)
        ground, error = prediction.ground.copy(), prediction.error[0].copy()
        ground[:, *view], error[view] = filled.ground, filled.error
        return Fill(ground, error, prediction.date)

    def _missed(self, scene: Array, prediction: Prediction, is_cloud: Bool) -> tuple[Bool, Bool]:
        """Clouds that the mask missed, and shadows."""
        if self.bands is None or self.restorer.mask != "auto":
            nothing = np.zeros(is_cloud.shape, bool)
            return nothing, nothing
        missed = find_missed_clouds(scene, prediction, self.bands) & ~is_cloud
        if self.sun is None:  # dark ground anywhere around a cloud is too often something else
            return missed, np.zeros(is_cloud.shape, bool)
        return missed, find_shadows(scene, prediction, is_cloud | missed, self.bands, self.sun)

    @staticmethod
    def _can_fill(filled: Fill, fit: Coefficients) -> Bool:
        """Where another date shows the ground, and the fit can be trusted to say what it looks like."""
        if fit.is_empty:
            return np.zeros(filled.date.shape, bool)
        good: Bool = (filled.date >= 0) & (filled.error < WORST_FILL)
        return good & np.isfinite(filled.ground).all(axis=0)

    def _share(self, opacity: Array) -> Array:
        """Weight of other dates under cloud that nearly hides the ground: no edge where it begins to."""
        if self.restorer.strict:
            return np.zeros(opacity.shape, np.float32)
        opaque = self.restorer.opaque_threshold
        ramp = np.clip((np.nan_to_num(opacity) - (opaque - _BLEND)) / _BLEND, 0, 1)
        return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)

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
    hiding_share,
)
from geodecloud.restore.ground_around import RIM_REACH_PX
from geodecloud.restore.network import around_wanted
from geodecloud.restore.references import (
    CLOUD_REACH_PX,
    DETECT_REACH_PX,
    GAP,
    REACH_PX,
    BandIndex,
    Coefficients,
    Fill,
    Prediction,
    Sun,
    fill,
    find_missed_clouds,
    find_shadows,
    pack,
    pack_opacity,
    unpack,
    unpack_opacity,
)
from geodecloud.windows.tiler import Window

#: A fill must be expected to be better than this, in reflectance, to be put in place of the network's guess.
WORST_FILL = 0.08


@dataclass(frozen=True)
class ChunkSeer:
    """The first pass over a chunk: what the network makes of it, without a decision."""

    restorer: ChunkRestorer

    @property
    def halo_px(self) -> int:
        """Context a chunk must bring."""
        return self.restorer.predictor.context_px + RIM_REACH_PX

    def __call__(
        self,
        dn: NDArray[Any],
        valid: Bool | None,
        clouds: Codes | None,
        allowed: Bool | None,
        around: NDArray[Any] | None,
        *,
        core: Window,
        padded: Window,
    ) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
        """Restored reflectance (C, H, W) and opacity (H, W) of `core`, packed; see `ChunkRestorer`."""
        _, usable = self.restorer.validity(dn, valid)
        if self.restorer.check:
            self.restorer.check_values(dn, valid, core, padded)
        region = core.grow(RIM_REACH_PX, self.restorer.extent)
        view = region.relative_to(padded).slices_yx
        may_change = np.ones(region.shape_yx, bool) if allowed is None else allowed[view]
        known = None if clouds is None else clouds[view]
        restored, opacity = self.restorer.look(
            dn, usable, known, may_change, region, padded, around
        )
        inner = core.relative_to(region).slices_yx
        return pack(restored[:, *inner]), pack_opacity(opacity[inner])


@dataclass(frozen=True)
class ChunkPredictor:
    """The scene as its other dates have it: their many bands are read, used once, and let go."""

    halo_px = 0

    def __call__(
        self,
        *references: NDArray[Any],
        core: Window,
        padded: Window,
    ) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """Ground of one chunk, packed.

        Parameters
        ----------
        references : of each date (B, h, w) packed reflectance, see `geodecloud.restore.references.unpack`; then of
            each (h, w) bool, it shows ground; last a 0-d array that holds the scene's `Coefficients`

        Returns
        -------
        ground, subset : see `Coefficients.make_ground`
        """
        *dates, coefficients = references
        fit: Coefficients = coefficients.item()
        count = len(dates) // 2
        ground, subset = fit.make_ground(dates[:count], np.stack(dates[count:]), core)
        return pack(ground), subset


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
    def detect_px(self) -> int:
        """Distance from which it depends whether a pixel is cloud or shadow that the mask missed."""
        if not self.detects:
            return 0
        return CLOUD_REACH_PX if self.sun is None else DETECT_REACH_PX

    @property
    def detects(self) -> bool:
        """Whether clouds and shadows that the mask missed are looked for."""
        return self.bands is not None and self.restorer.mask == "auto"

    @property
    def halo_px(self) -> int:
        """Context a chunk must bring: of the fill, of what is found, and of the mask's soft edge."""
        return REACH_PX + self.detect_px + MASK_REACH_PX

    def __call__(
        self,
        dn: NDArray[Any],
        valid: Bool | None,
        clouds: Codes | None,
        allowed: Bool | None,
        restored: NDArray[np.int16],
        steps: NDArray[np.uint16],
        predicted: NDArray[np.int16],
        subset: NDArray[np.int16],
        coefficients: NDArray[Any],
        *,
        core: Window,
        padded: Window,
    ) -> tuple[NDArray[Any], Array, Codes, NDArray[np.uint16], Array]:
        """Finish one chunk.

        Parameters
        ----------
        dn, valid, clouds, allowed : see `ChunkRestorer.__call__`
        restored, steps : (C, h, w) and (h, w) over `padded`, see `ChunkSeer`
        predicted, subset : (C, h, w) and (h, w) over `padded`, see `ChunkPredictor`
        coefficients : 0-d array that holds the scene's `Coefficients`

        Returns
        -------
        dn, opacity, provenance : see `ChunkRestorer.__call__`
        days : (H, W) uint16, of the date that a filled pixel comes from, 0 elsewhere
        error : (H, W) float32, expected error of filled pixels in reflectance, NaN elsewhere
        """
        restorer, fit = self.restorer, coefficients.item()
        has_data, usable = restorer.validity(dn, valid)
        opacity, missing = unpack_opacity(steps), (restored == GAP).any(axis=0)
        is_cloud, hidden = restorer.find_clouds(opacity, clouds)
        is_cloud |= missing  # left as it is, or filled
        region = core.grow(MASK_REACH_PX, restorer.extent)
        view = region.relative_to(padded).slices_yx
        found = self._find(
            dn, clouds, opacity, usable, hidden & is_cloud, (predicted, subset), fit, region, padded
        )
        is_cloud, hidden = is_cloud[view] | found.hole, (hidden & is_cloud)[view] | found.hole
        weight = np.where(hidden & found.can_fill, 1, self._share(opacity[view]) * found.can_fill)
        possible = usable[view] & (~missing[view] | (weight == 1))
        if not self.synthesis:
            possible &= ~(hidden & ~found.can_fill)
        ground = unpack(restored[:, *view])
        ground += weight * (found.ground - ground)
        may_change = np.ones(region.shape_yx, bool) if allowed is None else allowed[view]
        decision = classify_pixels(
            has_data[view], possible, is_cloud, hidden, may_change, restorer.strict
        )
        inner = core.relative_to(region).slices_yx
        own = core.relative_to(padded).slices_yx
        codes = decision.provenance[inner].copy()
        other = (codes == Provenance.SYNTHESISED) & found.can_fill[inner]
        codes[other] = Provenance.OTHER_DATE
        # hidden ground that a date shows is put in whole: the fill meets what is around, and a ramp would
        # let the cloud shine through along the mask's edge
        put_in = np.where(other, 1.0, decision.weight[inner])
        out = restorer.composite(dn[:, *own], ground[:, *inner], put_in)
        days = np.asarray((0, *self.days), np.uint16)[found.date[inner].astype(int) + 1]
        return (
            np.ascontiguousarray(out),
            opacity[own],
            codes,
            np.where(other, days, 0).astype(np.uint16),
            np.where(other, found.error[inner], np.nan).astype(np.float32),
        )

    def _find(
        self,
        dn: NDArray[Any],
        clouds: Codes | None,
        opacity: Array,
        usable: Bool,
        hidden: Bool,
        made: tuple[NDArray[np.int16], NDArray[np.int16]],
        fit: Coefficients,
        region: Window,
        padded: Window,
    ) -> _Found:
        """Ground of other dates over `region`, and what the mask missed; the other arrays lie over `padded`."""
        view = region.relative_to(padded).slices_yx
        wanted = (hidden | (self._share(opacity) > 0))[view]
        if self.detects:
            window = padded
        elif wanted.any():
            window = around_wanted(wanted, region).grow(REACH_PX, padded)
        else:
            return _Found.nothing(len(self.restorer.channels), region.shape_yx)
        part = window.relative_to(padded).slices_yx
        usable, opacity = usable[part], opacity[part]
        scene = self.restorer.reflectance(dn[:, *part])
        scene[:, ~usable] = np.nan
        prediction = fit.judge(unpack(made[0][:, *part]), made[1][part], window)
        cloudy = self.restorer.predictor.find_clouds(opacity)
        if clouds is not None:
            cloudy |= clouds[part] > 0
        hole = self._missed(scene, prediction, cloudy & usable) & usable
        clear = usable & ~add_margin(cloudy | hole)
        inside = region.relative_to(window).slices_yx
        if window == padded:  # the fill is dear: only where there is something to fill
            wanted |= hole[inside]
            if not wanted.any():
                return _Found.nothing(len(scene), region.shape_yx)
            around = around_wanted(wanted, region).grow(REACH_PX, padded)
            part = around.relative_to(window).slices_yx
            prediction = Prediction(
                prediction.ground[:, *part], prediction.error[:, *part], prediction.date[part]
            )
            scene, clear, hole, window = scene[:, *part], clear[part], hole[part], around
        filled = fill(scene, clear, prediction, fit.field, window)
        return _Found.over(region, window, filled, hole, not fit.is_empty)

    def _missed(self, scene: Array, prediction: Prediction, is_cloud: Bool) -> Bool:
        """Clouds that the mask missed, and shadows."""
        if self.bands is None or not self.detects:
            return np.zeros(is_cloud.shape, bool)
        missed = find_missed_clouds(scene, prediction, self.bands) & ~is_cloud
        if self.sun is None:  # dark ground anywhere around a cloud is too often something else
            return missed
        return missed | find_shadows(scene, prediction, is_cloud | missed, self.bands, self.sun)

    def _share(self, opacity: Array) -> Array:
        """Weight of other dates under cloud that nearly hides the ground: no edge where it begins to."""
        if self.restorer.strict:
            return np.zeros(opacity.shape, np.float32)
        return hiding_share(np.nan_to_num(opacity), self.restorer.opaque_threshold)


@dataclass(frozen=True)
class _Found:
    """What other dates say of a region.

    Attributes
    ----------
    ground : (C, H, W) float32
    error : (H, W) float32, expected
    date : (H, W) int8, number of the date, -1 where there is none
    can_fill : (H, W), the ground can be used
    hole : (H, W), cloud or shadow that the mask missed
    """

    ground: Array
    error: Array
    date: NDArray[np.int8]
    can_fill: Bool
    hole: Bool

    @classmethod
    def nothing(cls, channels: int, shape_yx: tuple[int, int]) -> _Found:
        """There is nothing to fill."""
        nowhere = np.zeros(shape_yx, bool)
        return cls(
            np.zeros((channels, *shape_yx), np.float32),
            np.full(shape_yx, np.nan, np.float32),
            np.full(shape_yx, -1, np.int8),
            nowhere,
            nowhere,
        )

    @classmethod
    def over(
        cls, region: Window, window: Window, filled: Fill, hole: Bool, is_fitted: bool
    ) -> _Found:
        """A fill of `window`, brought to `region`; they share all that there is to fill."""
        found = cls.nothing(len(filled.ground), region.shape_yx)
        both = window.grow(0, region)
        to, here = both.relative_to(region).slices_yx, both.relative_to(window).slices_yx
        hole_there = found.hole.copy()
        hole_there[to] = hole[here]
        found.ground[:, *to] = filled.ground[:, *here]
        found.error[to], found.date[to] = filled.error[here], filled.date[here]
        with np.errstate(invalid="ignore"):
            can_fill = is_fitted & (found.date >= 0) & (found.error < WORST_FILL)
        can_fill &= np.isfinite(found.ground).all(axis=0)
        return cls(found.ground, found.error, found.date, can_fill, hole_there)

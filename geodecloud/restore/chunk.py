"""One chunk of a scene, from its DN to its DN: the arithmetic behind the pipeline.

A chunk comes with its halo. The predictor restores what may have to be replaced, the mask decides
what changes, and DN come back.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geodecloud.compute.once import Once
from geodecloud.compute.shelf import Shelf
from geodecloud.errors import GeodecloudWarning, SceneError
from geodecloud.masks.sources import HIDING
from geodecloud.restore.composite import MASK_REACH_PX, Bool, classify_pixels
from geodecloud.restore.ground_around import GroundAround
from geodecloud.restore.relight import BLUR_REACH_PX
from geodecloud.scene.gaps import Gaps, describe_gaps, find_data, repeated_numbers
from geodecloud.scene.reflectance import FEW_PX, Codec, check_values
from geodecloud.windows.tiler import Window

Array = NDArray[np.float32]
Codes = NDArray[np.uint8]

#: About as many pixels as are looked at.
_SAMPLE_PX = 256 * 256
#: A number that fewer pixels of a chunk have may be chance.
_OFTEN_PX = 20


class Predictor(Protocol):
    """Restores reflectance: the network, or what stands in for it."""

    @property
    def context_px(self) -> int:
        """Context the prediction of one pixel needs."""

    def restore(
        self,
        image: Array,
        usable: Bool,
        wanted: Bool,
        region: Window,
        padded: Window,
        around: GroundAround | None = None,
    ) -> tuple[Array, Array]:
        """Restored reflectance and opacity, see `geodecloud.restore.network.NetworkPredictor`."""

    @property
    def opaque_threshold(self) -> float:
        """Opacity above which the ground counts as not visible."""

    def find_clouds(self, opacity: Array) -> Bool:
        """Where it sees cloud."""

    def find_hidden(self, opacity: Array) -> Bool:
        """Where the ground was not visible."""


@dataclass(frozen=True)
class ChunkRestorer:
    """What happens to one chunk; decided once per scene, the same for each.

    Attributes
    ----------
    predictor : restores reflectance
    codec : DN <-> reflectance of the restored bands
    gaps : which of their numbers are no measurements, besides nodata
    channels : 0-based bands of the scene that are restored, in the model's order
    alpha : 0-based band that is a mask and no data, or None
    mask : see `geodecloud.restore.decisions.Decisions`
    strict : see `geodecloud.restore.composite.classify_pixels`
    extent : the whole scene
    check : refuse chunks that look like DN and are taken for reflectance; nobody has looked yet
    warned : of numbers that are not finite
    told : of gaps that nobody declared
    shelf : where what is made of the whole scene outlives a kill
    """

    predictor: Predictor
    codec: Codec
    gaps: Gaps
    channels: tuple[int, ...]
    alpha: int | None
    mask: str
    strict: bool
    extent: Window
    check: bool = False
    warned: Once = field(default_factory=Once, compare=False, repr=False)
    told: Once = field(default_factory=Once, compare=False, repr=False)
    shelf: Shelf = field(default_factory=Shelf, compare=False, repr=False)

    @property
    def opaque_threshold(self) -> float:
        """Opacity above which the ground counts as not visible."""
        return self.predictor.opaque_threshold

    @property
    def halo_px(self) -> int:
        """Context a chunk must bring: for the prediction, and for the mask's soft edge."""
        return self.predictor.context_px + MASK_REACH_PX

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
    ) -> tuple[NDArray[Any], Array, Codes]:
        """Decloud one chunk.

        Parameters
        ----------
        dn : (C, h, w) over `padded`, the scene's dtype
        valid, allowed : (h, w) over `padded`; None: all valid, all allowed
        clouds : (h, w) over `padded`, see `geodecloud.masks`; None: nothing is known
        around : 0-d array that holds the scene's `GroundAround`; None: the network needs none
        core, padded : scene pixels

        Returns
        -------
        dn : (C, H, W) over `core`
        opacity : (H, W) float32; NaN where nothing was computed
        provenance : (H, W) uint8

        Raises
        ------
        SceneError
            If the values of the chunk look like DN that were taken for reflectance.
        """
        has_data, usable = self.validity(dn, valid)
        region = core.grow(MASK_REACH_PX, self.extent)
        view = region.relative_to(padded).slices_yx
        known = None if clouds is None else clouds[view]
        may_change = np.ones(region.shape_yx, bool) if allowed is None else allowed[view]
        if self.check:
            self.check_values(dn, valid, core, padded)
        self._tell_gaps(dn, valid, usable, core, padded)
        restored, opacity = self.look(dn, usable, known, may_change, region, padded, around)
        is_cloud, hidden = self.find_clouds(opacity, known)
        # what the network could not compute stays as it was
        finite = np.isfinite(restored).all(axis=0)
        can_change, is_cloud = usable[view] & finite, is_cloud | ~finite
        decision = classify_pixels(
            has_data[view], can_change, is_cloud, hidden, may_change, self.strict
        )
        inner = core.relative_to(region).slices_yx
        out = self.composite(
            dn[:, *core.relative_to(padded).slices_yx], restored[:, *inner], decision.weight[inner]
        )
        return np.ascontiguousarray(out), opacity[inner], decision.provenance[inner]

    def look(
        self,
        dn: NDArray[Any],
        usable: Bool,
        known: Codes | None,
        may_change: Bool,
        region: Window,
        padded: Window,
        around: NDArray[Any] | None = None,
    ) -> tuple[Array, Array]:
        """Restored reflectance (C, H, W) and opacity (H, W) over `region`, where wanted.

        Parameters
        ----------
        dn, usable : over `padded`
        known, may_change : over `region`

        Returns
        -------
        restored : 0 where not computed, NaN where the network gave no finite number
        opacity : NaN where not computed: what is said about a pixel must not depend on the windows
        """
        wanted = usable[region.relative_to(padded).slices_yx] & may_change
        if self.mask == "given" and known is not None:
            wanted &= known > 0
        if not wanted.any():
            nothing = np.zeros((len(self.channels), *region.shape_yx), np.float32)
            return nothing, np.full(region.shape_yx, np.nan, np.float32)
        ground: GroundAround | None = None if around is None else around.item()
        image = self.reflectance(dn)
        restored, opacity = self.predictor.restore(image, usable, wanted, region, padded, ground)
        self._warn_of_gaps(restored, wanted, region)
        if ground is not None and ground.shadows is not None and ground.shadows.touch(region):
            restored, opacity = self._relight(
                image, usable, restored, opacity, ground, region, padded
            )
        if ground is not None:
            hides = None if known is None else known == HIDING
            restored = ground.fill(restored, opacity, self.opaque_threshold, region, hides)
        return restored, np.where(wanted, opacity, np.nan).astype(np.float32)

    def _relight(
        self,
        image: Array,
        usable: Bool,
        restored: Array,
        opacity: Array,
        ground: GroundAround,
        region: Window,
        padded: Window,
    ) -> tuple[Array, Array]:
        """What the network restored over `region`, with the shadows of clouds lit up."""
        shadows = ground.shadows
        assert shadows is not None
        lit_by = ground.pixels(region)[0][shadows.light.dark]
        reach = region.grow(BLUR_REACH_PX, self.extent)
        view = reach.relative_to(padded).slices_yx
        seen = np.where(usable[view], image[:, *view], ground.pixels(reach)[0])
        left, top = region.col_off - reach.col_off, region.row_off - reach.row_off
        more = [
            (BLUR_REACH_PX - before, BLUR_REACH_PX - (there - before - length))
            for before, there, length in (
                (top, reach.height, region.height),
                (left, reach.width, region.width),
            )
        ]
        whole = np.pad(seen, ((0, 0), *more), "edge")
        return shadows.relight(whole, lit_by, restored, opacity, region)

    def _warn_of_gaps(self, restored: Array, wanted: Bool, region: Window) -> None:
        """Say once a run that the network gave numbers that are none."""
        count = np.count_nonzero(wanted & ~np.isfinite(restored).all(axis=0))
        if count and self.warned.first():
            warnings.warn(
                f"the model gave no finite numbers for {count} of the {region.width} x {region.height} px "
                f"from column {region.col_off}, row {region.row_off}, and maybe for more: such pixels stay "
                "as they are, with the code 4. Its weights may be damaged, or too little for "
                'precision="fp16"; precision="fp32" is the safest',
                GeodecloudWarning,
                stacklevel=2,
            )

    def validity(
        self, dn: NDArray[Any], valid: Bool | None, rules: Gaps | None = None
    ) -> tuple[Bool, Bool]:
        """Pixels with data in any band, and pixels the model can read.

        Parameters
        ----------
        rules : which numbers are no measurements; None: those of the scene
        """
        return find_data(
            dn, valid, self.codec.nodata, rules or self.gaps, self.channels, self.alpha
        )

    def check_values(
        self, dn: NDArray[Any], valid: Bool | None, core: Window, padded: Window
    ) -> None:
        """Refuse the chunk if its own pixels, without the halo, look like DN, or hold a number that is no ground's."""
        _, usable = self.validity(dn, valid, self.gaps.with_bright(self.codec))
        inner = core.relative_to(padded).slices_yx
        bands = dn[:, *inner][list(self.channels)]
        where = _where(core)
        rows, cols = np.nonzero(usable[inner])
        if rows.size >= FEW_PX:
            some = slice(None, None, max(1, rows.size // _SAMPLE_PX))
            pixels = bands[:, rows[some], cols[some]]
            check_values(pixels[:, None], self.codec, where)
            if self.gaps.low and (found := repeated_numbers(self.codec, pixels, _OFTEN_PX)):
                raise SceneError(
                    f"{found[0]:g} stands in all bands of many of {where}, and no ground is like that. If it "
                    f'stands for no data, say so: nodata={found[0]:g}; if it was measured: nodata="none"'
                )

    def _tell_gaps(
        self, dn: NDArray[Any], valid: Bool | None, usable: Bool, core: Window, padded: Window
    ) -> None:
        """Say once a run that a chunk's own pixels have gaps that nobody declared, if no sample had any."""
        inner = core.relative_to(padded).slices_yx
        if self.gaps.told or self.told.said or usable[inner].all():
            return
        bands = dn[:, *inner][list(self.channels)]
        undeclared = self.gaps.undeclared(bands, self.codec.nodata)
        if valid is not None:
            undeclared &= valid[inner]
        if undeclared.any() and self.told.first():
            words = describe_gaps(bands, undeclared, _where(core))
            warnings.warn(words, GeodecloudWarning, stacklevel=2)

    def reflectance(self, dn: NDArray[Any]) -> Array:
        """Reflectance (C, H, W) of the restored bands, in the network's float32."""
        channels = list(self.channels)
        image = np.empty((len(channels), *dn.shape[1:]), np.float32)
        for rows in strips(dn.shape[1]):
            image[:, rows] = self.codec.decode(dn[channels, rows])
        return image

    def find_clouds(self, opacity: Array, known: Codes | None) -> tuple[Bool, Bool]:
        """The mask, and where the ground was not visible."""
        hidden = self.predictor.find_hidden(opacity)
        if known is not None:
            hidden |= known == HIDING
        if self.mask == "none":
            return np.ones(opacity.shape, bool), hidden
        is_cloud = np.zeros(opacity.shape, bool) if known is None else known > 0
        if self.mask == "auto":
            is_cloud |= self.predictor.find_clouds(opacity)
        return is_cloud, hidden

    def composite(
        self, dn: NDArray[Any], restored: Array, weight: NDArray[np.float64]
    ) -> NDArray[Any]:
        """DN with the restored bands put in by weight; a weight of 0 keeps the very same DN."""
        if not weight.any():
            return dn
        dn, channels = dn.copy(), list(self.channels)
        for rows in strips(len(weight)):
            share, old = weight[rows], dn[channels, rows]
            before = self.codec.decode(old)
            # the change in float32, added in float64: no change gives back the very same DN
            change = restored[:, rows] - before.astype(np.float32)
            with np.errstate(invalid="ignore"):  # gaps may hold NaN; their weight is 0
                after = np.where(share > 0, before + share * change, 0)
            dn[channels, rows] = np.where(share > 0, self.codec.encode(after), old)
        return dn


def _where(core: Window) -> str:
    return f"the {core.width} x {core.height} px from column {core.col_off}, row {core.row_off}"


def strips(height: int) -> Iterator[slice]:
    """Rows of an array, 64 at a time: what is made of them on the way stays small."""
    return (slice(row, row + 64) for row in range(0, height, 64))

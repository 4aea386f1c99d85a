"""A result held against its scene pixel by pixel, a strip at a time: what may not have changed has not.

Nothing is remembered of a strip but counts, the first place of each fault, two hashes, and which parts of the
scene changed at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from geodecloud.report.findings import Finding, failed, not_checked, ok
from geodecloud.restore.composite import Provenance
from geodecloud.scene.gaps import Gaps, find_data, find_missing

Bool = NDArray[np.bool_]

#: Side in px of the parts of which is remembered whether anything changed there.
CELL_PX = 256
_KEPT = (Provenance.NODATA, Provenance.OBSERVED, Provenance.LEFT)
#: What may be checked of pixels, and what is said where all is well.
CHECKS = {
    "nodata": "no data stays no data, and nothing else became it",
    "pixels": "those that may not change are bit-identical",
    "bands passed": "those that the model does not restore are bit-identical",
    "mask": "that of the file is the scene's, pixel by pixel",
    "provenance": "each pixel has one of the codes, 0 where there is no data, 5 only with other dates",
}


@dataclass(frozen=True)
class Rules:
    """Which values of a scene are data, and which bands may change.

    Attributes
    ----------
    nodata, gaps, alpha : see `geodecloud.scene.gaps.find_data`
    channels : 0-based bands that the model restores; None: not known
    has_references : whether pixels of other dates may be there
    """

    nodata: float | None
    gaps: Gaps
    alpha: int | None
    channels: tuple[int, ...] | None
    has_references: bool


@dataclass(frozen=True)
class Layers:
    """Lazy arrays of scene and result, on one grid.

    Attributes
    ----------
    scene, result : (band, y, x)
    valid : (y, x) bool, where the scene has data by its masks; None: they say nothing
    may_change : (y, x) bool, False where the mask or the area of interest asked for forbids it; None: not known
    mask : (y, x) bool, the mask that files of the result should have
    masks : those they have, by the number of the file
    codes : (y, x), provenance; None: it is not given
    """

    scene: da.Array
    result: da.Array
    valid: da.Array | None
    may_change: da.Array | None
    mask: da.Array | None
    masks: dict[int, da.Array]
    codes: da.Array | None


@dataclass
class _Fault:
    """One kind of fault: its first place, and how often it occurs."""

    check: str
    about: str
    count: int = 0
    first: dict[str, Any] = field(default_factory=dict)

    def add(self, wrong: Bool, top: int, found: Any, expected: Any) -> None:
        """Take in the faults of a strip, (band, y, x) or (y, x), that begins at row `top`."""
        number = int(np.count_nonzero(wrong))
        if number and not self.count:
            # the first of the uppermost row, whichever band it is in
            flat = wrong if wrong.ndim == 2 else wrong.any(axis=0)
            row, col = (int(n) for n in np.unravel_index(flat.argmax(), flat.shape))
            band = [int(wrong[:, row, col].argmax())] if wrong.ndim == 3 else []
            place = (*band, row, col)
            values = [v[place] if isinstance(v, np.ndarray) else v for v in (found, expected)]
            self.first = {"row": top + row, "col": col, "found": values[0], "expected": values[1]}
            self.first |= {"band": band[0] + 1} if band else {}
        self.count += number

    @property
    def finding(self) -> Finding:
        """The line it makes."""
        return failed(self.check, self.about, count=self.count, **self.first)


class Comparison:
    """Takes strips of scene and result, and says at the end what was wrong."""

    def __init__(self, rules: Rules, layers: Layers) -> None:
        self.rules, self.layers = rules, layers
        shape_yx = layers.scene.shape[-2:]
        self.faults: dict[str, _Fault] = {}
        self.changed: Bool = np.zeros([-(-n // CELL_PX) for n in shape_yx], bool)
        self.hashes = hashlib.sha256(), hashlib.sha256()
        self.outside_px = 0

    def fault(self, check: str, about: str, *where: Any) -> None:
        """Count faults of one kind, see `_Fault.add`."""
        self.faults.setdefault(about, _Fault(check, about)).add(*where)

    def take(
        self,
        top: int,
        scene: NDArray[Any],
        result: NDArray[Any],
        valid: Bool | None,
        may_change: Bool | None,
        codes: NDArray[Any] | None,
    ) -> None:
        """Compare one strip, which begins at row `top`."""
        rules = self.rules
        channels = range(len(scene)) if rules.channels is None else rules.channels
        has_data, _ = find_data(scene, valid, rules.nodata, rules.gaps, channels, rules.alpha)
        differs = _bits(scene) != _bits(result)
        lost = find_missing(scene, rules.nodata)
        emptied = find_missing(result, rules.nodata) & ~lost
        filled = differs & (lost | ~has_data)
        self.fault("nodata", "a valid pixel became no data", emptied, top, result, scene)
        self.fault("nodata", "a pixel without data changed", filled, top, result, scene)
        known = ~has_data
        if may_change is not None:
            known |= ~may_change
        if codes is not None:
            known |= np.isin(codes, _KEPT)
            self._look_at_codes(top, codes, has_data)
        untouched = differs & known & ~emptied & ~filled
        self.fault("pixels", "changed, and may not have been", untouched, top, result, scene)
        if rules.channels is not None:
            passing = differs & ~known & ~emptied & ~filled
            passing[list(rules.channels)] = False
            self.fault("bands passed", "changed in a band that passes", passing, top, result, scene)
        self._remember(top, differs.any(axis=0))
        for digest, pixels in zip(self.hashes, (scene, result), strict=True):
            digest.update(np.moveaxis(pixels, 0, -1)[known].tobytes())
        self.outside_px += int(np.count_nonzero(known))

    def _look_at_codes(self, top: int, codes: NDArray[Any], has_data: Bool) -> None:
        strange = ~np.isin(codes, list(Provenance))
        self.fault("provenance", "there is no such code", strange, top, codes, "0 to 5")
        is_none = codes == Provenance.NODATA
        if self.rules.channels is not None:  # else a run may have known further gaps
            self.fault(
                "provenance", "code 0 where there is data", is_none & has_data, top, codes, "1 to 5"
            )
        self.fault(
            "provenance", "no code 0 where there is no data", ~is_none & ~has_data, top, codes, "0"
        )
        if not self.rules.has_references:
            other = codes == Provenance.OTHER_DATE
            self.fault(
                "provenance", "another date, and the tags name none", other, top, codes, "0 to 4"
            )

    def look_at_masks(
        self, top: int, mask: Bool, masks: dict[int, Bool], names: Callable[[int], str | None]
    ) -> None:
        """Compare the files' own masks of one strip."""
        for number, own in masks.items():
            name = names(number)
            where = "" if name is None else f" of {name}"
            self.fault("mask", f"not the scene's{where}", own != mask, top, own, mask)

    def _remember(self, top: int, changed: Bool) -> None:
        rows, cols = np.nonzero(changed)
        self.changed[(rows + top) // CELL_PX, cols // CELL_PX] = True

    def findings(self) -> Iterator[Finding]:
        """A line for each kind of fault, and for each check without one."""
        has_codes = self.layers.codes is not None
        wrong = [fault.finding for fault in self.faults.values() if fault.count]
        yield from wrong
        done = {
            "nodata": True,
            "pixels": has_codes or self.layers.may_change is not None,
            "bands passed": self.rules.channels is not None,
            "mask": bool(self.layers.masks) and self.layers.mask is not None,
            "provenance": has_codes,
        }
        broken = {one.check for one in wrong}
        yield from (ok(c, text) for c, text in CHECKS.items() if done[c] and c not in broken)
        if not has_codes:
            yield not_checked("provenance", "there is no provenance raster to go by")
        if not done["pixels"]:
            yield not_checked(
                "pixels",
                "only a provenance raster tells which lie outside the mask: provenance=FILE",
            )
        else:
            scene, result = (digest.hexdigest() for digest in self.hashes)
            about = f"sha256 of the {self.outside_px} pixels that may not have changed"
            if scene == result:
                yield ok("digest", about, found=scene, expected=scene)
            else:
                yield failed("digest", about, found=result, expected=scene)


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    """Floats as the integers they are stored as: NaN is like NaN, and 0 is not like -0."""
    return values.view(f"u{values.itemsize}") if values.dtype.kind == "f" else values

"""What in the pixels of a scene speaks against the offset of its DN: providers add, remove and mislabel it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Reflectance per DN of all Sentinel-2 products.
USUAL_SCALE = 1e-4
#: Share of pixels that may have less reflectance than this before the offset is doubted.
_DARK, _DARK_SHARE = -0.03, 0.05
#: Stands for no data in all products, also where no file says so.
_UNDECLARED = 0


def doubt_offset(
    sample: NDArray[Any],
    scales: Sequence[float],
    offsets: Sequence[float],
    names: Sequence[str | None],
    nodata: float | None,
    options: tuple[str, str],
) -> list[str]:
    """Hold the offset against the pixels: providers add, remove and mislabel it.

    Parameters
    ----------
    sample : (band, y, x) DN; 0 counts as no data even where nobody says so
    scales, offsets : reflectance = DN * scale + offset, a number per band
    names : of the bands
    nodata : the number for no data, or None
    options : what to type for no offset, and for that of baseline 04.00

    Returns
    -------
    Sentences; none where nothing speaks against the offset.
    """
    valid = (np.isfinite(sample) & (sample != _UNDECLARED) & (sample != nodata)).all(axis=0)
    if valid.sum() < 100:
        return []
    none, usual = options
    dn = sample[:, valid].astype(np.float64)
    column, shift = np.asarray(scales), np.asarray(offsets)
    dark = (dn * column[:, None] + shift[:, None] < _DARK).mean(axis=1)
    if (shift < 0).any() and dark.max() > _DARK_SHARE:
        band = names[int(dark.argmax())] or f"number {dark.argmax() + 1}"
        return [
            f"with the offset, {100 * dark.max():.0f} % of band {band} has a reflectance below "
            f"{_DARK:g}: it looks as if the provider had applied it already. If so, give {none}"
        ]
    darkest = np.percentile(dn, 1, axis=1).min()
    if (shift == 0).all() and np.allclose(column, USUAL_SCALE) and darkest >= 1000:
        return [
            f"no band has pixels below 1000 DN (the darkest 1 % end at {darkest:.0f}), as in "
            f"products with an offset of -1000. If these DN have it, give {usual}; over "
            "bright ground or full cloud they may be right"
        ]
    return []

"""Pixels that are not what the mask says: clouds and shadows it missed, in the scene or its dates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.references.moments import CellGrid, gather, group_sample
from geodecloud.restore.references.ridge import ridge
from geodecloud.restore.references.sample import Array, Bool, Sample
from geodecloud.windows.tiler import Window

#: Residuals beyond as many robust standard deviations are no ground seen in both.
OUTLIER = 5.0
#: Fits of the whole scene, each without what the one before could not explain.
_ROUNDS = 3
_PENALTY = 1e-3
#: Differences below this, in reflectance, are never out of the ordinary.
_NOISE = 1e-4


def find_ground(sample: Sample) -> Bool:
    """Pixels of the sample that can be the same ground in the scene and in its dates, (n,).

    First goes what is far brighter than the mean of the dates in most bands, for clouds by the third
    of the scene would bend the first fit to themselves; then what the fits do not explain. Pixels
    without any date stay: nothing says what they should look like.
    """
    dates = group_sample(sample)
    keep = _not_brighter(sample, dates)
    for _ in range(_ROUNDS):
        kept = sample.take(keep)
        if not len(kept):
            return np.ones(len(sample), bool)
        residual = sample.scene - _fit(kept, sample, dates)
        keep = _inliers(residual, dates, keep)
    return keep


def _not_brighter(sample: Sample, dates: NDArray[np.int32]) -> Bool:
    """Pixels that are not far brighter than the mean of their dates, as seen from the darker half."""
    some = dates > 0
    keep = np.ones(len(sample), bool)
    if not some.any() or sample.references.shape[2] != sample.scene.shape[1]:
        return keep
    mean = sample.references[some].sum(axis=1) / sample.usable[some].sum(axis=1)[:, None]
    change = sample.scene[some] - mean
    middle = np.median(change, axis=0)
    below = np.where(change < middle, middle - change, np.nan)
    below[0, np.isnan(below).all(axis=0)] = 0  # dates that are like the scene to the last digit
    spread = 1.4826 * np.nanmedian(below, axis=0) if len(change) > 1 else np.ones(1)
    far = (change - middle) / (np.nan_to_num(spread) + _NOISE) > OUTLIER
    keep[some] = far.mean(axis=1) <= 0.5
    return keep


def _fit(kept: Sample, sample: Sample, dates: NDArray[np.int32]) -> Array:
    """Ground (n, C) of the sample by one fit of the kept pixels for each combination of dates."""
    count, bands = sample.references.shape[1:]
    one_cell = CellGrid((1, 1), 1)
    moments = gather(kept, group_sample(kept), one_cell, Window(0, 0, 1, 1))
    width = 1 + count * bands
    channels = np.arange(width, len(moments.centre))
    ground = np.zeros_like(sample.scene)
    for one in np.unique(dates):
        chosen = [r for r in range(count) if one >> r & 1]
        index = np.array([0] + [1 + r * bands + b for r in chosen for b in range(bands)])
        products = moments.of_dates(int(one)).sum(axis=1)
        if products[0, 0, 0] < len(index):
            index = index[:1]
            products = moments.of_dates(0).sum(axis=1)
        beta = ridge(products, index, channels, _PENALTY)[0]
        some = dates == one
        flat = sample.references[some].reshape(int(some.sum()), -1)
        values = flat[:, index[1:] - 1] - moments.centre[index[1:]]
        ground[some] = values @ beta[:, 1:].T + beta[:, 0] + moments.centre[channels]
    return ground


def _inliers(residual: Array, dates: NDArray[np.int32], kept: Bool) -> Bool:
    """Pixels whose residual is not far out in any band, judged among kept ones of the same dates."""
    keep = np.ones(len(residual), bool)
    for one in np.unique(dates[kept]):
        if one == 0:
            continue
        some = dates == one
        part, known = residual[some], residual[some & kept]
        middle = np.median(known, axis=0)
        spread = 1.4826 * np.median(np.abs(known - middle), axis=0) + _NOISE
        keep[some] = (np.abs(part - middle) <= OUTLIER * spread).all(axis=1)
    return keep

"""Coefficients that make a scene of its other dates, for every combination of dates and every cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.references.coarse import CoarseField, gather_field
from geodecloud.restore.references.coefficients import Coefficients
from geodecloud.restore.references.moments import (
    CELL_PX,
    FOLDS,
    CellGrid,
    Float,
    Moments,
    gather,
    group_sample,
    plan_cells,
    smooth_cells,
)
from geodecloud.restore.references.ridge import ridge, squares_left
from geodecloud.restore.references.robust import find_ground
from geodecloud.restore.references.sample import Sample
from geodecloud.windows.tiler import Window

#: Shares of a band's variance that are tried as penalty; what does best on left-out blocks is taken.
PENALTIES = (1e-6, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1)
#: The whole scene speaks in each cell with the weight of as many pixels per coefficient.
WHOLE_SCENE_PX = 20
#: A combination of dates is solved from at least as many pixels per coefficient.
_LEAST_PX = 4


@dataclass(frozen=True)
class _Fits:
    """Solutions of the combinations (S): see `Coefficients` for the shapes."""

    dates: list[int]
    beta: Float  # (S, cells, C, 1 + R * B), of values as they are
    variance: Float  # (S, cells, C) of left-out blocks
    weight: Float  # (S, cells, R)


def solve(
    sample: Sample, extent: Window, *, cell_px: int = CELL_PX, robust: bool = True
) -> Coefficients:
    """Fit the scene by ridge regression on all bands of all dates.

    Parameters
    ----------
    sample : of the whole scene, in any order
    extent : the whole scene
    cell_px : wished side of a cell: within, one set of coefficients; smoothed over neighbours
    robust : leave out pixels that cannot be ground in the scene and in its dates

    Returns
    -------
    Coefficients
        `Coefficients.is_empty` where the sample has no pixel.
    """
    sample = sample.in_order()
    count, bands = sample.references.shape[1:]
    channels = sample.scene.shape[1]
    features = 1 + count * bands + channels
    if len(sample) == 0:
        return Coefficients.empty(channels, count, bands, extent)
    if robust:
        sample = sample.take(find_ground(sample))
    groups = group_sample(sample)
    cells = plan_cells(extent.shape_yx, features, len(np.unique(groups)), cell_px)
    moments = gather(sample, groups, cells, extent)
    solved = _coefficients(
        _fit_all(moments, cells, count, bands, channels), cells, extent, count, bands
    )
    residual = sample.scene - solved.at(sample.row, sample.col, sample.references, groups)
    return solved.with_field(gather_field(sample, residual, extent))


def _combinations(moments: Moments, count: int) -> list[int]:
    """Combinations of dates to solve: all of four dates or fewer, else those that occur, and singles."""
    if count <= 4:
        return list(range(1 << count))
    pixels = moments.products[..., 0, 0].sum(axis=(1, 2))
    often = moments.groups[np.argsort(-pixels, kind="stable")][:32]
    return sorted({0, *(1 << r for r in range(count)), *(int(dates) for dates in often)})


def _fit_all(moments: Moments, cells: CellGrid, count: int, bands: int, channels: int) -> _Fits:
    """Solve each combination that has enough pixels; that without any date always has."""
    fits = []
    for dates in _combinations(moments, count):
        chosen = [r for r in range(count) if dates >> r & 1]
        index = np.array([0] + [1 + r * bands + b for r in chosen for b in range(bands)])
        products = moments.of_dates(dates)
        pixels = products[..., 0, 0].sum()
        if dates and pixels < _LEAST_PX * len(index):
            continue
        fits.append((dates, *_fit(products, moments.centre, index, cells, channels)))
    spread = np.sqrt(_variances(moments, count * bands))
    weight = np.zeros((len(fits), cells.shape_yx[0] * cells.shape_yx[1], count))
    for number, fit in enumerate(fits):
        share = np.abs(fit[1][:, :, 1:]) * spread
        weight[number] = share.sum(axis=1).reshape(-1, count, bands).sum(axis=2) if count else 0
    return _Fits(
        [fit[0] for fit in fits],
        np.stack([fit[1] for fit in fits]),
        np.stack([fit[2] for fit in fits]),
        weight,
    )


def _variances(moments: Moments, bands: int) -> Float:
    """Variance of each band of the dates, over all pixels."""
    total = moments.products.sum(axis=(0, 1, 2))
    return np.asarray(np.diagonal(total)[1 : 1 + bands] / max(total[0, 0], 1))


def _fit(
    products: Float, centre: Float, index: NDArray[np.int64], cells: CellGrid, channels: int
) -> tuple[Float, Float]:
    """Coefficients (cells, C, 1 + R * B) and left-out variance (cells, C) of one combination."""
    size = products.shape[-1]
    whole = products.sum(axis=0)
    total = whole.sum(axis=0)
    bands = np.arange(size - channels, size)
    penalty = _best_penalty(whole, index, bands)
    share = min(1.0, WHOLE_SCENE_PX * len(index) / max(total[0, 0], 1.0))
    some_cells = cells.shape_yx != (1, 1)

    def local(left_out: int | None) -> Float:
        """Moments of each cell with its neighbours and, a little, the whole scene."""
        kept = [fold for fold in range(FOLDS) if fold != left_out]
        part = products[:, kept].sum(axis=1)
        if not some_cells:
            return part
        return smooth_cells(part, cells) + share * part.sum(axis=0)

    beta = ridge(local(None), index, bands, penalty)
    squares = np.zeros((len(products), channels))
    for fold in range(FOLDS):
        left = ridge(local(fold), index, bands, penalty)
        squares += squares_left(products[:, fold], left, index, bands)
    pixels = products[..., 0, 0].sum(axis=1)
    mean = squares.sum(axis=0) / max(pixels.sum(), 1)
    prior = WHOLE_SCENE_PX * len(index)
    variance = (squares + prior * mean) / (pixels + prior)[:, None]
    return _uncentred(beta, centre, index, size - channels), variance


def _best_penalty(whole: Float, index: NDArray[np.int64], bands: NDArray[np.int64]) -> float:
    """The penalty with the least squares on left-out blocks of the whole scene."""
    if len(index) == 1:
        return PENALTIES[0]
    rest = whole.sum(axis=0) - whole
    many = np.tile(rest, (len(PENALTIES), 1, 1))
    beta = ridge(many, index, bands, np.repeat(PENALTIES, FOLDS))
    left_out = np.tile(whole, (len(PENALTIES), 1, 1))
    losses = squares_left(left_out, beta, index, bands).reshape(len(PENALTIES), -1).sum(axis=1)
    return PENALTIES[int(np.argmin(losses))]


def _uncentred(beta: Float, centre: Float, index: NDArray[np.int64], width: int) -> Float:
    """Coefficients of values as they are, zero for dates that are not in the combination."""
    out = np.zeros((*beta.shape[:2], width))
    out[:, :, index] = beta
    out[:, :, 0] += centre[width:] - out[:, :, 1:] @ centre[1:width]
    return out


def _coefficients(
    fits: _Fits, cells: CellGrid, extent: Window, count: int, bands: int
) -> Coefficients:
    """Fits as they travel: float32, with the best combination for whatever dates a pixel has."""
    overall = fits.variance.mean(axis=(1, 2))
    error = np.sqrt(fits.variance.mean(axis=1))
    best = np.zeros(1 << count, np.int16)
    for dates in range(1 << count):
        within = [n for n, used in enumerate(fits.dates) if used & dates == used]
        best[dates] = min(within, key=lambda n: (overall[n], n))
    local = (fits.variance / np.maximum(error[:, None], 1e-9) ** 2).mean(axis=2)
    uneven = np.sqrt(local[best[-1]])
    some = np.array(fits.dates)[:, None] > 0
    heaviest = fits.weight.argmax(axis=2) if count else np.zeros(fits.weight.shape[:2], int)
    heaviest = np.where(some, heaviest, -1).astype(np.int8)
    channels = fits.beta.shape[2]
    return Coefficients(
        beta=fits.beta.astype(np.float32),
        error=error.astype(np.float32),
        unevenness=uneven.astype(np.float32),
        heaviest=heaviest,
        dates=tuple(fits.dates),
        subset=best,
        shape=(count, bands),
        cells=cells,
        extent=extent,
        field=CoarseField.zeros(channels, extent),
    )

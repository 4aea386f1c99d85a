"""Ridge regression from moments, many at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

#: A band that varies less than this, in squared reflectance, is constant.
_LEAST_VARIANCE = 1e-10


def ridge(
    products: Float, index: NDArray[np.int64], bands: NDArray[np.int64], penalty: float | Float
) -> Float:
    """Coefficients (N, C, K) of centred values; the intercept is not penalised.

    Parameters
    ----------
    products : (N, D, D)
    index, bands : rows of the products that are features, the first of them the ones, and bands of the scene
    penalty : share of each feature's variance, one for all or one for each
    """
    pixels = np.maximum(products[:, 0, 0], 1e-9)
    means = products[:, 0] / pixels[:, None]
    rest = index[1:]
    beta = np.zeros((len(products), len(bands), len(index)))
    if len(rest):
        both = np.concatenate([rest, bands])
        part = products[:, rest[:, None], both] / pixels[:, None, None]
        part -= means[:, rest, None] * means[:, None, both]
        inner, cross = part[:, :, : len(rest)], part[:, :, len(rest) :]
        spread = np.sqrt(np.maximum(np.diagonal(inner, axis1=1, axis2=2), _LEAST_VARIANCE))
        scaled = inner / (spread[:, :, None] * spread[:, None, :])
        scaled += np.asarray(penalty).reshape(-1, 1, 1) * np.eye(len(rest))
        slopes = np.linalg.solve(scaled, cross / spread[:, :, None]) / spread[:, :, None]
        beta[:, :, 1:] = np.swapaxes(slopes, 1, 2)
    beta[:, :, 0] = means[:, bands] - (beta[:, :, 1:] @ means[:, rest, None])[..., 0]
    return beta


def squares_left(
    products: Float, beta: Float, index: NDArray[np.int64], bands: NDArray[np.int64]
) -> Float:
    """Sum of squared residuals (N, C): ``y'y - 2 b'X'y + b'X'X b``, no pixel needed."""
    inner = products[:, index[:, None], index]
    cross = products[:, bands[:, None], index]
    squares = np.diagonal(products[:, bands[:, None], bands], axis1=1, axis2=2)
    return np.maximum(squares + ((beta @ inner - 2 * cross) * beta).sum(axis=2), 0)

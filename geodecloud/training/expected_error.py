"""The table of expected errors on a card, measured on simulated clouds by the path every scene takes.

Crops are drawn as training draws them, by another seed, and declouded with mask, composite and rounding to 16 bits.
The error of each replaced pixel, mean over its bands, is explained by its opacity and by how far the ground
around is not known: least squares over a table that is linear between its nodes, with no error below 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import nn

from geodecloud.models.card import ModelCard
from geodecloud.models.expected_error import ErrorTable, node_shares
from geodecloud.models.weights import Model
from geodecloud.restore.composite import Bool, Provenance
from geodecloud.restore.expected_error import see_ground
from geodecloud.scene.reflectance import Codec
from geodecloud.training.clouds import Array, SimulatedPair
from geodecloud.training.dataset import SimulatedClouds
from geodecloud.training.evaluate import decloud_pair
from geodecloud.training.pairs import Pair
from geodecloud.windows.tiler import Window

#: Crops of a table, and their side in px: large enough to hold clear ground and what lies far from it.
CROPS, CROP_PX = 96, 192
_OPACITY = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_UNKNOWN = (0.0, 0.25, 0.5, 0.75, 1.0)
#: Tells nothing but how far the ground around is not known.
_PROBE = ErrorTable((0.0,), (0.0, 1.0), ((0.0, 1.0),))
#: A neighbour weighs as so much of all pixels: nodes that hardly a pixel is near follow it.
_STIFFNESS = 1e-3


@dataclass(frozen=True)
class Replaced:
    """What is known of the pixels of a pair that were replaced; all (n,).

    Attributes
    ----------
    provenance : codes
    confidence : what the path told, float32
    opacity : see `geodecloud.restore.expected_error.see_ground`
    error : absolute difference from the truth in reflectance, mean over the bands, float32
    """

    provenance: NDArray[np.uint8]
    confidence: Array
    opacity: Array
    error: Array


def as_pair(drawn: SimulatedPair, bands: tuple[str, ...], name: str = "drawn") -> Pair:
    """A simulated pair as a scene of Sentinel-2 comes: 16 bits, without the bands that are not there."""
    there: Bool = np.asarray(drawn.clear.any(axis=(1, 2)))
    names = tuple(band for band, has in zip(bands, there, strict=True) if has)
    codec = Codec((1e-4,) * len(names), (0.0,) * len(names), "uint16", 0, "simulated")
    cloudy, clear = drawn.cloudy[there], drawn.clear[there]
    gaps: Bool = np.asarray(~clear.any(axis=0))
    return Pair(name, cloudy, clear, names, codec, gaps=gaps if gaps.any() else None)


def find_replaced(pair: Pair, model: Model | str) -> Replaced:
    """Decloud a pair whose truth is known, and look at what was replaced.

    Parameters
    ----------
    model : its card has a table of expected errors
    """
    result = decloud_pair(pair, model)
    assert result.confidence is not None
    codes, opacity = result.provenance.values, result.cloud_map.values
    card = result.decisions.card
    window = Window(0, 0, *codes.shape[::-1])
    seen, _ = see_ground(codes, opacity, None, card.opaque_threshold, window)
    where: Bool = np.isin(codes, (Provenance.RESTORED, Provenance.SYNTHESISED))
    image = pair.codec.decode(result.image.values)
    error = np.abs(image - pair.clear).mean(axis=0)
    planes = (result.confidence.values, seen, error)
    return Replaced(codes[where], *(plane[where].astype(np.float32) for plane in planes))


def measure_errors(network: nn.Module, card: ModelCard, examples: SimulatedClouds) -> ModelCard:
    """The card with its table of expected errors.

    Parameters
    ----------
    card : with the thresholds that the mask and the composite go by
    examples : drawn in the model's bands as reflectance; none of them is learnt from
    """
    probe = Model(dataclasses.replace(card, expected_error=_PROBE), network.eval(), card.name)
    bands, config = examples.config.bands, examples.config
    drawn = (as_pair(examples.draw(index), bands) for index in range(len(examples)))
    found = (find_replaced(pair, probe) for pair in drawn if len(pair.bands))
    unknown = _UNKNOWN if card.reads_prior else (1.0,)
    measured = (
        f"{len(examples)} crops of {config.crop_px} px under simulated clouds, seed {config.seed}"
    )
    table = fit_table(((one.opacity, one.confidence, one.error) for one in found), unknown)
    return dataclasses.replace(card, expected_error=dataclasses.replace(table, measured=measured))


def fit_table(
    seen: Iterable[tuple[Array, Array, Array]], unknown: tuple[float, ...] = _UNKNOWN
) -> ErrorTable:
    """The table that explains errors best, in the mean of squares.

    Parameters
    ----------
    seen : of each scene opacity, how far its ground is not known, and error of some pixels, each (n,)
    unknown : nodes; a single one takes no notice of it
    """
    shape = len(_OPACITY), len(unknown)
    products, sums = np.zeros((np.prod(shape),) * 2), np.zeros(np.prod(shape))
    count = 0
    for opacity, not_known, error in seen:
        rows, cols = node_shares(opacity, _OPACITY), node_shares(not_known, unknown)
        shares = np.stack([row * col for row in rows for col in cols]).astype(np.float64)
        products += shares @ shares.T
        sums += shares @ error
        count += error.size
    stiff = np.zeros_like(products)
    for first, second in _neighbours(shape):
        apart = np.zeros(len(sums))
        apart[first], apart[second] = 1, -1
        stiff += np.outer(apart, apart)
    count = max(count, 1)
    # a crumb on the diagonal: without any pixel the table is 0
    root = np.linalg.cholesky(products / count + _STIFFNESS * stiff + 1e-9 * np.eye(len(sums)))
    errors, _ = nnls(root.T, np.linalg.solve(root, sums / count))
    rounded = errors.reshape(shape).round(5).tolist()
    return ErrorTable(_OPACITY, unknown, tuple(tuple(row) for row in rounded))


def _neighbours(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Pairs of nodes of a table that lie side by side, as places in its rows one after the other."""
    places = np.arange(shape[0] * shape[1]).reshape(shape)
    yield from zip(places[:-1].ravel().tolist(), places[1:].ravel().tolist(), strict=True)
    yield from zip(places[:, :-1].ravel().tolist(), places[:, 1:].ravel().tolist(), strict=True)


def table_examples(choosing: SimulatedClouds) -> SimulatedClouds:
    """What a table is measured on: as the examples that choose a threshold, of another seed and size."""
    config = dataclasses.replace(
        choosing.config, seed=choosing.config.seed + 1, crop_px=CROP_PX, untouched_share=0.0
    )
    return SimulatedClouds(choosing.chips, choosing.textures, config, CROPS)

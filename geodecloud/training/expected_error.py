"""The table of expected errors on a card, measured on simulated clouds by the path every scene takes.

Clouds are drawn over clear ground that was not learnt, and removed with mask, composite and rounding to 16 bits.
The errors of the replaced pixels are explained by what is known of these (`Evidence`): least squares, no number below 0,
each error weighed by what is expected of it, so that small ones are met as well as large ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import dask
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import nn

from geodecloud.models.card import ModelCard
from geodecloud.models.expected_error import ErrorTable, Evidence, terms
from geodecloud.models.weights import Model
from geodecloud.options import Options
from geodecloud.pipeline import decloud
from geodecloud.restore.composite import Bool
from geodecloud.restore.expected_error import Witness
from geodecloud.scene.bands import known_wavelength_nm
from geodecloud.scene.reflectance import Codec
from geodecloud.training.clouds import SKIES, Array, simulate_clouds
from geodecloud.training.evaluate import scene_of
from geodecloud.training.pairs import Pair
from geodecloud.windows.tiler import Window

#: Side of a simulated scene in px: large enough to hold clear ground and what lies far from it.
SCENE_PX = 192
#: Nodes: few, so that each has pixels of many scenes.
_OPACITY, _UNKNOWN = (0.0, 0.5, 1.0), (0.0, 0.5, 1.0)
#: Of all tables, so that they can be compared.
_SEED = 5
#: Of so many pixels one is looked at: neighbours err alike.
_STEP = 9
#: Errors below this weigh no more than it.
_LEAST = 0.008
#: Damping, as a share of all pixels: nodes that hardly a pixel is near stay near 0.
_DAMPING = 1e-3


@dataclass(frozen=True)
class Replaced:
    """Pixels of a pair that the network put in, and how far off they are; all (n,).

    Attributes
    ----------
    seen : what is known of them
    provenance : uint8, codes
    confidence : float32, what the path tells of the error; NaN where the card has no table
    error : float32, absolute difference from the truth in reflectance, mean over the bands
    """

    seen: Evidence
    provenance: NDArray[np.uint8]
    confidence: Array
    error: Array


def draw_pair(
    ground: Pair,
    seed: Sequence[int],
    textures: Sequence[Array] = (),
    bands: Sequence[str] = (),
    side: int | None = None,
) -> Pair:
    """Simulated clouds over the clear image of a pair, as a scene of Sentinel-2 comes: in 16 bits.

    Parameters
    ----------
    ground : its clear image is the ground; bands without any data are left out
    seed : of where it is cut and of the sky
    textures : real clouds in the bands of `ground`, see `geodecloud.training.clouds.simulate_clouds`
    bands : those to take; empty: all
    side : px to cut out; None: all of it
    """
    rng = np.random.default_rng(seed)
    there = ground.clear.any(axis=(1, 2)) & np.isin(ground.bands, list(bands) or ground.bands)
    names = tuple(band for band, has in zip(ground.bands, there, strict=True) if has)
    image = ground.clear[there]
    for axis in (1, 2):
        length = min(side or image.shape[axis], image.shape[axis])
        begin = int(rng.integers(image.shape[axis] - length + 1))
        image = image.take(range(begin, begin + length), axis)
    # clear skies have nothing to measure
    skies = {sky: share for sky, share in SKIES.items() if sky != "clear"}
    skies = {sky: share / sum(skies.values()) for sky, share in skies.items()}
    nm = [known_wavelength_nm(band) or 0.0 for band in names]
    drawn = simulate_clouds(image, nm, rng, [t[there] for t in textures], skies=skies)
    codec = Codec((1e-4,) * len(names), (0.0,) * len(names), "uint16", 0, "simulated")
    gaps: Bool = np.logical_not(np.any(image, axis=0))
    known = gaps if gaps.any() else None
    return Pair(ground.name, drawn.cloudy, image, names, codec, drawn.opacity, drawn.shadow, known)


def find_replaced(pair: Pair, model: Model | str) -> Replaced:
    """Decloud a pair whose truth is known, and look at what the network put in."""
    # a lazy scene tells what its first pass saw
    result = decloud(scene_of(pair).chunk(), Options(model=model))
    planes = result.image, result.cloud_map, result.provenance
    dn, opacity, codes, ground, confidence = dask.compute(
        *(plane.data for plane in planes),
        result.ground,
        None if result.confidence is None else result.confidence.data,
    )
    decisions, window = result.decisions, Window(0, 0, *codes.shape[::-1])
    witness = Witness(decisions.codec, decisions.channels, decisions.card.opaque_threshold)
    around = None if ground is None else ground.item()
    where, seen = witness.see(dn, opacity, codes, around, window)
    error = np.abs(pair.codec.decode(dn) - pair.clear).mean(axis=0)[where].astype(np.float32)
    told = np.full_like(error, np.nan) if confidence is None else confidence[where]
    return Replaced(seen, codes[where], told, error)


def measure_errors(
    network: nn.Module,
    card: ModelCard,
    grounds: Sequence[Pair],
    textures: Sequence[Array],
    subsets: Sequence[Sequence[str]],
    scenes: int,
) -> ModelCard:
    """The card with its table of expected errors; without one, if there is nothing to measure on.

    Parameters
    ----------
    card : with the thresholds that mask and composite go by
    grounds : their clear images, in the model's bands, lie under the simulated clouds, in turn
    textures : see `draw_pair`
    subsets : bands that are all there is in some of the scenes
    scenes : how many are simulated
    """
    if not grounds or not scenes:
        return dataclasses.replace(card, expected_error=None)
    model = Model(dataclasses.replace(card, expected_error=None), network.eval(), card.name)
    found = []
    choices = [card.channel_names, *subsets]
    for number in range(scenes):
        turn, place = divmod(number, len(grounds))
        bands = choices[turn % len(choices)]
        pair = draw_pair(grounds[place], (_SEED, number), textures, bands, SCENE_PX)
        found.append(find_replaced(pair, model))
    count = sum(one.error.size for one in found)
    if not count:  # a network that sees no cloud
        return dataclasses.replace(card, expected_error=None)
    about = (
        f"{scenes} scenes of {SCENE_PX} px, simulated clouds over {len(grounds)} clear dates not "
        f"learnt, {count} replaced pixels"
    )
    table = fit_table([(one.seen, one.error) for one in found], card.reads_prior)
    return dataclasses.replace(card, expected_error=dataclasses.replace(table, measured=about))


def fit_table(found: Sequence[tuple[Evidence, Array]], knows_around: bool = True) -> ErrorTable:
    """The table that explains errors best.

    Parameters
    ----------
    found : of each scene what is known of its pixels, and their errors
    knows_around : whether the ground around is known; else a table has one column
    """
    unknown = _UNKNOWN if knows_around else (1.0,)
    counted, errors = [], []
    for seen, error in found:
        some = slice(None, None, _STEP)
        thinned = Evidence(*(getattr(seen, f.name)[some] for f in dataclasses.fields(seen)))
        counted.append(np.stack(list(terms(thinned, _OPACITY, unknown))))
        errors.append(error[some])
    parts, truth = np.concatenate(counted, axis=1).astype(np.float64), np.concatenate(errors)
    numbers = _solve(parts, truth, np.ones_like(truth))
    numbers = _solve(parts, truth, 1 / np.maximum(numbers @ parts, _LEAST))
    rows = numbers.reshape(3, len(_OPACITY), len(unknown)).round(5).tolist()
    tables = (tuple(tuple(row) for row in table) for table in rows)
    constant, of_brightness, of_difference = tables
    return ErrorTable(_OPACITY, unknown, constant, of_brightness, of_difference)


def _solve(
    parts: NDArray[np.float64], truth: Array, weight: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Numbers of at least 0 with ``numbers @ parts`` near the truth, damped where there is little to tell them."""
    scale = np.sqrt((weight**2 * parts**2).mean(axis=1)) + 1e-9
    scaled, wanted = parts / scale[:, None] * weight, truth * weight
    products = scaled @ scaled.T / truth.size + _DAMPING * np.eye(len(parts))
    root = np.linalg.cholesky(products)
    found, _ = nnls(root.T, np.linalg.solve(root, scaled @ wanted / truth.size))
    return np.asarray(found / scale)

"""The table of expected errors on a card, measured on simulated clouds by the path every scene takes.

Clouds are drawn over clear ground that was not learnt, and removed with mask, composite and rounding to 16 bits.
The errors of the replaced pixels are explained by what is known of these (`Evidence`): a factor for each part of it, found by
gamma regression, in which small errors are met as well as large ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import nn

from geodecloud.models.card import ModelCard
from geodecloud.models.expected_error import NAMES, Curve, ErrorTable, Evidence
from geodecloud.models.weights import Model
from geodecloud.options import Options
from geodecloud.pipeline import decloud
from geodecloud.restore.composite import Bool, Provenance
from geodecloud.restore.expected_error import Witness
from geodecloud.scene.bands import known_wavelength_nm
from geodecloud.scene.reflectance import Codec
from geodecloud.training.clouds import SKIES, Array, simulate_clouds
from geodecloud.training.evaluate import scene_of
from geodecloud.training.pairs import Pair
from geodecloud.windows.tiler import Window

#: Side of a simulated scene in px: large enough to hold clear ground and what lies far from it.
SCENE_PX = 192
#: What a table goes by: of all that is known (`Evidence`), the parts that tell most of ground not met before.
_PARTS = ("opacity", "unknown", "shortest", "difference", "spread", "uneven")
#: Says nothing, but has the network run as a table does.
_UNMEASURED = ErrorTable(1.0, spread=Curve((0.0,), (0.0,)))
#: Nodes: few, so that each has pixels of many scenes; of reflectance at these quantiles.
_NODES = {"opacity": (0.0, 0.5, 1.0), "unknown": (0.0, 0.5, 1.0)}
_AT = (0.03, 0.5, 0.97)
#: Of all tables, so that they can be compared.
_SEED = 5
#: Of so many pixels one is looked at: neighbours err alike.
_STEP = 9
#: Over each piece of learnt ground.
_SKIES_LEARNT = 3
#: Of a scene, kinds with fewer pixels than this weigh less than others.
_FEW = 200
#: Parts into which dates are put, to see what a table says of those it has not seen.
_FOLDS = 5
#: Damping: the effects at nodes that hardly a pixel is near stay near 0.
_DAMPING = 2e-3


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

    def kinds(self) -> Iterator[tuple[Evidence, Array]]:
        """What is known of its pixels and their errors, those of each kind by themselves."""
        for code in (Provenance.RESTORED, Provenance.SYNTHESISED):
            own = self.provenance == code
            yield Evidence(*(getattr(self.seen, name)[own] for name in NAMES)), self.error[own]


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
    gaps: Bool = np.asarray(~image.any(axis=0))
    missing = gaps if gaps.any() else None
    return Pair(
        ground.name,
        drawn.cloudy,
        image,
        names,
        codec,
        drawn.opacity,
        drawn.shadow,
        missing,
        drawn.sun_azimuth_deg,
    )


def find_replaced(pair: Pair, model: Model | str) -> Replaced:
    """Decloud a pair whose truth is known, and look at what the network put in."""
    # a lazy scene tells what its first pass saw
    result = decloud(scene_of(pair).chunk(), Options(model=model))
    planes = result.image, result.cloud_map, result.provenance
    dn, opacity, codes, ground, mirrored, confidence = dask.compute(
        *(plane.data for plane in planes),
        result.ground,
        result.mirrored,
        None if result.confidence is None else result.confidence.data,
    )
    decisions, window = result.decisions, Window(0, 0, *codes.shape[::-1])
    witness = Witness.of(decisions, decisions.card.opaque_threshold)
    around = None if ground is None else ground.item()
    where, seen = witness.see(dn, opacity, codes, around, window, mirrored)
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
    learnt: Sequence[Pair] = (),
) -> ModelCard:
    """The card with its table of expected errors; without one, if there is nothing to measure on.

    Parameters
    ----------
    card : with the thresholds that mask and composite go by
    grounds : their clear images, in the model's bands, lie under the simulated clouds, in turn
    textures : see `draw_pair`
    subsets : bands that are all there is in some of the scenes
    scenes : how many are simulated
    learnt : more ground, each under `_SKIES_LEARNT` skies. A network errs on what it has learnt by another amount, so
        only the shape of the curves is taken of it, and not the mean
    """
    if not grounds or not scenes:
        return dataclasses.replace(card, expected_error=None)
    model = Model(dataclasses.replace(card, expected_error=_UNMEASURED), network.eval(), card.name)
    choices = [card.channel_names, *subsets]

    def look(over: Sequence[Pair], numbers: range) -> list[Replaced]:
        found = []
        for number in numbers:
            turn, place = divmod(number, len(over))
            bands = choices[turn % len(choices)]
            pair = draw_pair(over[place], (_SEED, number), textures, bands, SCENE_PX)
            found.append(find_replaced(pair, model))
        return found

    found = look(grounds, range(scenes))
    count = sum(one.error.size for one in found)
    if not count:  # a network that sees no cloud
        return dataclasses.replace(card, expected_error=None)
    # other skies than over the rest
    more = look(learnt, range(scenes, scenes + _SKIES_LEARNT * len(learnt))) if learnt else []
    about = (
        f"{scenes} scenes of {SCENE_PX} px, simulated clouds over {len(grounds)} clear dates not "
        f"learnt, {count} replaced pixels"
    )
    if more:
        about += f"; the shape of the curves also on {len(more)} over {len(learnt)} places learnt"
    parts, parts_learnt = ([part for one in some for part in one.kinds()] for some in (found, more))
    dates = [n % len(grounds) for n, one in enumerate(found) for _ in one.kinds()]
    table = fit_table(parts, card.reads_prior, parts_learnt, dates)
    return dataclasses.replace(card, expected_error=dataclasses.replace(table, measured=about))


def fit_table(
    found: Sequence[tuple[Evidence, Array]],
    knows_around: bool = True,
    learnt: Sequence[tuple[Evidence, Array]] = (),
    dates: Sequence[int] = (),
) -> ErrorTable:
    """The table that explains errors best, as gamma regression does: each part counts alike, and so does being off by a factor.

    What a table says of dates that it has not seen is too far from the mean: each date has errors of its own, and the curves
    follow them. So tables of some of the dates are held against the others, and the curves made flatter by what they
    should have been (Copas, J. R. Statist. Soc. B 45, 1983).

    Parameters
    ----------
    found : of each part, such as a kind of pixels of a scene, what is known of its pixels, and their errors
    knows_around : whether the ground around is known; else what depends on it has no curve
    learnt : the same of ground that was learnt: the mean of its errors is its own
    dates : number of the date that each part of `found` is of; empty: that is not done
    """
    table = _fit(found, knows_around, learnt)
    folds = sorted(set(dates))[: _FOLDS if len(set(dates)) >= _FOLDS else 0]
    told, error, weight = [], [], []
    for fold in folds:
        kept = [part for part, date in zip(found, dates, strict=True) if date % _FOLDS != fold]
        apart = _fit(kept, knows_around, learnt)
        for (seen, off), date in zip(found, dates, strict=True):
            if date % _FOLDS == fold and off.size:
                told.append(np.log(apart.at(_thinned(seen))))
                error.append(off[::_STEP].astype(np.float64))
                weight.append(np.full(error[-1].size, 1 / max(error[-1].size, _FEW)))
    if not told:
        return table
    logs, weights = np.concatenate(told).astype(np.float64), np.concatenate(weight)
    weights /= weights.sum()
    middle = float(weights @ logs)
    _, (slope,) = _solve((logs - middle)[None], np.concatenate(error), weights)
    return _flattened(table, float(np.clip(slope, 0, 1)), middle)


def _flattened(table: ErrorTable, share: float, middle: float) -> ErrorTable:
    """The table with so much of each effect; at the logarithm `middle` it says what it said."""
    curves: dict[str, Any] = {
        name: Curve(curve.nodes, tuple(np.round(np.multiply(curve.effects, share), 4).tolist()))
        for name in NAMES
        if (curve := getattr(table, name)) is not None
    }
    mean = float(np.exp(middle + share * (np.log(table.mean) - middle)))
    return dataclasses.replace(table, mean=round(mean, 6), **curves)


def _fit(
    found: Sequence[tuple[Evidence, Array]],
    knows_around: bool,
    learnt: Sequence[tuple[Evidence, Array]],
) -> ErrorTable:
    """The table of these parts, see `fit_table`."""
    names = [
        name for name in _PARTS if knows_around or name not in ("unknown", "difference", "uneven")
    ]
    parts = [
        (_thinned(seen), error[::_STEP], own)
        for own, some in ((0.0, found), (1.0, learnt))
        for seen, error in some
        if error.size
    ]
    error = np.concatenate([one for _, one, _ in parts]).astype(np.float64)
    weight = np.concatenate([np.full(one.size, 1 / max(one.size, _FEW)) for _, one, _ in parts])
    nodes, rows = {}, []
    for name in names:
        values = np.concatenate([getattr(seen, name) for seen, _, _ in parts])
        nodes[name] = _NODES.get(name) or tuple(
            np.unique(np.quantile(values, _AT).round(5)).tolist()
        )
        rows += [np.interp(values, nodes[name], hat) for hat in np.eye(len(nodes[name]))]
    rows.append(np.concatenate([np.full(one.size, own) for _, one, own in parts]))
    mean, effects = _solve(np.stack(rows), error, weight / weight.sum())
    ends = np.cumsum([len(nodes[name]) for name in names])
    curves: dict[str, Any] = {
        name: Curve(nodes[name], tuple(own.round(4).tolist()))
        for name, own in zip(names, np.split(effects, ends)[:-1], strict=True)
    }
    return ErrorTable(round(mean, 6), **curves)


def _thinned(seen: Evidence) -> Evidence:
    return Evidence(*(getattr(seen, name)[::_STEP] for name in NAMES))


def _solve(
    parts: NDArray[np.float64], error: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """The mean and the effects with ``mean * exp(effects @ parts)`` near the error, effects damped."""
    start = float(weight @ error)

    def loss(numbers: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        told = numbers[0] + numbers[1:] @ parts
        off = error / start * np.exp(-told)
        slope = weight * (1 - off)
        value = weight @ (told + off) + _DAMPING * (numbers[1:] ** 2).sum()
        return value, np.append(slope.sum(), parts @ slope + 2 * _DAMPING * numbers[1:])

    found = minimize(loss, np.zeros(len(parts) + 1), jac=True, method="L-BFGS-B").x
    return start * float(np.exp(found[0])), found[1:]

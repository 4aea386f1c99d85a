"""Scores of models and baselines on pairs, through the path every scene takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geodecloud.models.catalogue import get_card
from geodecloud.models.weights import Model
from geodecloud.options import Options
from geodecloud.pipeline import Declouded, decloud
from geodecloud.restore.composite import Bool, Provenance
from geodecloud.scene.sun import SUN_AZIMUTH
from geodecloud.training.baselines import BASELINES
from geodecloud.training.clouds import Array
from geodecloud.training.metrics import gain_db, image_scores
from geodecloud.training.pairs import Pair, read_pairs

#: Opacity from which a pixel counts as thin cloud, and from which as opaque.
THIN, OPAQUE = 0.05, 0.6
#: The same for real pairs, in reflectance added by the cloud, mean over bands.
BRIGHTER, MUCH_BRIGHTER = 0.02, 0.2
#: Opacity at which the cloud map is compared with the truth.
MAP_LEVEL = 0.1
CLASSES = ("clear", "thin", "opaque", "shadow")


@dataclass(frozen=True)
class Score:
    """What one method made of one pair.

    Attributes
    ----------
    pair, method : names
    bands : how many were scored
    values : see `geodecloud.training.metrics.image_scores`
    gain_db : PSNR over that of the cloudy image, see `geodecloud.training.metrics.gain_db`
    changed : share of pixels not left as observed; 0 for doing nothing
    observed_rmse : difference of the two dates where pixels were left as observed, or None
    map_hits, map_either : px where map and truth both, or either of them, exceed 0.1; 0 if the model
        has no map
    by_class : class -> (px, sum over px of the band mean of the squared error)
    """

    pair: str
    method: str
    bands: int
    values: dict[str, float]
    gain_db: float
    changed: float = 0.0
    observed_rmse: float | None = None
    map_hits: int = 0
    map_either: int = 0
    by_class: dict[str, tuple[int, float]] = field(default_factory=dict)


def evaluate_folder(
    folder: Path, models: Sequence[str], file_bands: Sequence[str] = ()
) -> list[Score]:
    """Score models and baselines on each pair of a folder.

    The default mask, composite and rounding to the files' DN are part of what is scored. The
    baselines are scored on each set of bands that a model restores.

    Parameters
    ----------
    folder : see `geodecloud.training.pairs.read_pairs`
    models : shipped names or files
    file_bands : names of the files' bands where the files do not say
    """
    scores: list[Score] = []
    for model in models:
        for pair in pairs_for(folder, model, file_bands):
            done = {(score.pair, score.bands) for score in scores if score.method in BASELINES}
            if (pair.name, len(pair.bands)) not in done:
                scores += score_baselines(pair)
            scores.append(score_model(pair, model))
    return scores


def pairs_for(folder: Path, model: str, file_bands: Sequence[str] = ()) -> list[Pair]:
    """The pairs of a folder, in the bands that a model restores."""
    card = get_card(model)
    return read_pairs(folder, card.channel_names, file_bands, card.optional)


def score_baselines(pair: Pair) -> Iterator[Score]:
    """Score the baselines."""
    for name, method in BASELINES.items():
        yield _score(pair, name, method(pair.cloudy, pair.valid))


def score_model(pair: Pair, model: str) -> Score:
    """Score one model on one pair."""
    result = decloud_pair(pair, model)
    observed = result.provenance.values == Provenance.OBSERVED
    floor = (pair.cloudy - pair.clear)[:, observed]
    hits = either = 0
    if pair.attention is not None and get_card(model).has_cloud_map:
        found, true = result.cloud_map.values > MAP_LEVEL, pair.attention > MAP_LEVEL
        hits, either = (int(where[pair.valid].sum()) for where in (found & true, found | true))
    return _score(
        pair,
        model,
        pair.codec.decode(result.image.values).astype(np.float32),
        changed=float(1 - observed[pair.valid].mean()),
        observed_rmse=float(np.sqrt(np.mean(floor**2))) if floor.size else None,
        map_hits=hits,
        map_either=either,
    )


def decloud_pair(pair: Pair, model: str | Model) -> Declouded:
    """Send the cloudy image of a pair down the path every scene takes."""
    return decloud(scene_of(pair), Options(model=model))


def scene_of(pair: Pair) -> xr.DataArray:
    """The cloudy image of a pair as DN of its file."""
    codec = pair.codec
    dn = codec.encode(pair.cloudy.astype(np.float64))
    if pair.gaps is not None:
        dn[:, pair.gaps] = np.nan if codec.nodata is None else codec.nodata
    about: dict[str, Any] = {"scales": codec.scales, "offsets": codec.offsets}
    if codec.nodata is not None:
        about["_FillValue"] = codec.nodata
    about["long_name"] = pair.bands
    if pair.sun_azimuth_deg is not None:
        about[SUN_AZIMUTH] = pair.sun_azimuth_deg
    return xr.DataArray(dn, dims=("band", "y", "x"), attrs=about)


def opacity_classes(pair: Pair) -> dict[str, Bool]:
    """Clear, thin, opaque and shadow pixels of a pair, each (H, W); none where there is no data.

    Where the clouds are simulated the true opacity decides, shadow where there is no cloud above
    it. Real pairs are split by how much brighter the cloudy date is, mean over bands: a change
    of the ground counts as cloud, too, and a cloud over bright ground as clear.
    """
    if pair.opacity is not None and pair.shadow is not None:
        cloud, shade = pair.opacity, pair.shadow
        thin, opaque, shadow = THIN, OPAQUE, (shade >= THIN) & (cloud < THIN)
    else:
        cloud = np.mean(pair.cloudy - pair.clear, axis=0)
        thin, opaque, shadow = BRIGHTER, MUCH_BRIGHTER, cloud <= -BRIGHTER
    classes = {
        "clear": (cloud < thin) & ~shadow,
        "thin": (cloud >= thin) & (cloud < opaque),
        "opaque": cloud >= opaque,
        "shadow": shadow,
    }
    return {name: where & pair.valid for name, where in classes.items()}


def _score(pair: Pair, method: str, image: Array, **facts: Any) -> Score:
    error: NDArray[np.float64] = np.mean(
        (np.clip(image, 0, 1) - np.clip(pair.clear, 0, 1)).astype(np.float64) ** 2, axis=0
    )
    return Score(
        pair=pair.name,
        method=method,
        bands=len(pair.bands),
        values=image_scores(image, pair.clear, pair.valid),
        gain_db=gain_db(image, pair.cloudy, pair.clear, pair.valid),
        by_class={
            name: (int(where.sum()), float(error[where].sum()))
            for name, where in opacity_classes(pair).items()
        },
        **facts,
    )

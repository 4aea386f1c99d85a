"""Pictures of pairs: cloudy, result, clear, provenance, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geodecloud.pictures.drawing import join
from geodecloud.pictures.kinds import PROVENANCE_RGB
from geodecloud.raster.targets import make_folder
from geodecloud.report.pictures import write_picture
from geodecloud.training.clouds import Array
from geodecloud.training.evaluate import Score, decloud_pair
from geodecloud.training.pairs import Pair

Picture = NDArray[np.uint8]
_GAP_PX = 6
#: Pairs on the sheet of a training run.
_SHOWN = 4


def draw_panel(pair: Pair, model: str) -> Picture:
    """One pair in a row, (3, H, W) uint8: cloudy, result, clear, provenance; one stretch for all."""
    result = decloud_pair(pair, model)
    restored = np.where(pair.valid, pair.codec.decode(result.image.values), 0)
    panels = draw_images([pair.cloudy, restored, pair.clear], pair.bands, pair.is_picture)
    panels.append(PROVENANCE_RGB[result.provenance.values].transpose(2, 0, 1))
    return beside(panels)


def draw_images(images: Sequence[Array], bands: Sequence[str], is_picture: bool) -> list[Picture]:
    """Images of one place in true colour, with the stretch that suits the last of them."""
    shown = [bands.index(name) if name in bands else 0 for name in ("B04", "B03", "B02")]
    top = 1.0 if is_picture else max(float(np.percentile(images[-1][shown], 99.5)), 0.02)
    gamma = 1.0 if is_picture else 0.8
    return [(255 * np.clip(image[shown] / top, 0, 1) ** gamma).astype(np.uint8) for image in images]


def beside(pictures: Sequence[Picture]) -> Picture:
    """Pictures of one height in a row."""
    return join(pictures, 2, _GAP_PX)


def below(pictures: Sequence[Picture]) -> Picture:
    """Pictures of one width in a column."""
    return join(pictures, 1, _GAP_PX)


def sample_sheet(pairs: Sequence[Pair], restored: Sequence[Array]) -> Picture | None:
    """Cloudy, restored and clear of the first pairs; None: there are none, or they differ in size."""
    rows = [
        beside(draw_images([pair.cloudy, image, pair.clear], pair.bands, pair.is_picture))
        for pair, image in zip(pairs[:_SHOWN], restored[:_SHOWN], strict=True)
    ]
    return below(rows) if len({row.shape for row in rows}) == 1 else None


def choose_cases(scores: Sequence[Score], count: int = 1) -> dict[str, list[Score]]:
    """The `count` worst, middle and best scores of one method by gain."""
    ordered = sorted(scores, key=lambda score: score.gain_db)
    start = max(0, (len(ordered) - count) // 2)
    return {
        "worst": ordered[:count],
        "median": ordered[start : start + count],
        "best": ordered[-count:],
    }


def write_panels(
    scores: Sequence[Score], pairs: Sequence[Pair], model: str, folder: Path
) -> list[Path]:
    """Write ``MODEL_worst.png``, ``MODEL_median.png`` and ``MODEL_best.png``."""
    by_name = {pair.name: pair for pair in pairs}
    own = [score for score in scores if score.method == model]
    make_folder(folder)
    paths = []
    for kind, chosen in choose_cases(own).items():
        path = folder / f"{Path(model).stem}_{kind}.png"
        rows = [draw_panel(by_name[score.pair], model) for score in chosen]
        paths.append(write_picture(below(rows), path))
    return paths

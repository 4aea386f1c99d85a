"""Scores as tables: on a terminal, in Markdown, as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geodecloud.raster.whole_files import write_text
from geodecloud.training.evaluate import CLASSES, Score

#: A loss in dB that a user would see, and one that nobody should have to accept.
LOSS_DB, GREAT_LOSS_DB = 0.3, 1.0

_GROUP = ["bands", "method"]
_SCORES = ["psnr", "ssim", "sam", "mae", "published_psnr", "published_ssim"]

#: column -> heading and decimals, in the order of the tables
_COLUMNS = {
    "pair": ("pair", 0),
    "method": ("method", 0),
    "bands": ("bands", 0),
    "pairs": ("pairs", 0),
    "psnr": ("PSNR dB", 2),
    "gain": ("gain dB", 2),
    "ssim": ("SSIM", 3),
    "sam": ("SAM deg", 2),
    "mae": ("MAE", 4),
    "published_psnr": ("PSNR published", 2),
    "published_ssim": ("SSIM published", 3),
    "lost": (f"lost > {LOSS_DB} dB", 0),
    "lost_much": (f"lost > {GREAT_LOSS_DB:.0f} dB", 0),
    "worst": ("worst dB", 2),
    "changed": ("changed %", 0),
    "observed_rmse": ("date difference", 4),
    "clear": ("clear dB", 2),
    "thin": ("thin dB", 2),
    "opaque": ("opaque dB", 2),
    "shadow": ("shadow dB", 2),
    "map IoU": ("map IoU at 0.1", 3),
}


def pair_table(scores: Sequence[Score]) -> pd.DataFrame:
    """One row per pair and method, worst gain first."""
    rows = [
        {
            "pair": score.pair,
            "method": score.method,
            "bands": score.bands,
            "gain": score.gain_db,
            **score.values,
            "changed": 100 * score.changed,
            "observed_rmse": score.observed_rmse,
            **{f"{name}_px": score.by_class[name][0] for name in CLASSES},
            **{f"{name}_mse": _mean(*score.by_class[name]) for name in CLASSES},
        }
        for score in sorted(scores, key=lambda score: score.gain_db)
    ]
    return pd.DataFrame(rows)


def _mean(pixels: int, total: float) -> float | None:
    return total / pixels if pixels else None


def summarise(scores: Sequence[Score]) -> pd.DataFrame:
    """One row per method and set of bands: means over the pairs, and the pairs that lost."""
    rows = [{**vars(score), **score.values, "gain": score.gain_db} for score in scores]
    table = pd.DataFrame(rows)
    groups = table.groupby(_GROUP, sort=False)
    means = groups[[name for name in _SCORES if name in table]].mean()
    gains = groups["gain"]
    return means.assign(
        pairs=gains.size(),
        gain=gains.mean(),
        lost=gains.agg(lambda gain: (gain < -LOSS_DB).sum()),
        lost_much=gains.agg(lambda gain: (gain < -GREAT_LOSS_DB).sum()),
        worst=gains.min(),
    ).reset_index()


def summarise_classes(scores: Sequence[Score]) -> pd.DataFrame:
    """One row per method and set of bands: PSNR over all pixels of a class, and IoU of the map."""
    rows = [
        {
            **vars(score),
            **{f"{name} px": score.by_class[name][0] for name in CLASSES},
            **{name: score.by_class[name][1] for name in CLASSES},
        }
        for score in scores
    ]
    columns = [*CLASSES, *(f"{name} px" for name in CLASSES), "map_hits", "map_either"]
    sums = pd.DataFrame(rows).groupby(_GROUP, sort=False)[columns].sum()
    for name in CLASSES:
        error = sums[name].replace(0, np.nan)  # no pixel, or no error: no PSNR
        sums[name] = -10 * np.log10(error / sums[f"{name} px"])
    sums["map IoU"] = sums["map_hits"] / sums["map_either"].replace(0, np.nan)
    return sums.reset_index()


def format_table(table: pd.DataFrame) -> str:
    """A Markdown table that also reads well on a terminal; columns nobody fills are left out."""
    names = [name for name in _COLUMNS if name in table and table[name].notna().any()]
    columns = []
    for name in names:
        heading, decimals = _COLUMNS[name]
        cells = [heading, *(_text(value, decimals) for value in table[name])]
        width = max(map(len, cells))
        columns.append([cells[0].ljust(width), "-" * width, *(c.ljust(width) for c in cells[1:])])
    return "\n".join("| " + " | ".join(line) + " |" for line in zip(*columns, strict=True))


def _text(value: Any, decimals: int) -> str:
    if pd.isna(value):
        return "-"
    return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)


def write_csv(scores: Sequence[Score], path: Path) -> None:
    """Write one line per pair and method, full precision."""
    write_text(path, pair_table(scores).to_csv(index=False, lineterminator="\r\n"))


def format_report(scores: Sequence[Score]) -> str:
    """The summary, the classes of opacity and each pair, as Markdown."""
    models = [score for score in scores if score.changed or score.observed_rmse is not None]
    return "\n\n".join(
        [
            format_table(summarise(scores)),
            "PSNR over the pixels of each class of cloud, all pairs together:",
            format_table(summarise_classes(scores)),
            "Each pair, worst first:",
            format_table(pair_table(models)),
        ]
    )

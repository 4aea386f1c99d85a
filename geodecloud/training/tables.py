"""Scores as tables: on a terminal, in Markdown, as CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geodecloud.training.evaluate import CLASSES, Score

#: A loss in dB that a user would see, and one that nobody should have to accept.
LOSS_DB, GREAT_LOSS_DB = 0.3, 1.0

Row = dict[str, Any]


def groups(scores: Sequence[Score]) -> dict[tuple[int, str], list[Score]]:
    """Scores by number of bands and method, in order of first appearance."""
    found: dict[tuple[int, str], list[Score]] = {}
    for score in scores:
        found.setdefault((score.bands, score.method), []).append(score)
    return found


def summarise(scores: Sequence[Score]) -> list[Row]:
    """One row per method and set of bands: means over the pairs, and the pairs that lost."""
    rows = []
    for (bands, method), own in groups(scores).items():
        names = [name for name in own[0].values if all(name in score.values for score in own)]
        means = {name: float(np.mean([score.values[name] for score in own])) for name in names}
        gains = [score.gain_db for score in own]
        rows.append(
            {"method": method, "bands": bands, "pairs": len(own)}
            | means
            | {
                "gain": float(np.mean(gains)),
                "lost": sum(gain < -LOSS_DB for gain in gains),
                "lost_much": sum(gain < -GREAT_LOSS_DB for gain in gains),
                "worst": min(gains),
            }
        )
    return rows


def summarise_classes(scores: Sequence[Score]) -> list[Row]:
    """One row per method and set of bands: PSNR over all pixels of a class, and IoU of the map."""
    rows = []
    for (bands, method), own in groups(scores).items():
        row: Row = {"method": method, "bands": bands}
        for name in CLASSES:
            pixels = sum(score.by_class[name][0] for score in own)
            squared = sum(score.by_class[name][1] for score in own)
            row[f"{name} px"] = pixels
            row[name] = -10 * math.log10(squared / pixels) if squared else math.nan
        either = sum(score.map_either for score in own)
        row["map IoU"] = sum(score.map_hits for score in own) / either if either else math.nan
        rows.append(row)
    return rows


def pair_rows(scores: Sequence[Score]) -> list[Row]:
    """One row per pair and method, worst gain first."""
    return [
        {
            "pair": score.pair,
            "method": score.method,
            "bands": score.bands,
            "gain": score.gain_db,
            **score.values,
            "changed": 100 * score.changed,
            "observed_rmse": score.observed_rmse,
        }
        for score in sorted(scores, key=lambda score: score.gain_db)
    ]


#: heading and decimals of the columns, in the order of the tables
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


def format_table(rows: Sequence[Row]) -> str:
    """A Markdown table that also reads well on a terminal; columns nobody fills are left out."""
    names = [name for name in _COLUMNS if any(_known(row.get(name)) for row in rows)]
    lines = [[_COLUMNS[name][0] for name in names]]
    lines += [[_text(row.get(name), _COLUMNS[name][1]) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def _known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _text(value: Any, decimals: int) -> str:
    if not _known(value):
        return "-"
    return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)


def write_csv(scores: Sequence[Score], path: Path) -> None:
    """Write one line per pair and method, full precision."""
    rows = [
        row
        | {f"{name}_px": score.by_class[name][0] for name in CLASSES}
        | {f"{name}_mse": _mean(*score.by_class[name]) for name in CLASSES}
        for row, score in zip(
            pair_rows(scores), sorted(scores, key=lambda score: score.gain_db), strict=True
        )
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _mean(pixels: int, total: float) -> float | None:
    return total / pixels if pixels else None


def format_report(scores: Sequence[Score]) -> str:
    """The summary, the classes of opacity and each pair, as Markdown."""
    models = [score for score in scores if score.changed or score.observed_rmse is not None]
    return "\n\n".join(
        [
            format_table(summarise(scores)),
            "PSNR over the pixels of each class of cloud, all pairs together:",
            format_table(summarise_classes(scores)),
            "Each pair, worst first:",
            format_table(pair_rows(models)),
        ]
    )

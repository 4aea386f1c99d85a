"""Scores of models on real pairs, through the path every scene takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from geodecloud.composite import Provenance
from geodecloud.models.catalogue import get_card
from geodecloud.options import Options
from geodecloud.pipeline import Declouded, decloud
from geodecloud.training.chips import Pair, read_pairs
from geodecloud.training.metrics import psnr_db


def evaluate_folder(
    folder: Path, models: Sequence[str], file_bands: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Score each model on each pair of a folder.

    The default mask, composite and rounding to 16 bits are part of what is scored. PSNR is over
    the model's bands together, in reflectance clipped to [0, 1]. The two dates of a pair
    differ, so even a perfect method has a floor: ``observed_rmse`` is the root mean square
    difference between the dates over the pixels that were left as observed.

    Returns
    -------
    list of dict, one per pair and model: pair, model, before_db, after_db, changed (share of
    pixels), observed_rmse
    """
    rows = []
    for name in models:
        bands = get_card(name).channel_names
        for pair in read_pairs(folder, bands, file_bands):
            result = decloud_pair(pair, name)
            restored = result.image.values.astype(np.float32) * 1e-4
            observed = result.provenance.values == Provenance.OBSERVED
            floor = (pair.cloudy - pair.clear)[:, observed]
            rows.append(
                {
                    "pair": pair.name,
                    "model": name,
                    "before_db": psnr_db(pair.cloudy, pair.clear),
                    "after_db": psnr_db(restored, pair.clear),
                    "changed": float(1 - observed.mean()),
                    "observed_rmse": float(np.sqrt(np.mean(floor**2))) if floor.size else None,
                }
            )
    return rows


def decloud_pair(pair: Pair, model: str) -> Declouded:
    """Send the cloudy date of a pair, as 16-bit DN, down the path every scene takes."""
    dn = np.rint(pair.cloudy * 1e4).astype(np.uint16)
    names = get_card(model).channel_names
    array = xr.DataArray(dn, dims=("band", "y", "x"), attrs={"long_name": names})
    return decloud(array, Options(model=model))


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, worst gain first, with the mean of each model below."""
    lines = [
        "| pair | model | before dB | after dB | gain dB | changed % | date difference |",
        "|---|---|---|---|---|---|---|",
    ]
    ordered = sorted(rows, key=lambda row: row["after_db"] - row["before_db"])
    lines += [_line(row) for row in ordered]
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        mean = {
            k: float(np.mean([row[k] for row in own])) for k in ("before_db", "after_db", "changed")
        }
        lines.append(_line({"pair": f"**mean of {len(own)}**", "model": model, **mean}))
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    gain, floor = row["after_db"] - row["before_db"], row.get("observed_rmse")
    return (
        f"| {row['pair']} | {row['model']} | {row['before_db']:.2f} | {row['after_db']:.2f} "
        f"| {gain:+.2f} | {100 * row['changed']:.0f} | {'-' if floor is None else f'{floor:.4f}'} |"
    )

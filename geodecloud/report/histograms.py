"""Histograms of bands before and after, as paths of SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodecloud.pictures.drawing import Look
from geodecloud.scene.bands import wavelength_nm

Floats = NDArray[np.float64]

_BINS = 72
#: Size of a drawing, in units of SVG.
WIDTH, HEIGHT = 288.0, 96.0


@dataclass(frozen=True)
class Numbers:
    """A band in figures, in the unit of the histograms."""

    mean: float
    median: float
    p98: float


@dataclass(frozen=True)
class Histogram:
    """One band.

    Attributes
    ----------
    name : of the band, or its number
    before, after : paths of SVG, in a drawing of `WIDTH` x `HEIGHT`
    ticks : (place, value) along the axis
    was, became : the same in figures
    """

    name: str
    wavelength_nm: float | None
    before: str
    after: str
    ticks: tuple[tuple[float, str], ...]
    was: Numbers
    became: Numbers


def draw_histograms(
    look: Look,
    names: Sequence[str | None],
    scales: Sequence[float],
    offsets: Sequence[float],
) -> list[Histogram]:
    """A histogram of each band of a look: shares of the pixels with data, before and after.

    Parameters
    ----------
    names, scales, offsets : of the bands; what is drawn is DN * scale + offset
    """
    if not look.valid.any():
        return []
    found = []
    for i, name in enumerate(names):
        before, after = (
            image[i][look.valid].astype(np.float64) * scales[i] + offsets[i]
            for image in (look.before, look.after)
        )
        found.append(_draw(name or f"Band {i + 1}", wavelength_nm(name), before, after))
    return found


def _draw(name: str, nm: float | None, before: Floats, after: Floats) -> Histogram:
    low, high = np.percentile(np.concatenate([before, after]), [0.2, 99.5])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    counts = [np.histogram(values, _BINS, (low, high))[0] for values in (before, after)]
    top = max(int(each.max()) for each in counts) or 1
    # roots, so that the few pixels of cloud can be seen beside those of the ground
    lines = [_steps(np.sqrt(each / top)) for each in counts]
    area = f"{lines[0]}V{HEIGHT:g}H0Z"
    figures = [
        Numbers(float(v.mean()), float(np.median(v)), float(np.percentile(v, 98)))
        for v in (before, after)
    ]
    return Histogram(name, nm, area, lines[1], _ticks(low, high), *figures)


def _steps(heights: Floats) -> str:
    """The outline of bars of heights 0 to 1, from left to right."""
    width = WIDTH / len(heights)
    levels = [f"{HEIGHT * (1 - height):.1f}".rstrip("0").rstrip(".") for height in heights]
    parts = [f"M0 {levels[0]}"]
    for number, level in enumerate(levels):
        parts.append(f"V{level}H{(number + 1) * width:g}")
    return "".join(parts)


def _ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Three to six round numbers on an axis."""
    rough = (high - low) / 4
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda times: abs(times * power - rough))
    first = np.ceil(low / step) * step
    values = np.arange(first, high + step * 1e-6, step)
    digits = max(0, -int(np.floor(np.log10(step))))
    return tuple(
        (round(float((value - low) / (high - low) * WIDTH), 1), f"{value + 0.0:.{digits}f}")
        for value in values
    )

"""What lies over the pictures of a report: provenance, dates, opacity, expected error; each with its legend."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodecloud.pictures.embed import png_uri
from geodecloud.pictures.kinds import MEANINGS, PROVENANCE_RGB, css_colour, name_of
from geodecloud.raster.look import count_values, read_look
from geodecloud.restore.composite import Provenance

Rgb = tuple[int, int, int]
#: Dark to bright, even to the eye, told apart by those who see no red or green: matplotlib's viridis and inferno.
_DAYS: Sequence[Rgb] = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
_HEAT: Sequence[Rgb] = (
    (40, 11, 84),
    (132, 32, 107),
    (229, 92, 48),
    (252, 165, 10),
    (252, 255, 164),
)
#: Steps of colour in a map of measurements.
_STEPS = 24
#: Most bytes of an overlay, as a file.
_MOST_BYTES = 350_000
_EPOCH = datetime.date(1970, 1, 1)


@dataclass(frozen=True)
class Entry:
    """One colour of a legend, and what it stands for."""

    colour: str
    label: str
    detail: str = ""


@dataclass(frozen=True)
class Overlay:
    """One map over the pictures.

    Attributes
    ----------
    name : for the page's own use
    title, note : of the legend
    uri : the picture
    entries : colours that stand for one thing each
    ramp : colours from `low` to `high`, of a map of measurements; empty: of codes
    """

    name: str
    title: str
    note: str
    uri: str
    entries: tuple[Entry, ...] = ()
    ramp: tuple[str, ...] = ()
    low: str = ""
    high: str = ""


def draw_provenance(path: str, shape_yx: tuple[int, int]) -> Overlay:
    """Where pixels come from; observed ones are not coloured."""
    codes = read_look([(path, 1)], shape_yx, codes=True)[0]
    shown = [code for code in MEANINGS if code not in (Provenance.OBSERVED, Provenance.NODATA)]
    colours = {int(code): _rgb(PROVENANCE_RGB[code]) for code in shown}
    entries = [
        Entry(css_colour(colours[code]), name_of(code)) for code in shown if (codes == code).any()
    ]
    note = "Observed pixels are not coloured."
    uri = png_uri(codes.astype(np.uint8), colours, _MOST_BYTES)
    return Overlay("provenance", "Provenance", note, uri, tuple(entries))


def draw_dates(
    path: str, shape_yx: tuple[int, int], references: Mapping[str, str | None]
) -> Overlay:
    """Which date each filled pixel comes from, the earliest darkest.

    Parameters
    ----------
    references : names of the other dates, with their days
    """
    days = read_look([(path, 1)], shape_yx, codes=True)[0]
    counts = {day: pixels for day, pixels in count_values(path).items() if day}
    found = sorted(counts)[:254]
    indexes: NDArray[np.uint8] = np.zeros(shape_yx, np.uint8)
    colours, entries = {}, []
    for number, day in enumerate(found, start=1):
        indexes[days == day] = number
        colours[number] = _between(_DAYS, (number - 1) / max(len(found) - 1, 1))
        date = str(_EPOCH + datetime.timedelta(days=day))
        names = ", ".join(name for name, said in references.items() if said == date)
        detail = f"{counts[day] / sum(counts.values()):.1%} of the filled pixels"
        entries.append(Entry(css_colour(colours[number]), date, f"{detail}. {names}"))
    note = "The day that a filled pixel comes from." if found else "No pixel was filled."
    uri = png_uri(indexes, colours, _MOST_BYTES)
    return Overlay("source-date", "Source date", note, uri, tuple(entries))


def draw_confidence(path: str, shape_yx: tuple[int, int]) -> Overlay:
    """The expected error of replaced pixels, in reflectance."""
    error = read_look([(path, 1)], shape_yx)[0]
    known = error[np.isfinite(error)]
    top = float(np.percentile(known, 98)) if known.size else 0.0
    middle = f", {np.median(known):.3f} in the median" if known.size else ""
    note = f"In reflectance{middle}."
    uri, ramp = _draw_measurements(error, top, np.isfinite(error))
    return Overlay(
        "confidence", "Expected error", note, uri, ramp=ramp, low="0", high=f"{top:.3f} or more"
    )


def draw_cloud_map(path: str, shape_yx: tuple[int, int]) -> Overlay:
    """The opacity of cloud and shadow; clear sky is not coloured."""
    opacity = read_look([(path, 1)], shape_yx)[0]
    with np.errstate(invalid="ignore"):
        uri, ramp = _draw_measurements(opacity, 1.0, opacity >= 1 / _STEPS)
    note = "Opacity of cloud and shadow. Clear sky is not coloured."
    return Overlay("cloud-map", "Cloud map", note, uri, ramp=ramp, low="0", high="1")


def _draw_measurements(
    values: NDArray[np.floating], top: float, shown: NDArray[np.bool_]
) -> tuple[str, tuple[str, ...]]:
    """A map of measurements from 0 to `top`, and the colours of its legend."""
    unit = np.clip(np.nan_to_num(values) / max(top, 1e-9), 0, 1)
    indexes = np.where(shown, 1 + np.rint(unit * (_STEPS - 1)), 0).astype(np.uint8)
    colours = {step + 1: _between(_HEAT, step / (_STEPS - 1)) for step in range(_STEPS)}
    return png_uri(indexes, colours, _MOST_BYTES), tuple(css_colour(rgb) for rgb in _HEAT)


def _between(ramp: Sequence[Rgb], place: float) -> Rgb:
    """A colour of a ramp; 0 is its first, 1 its last."""
    places = np.linspace(0, 1, len(ramp))
    return _rgb([round(np.interp(place, places, channel)) for channel in zip(*ramp, strict=True)])


def _rgb(values: Sequence[int] | NDArray[np.uint8]) -> Rgb:
    red, green, blue = (int(value) for value in values)
    return red, green, blue

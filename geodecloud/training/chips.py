"""Clear imagery, read into memory as reflectance, and crops of it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geodecloud.errors import SceneError
from geodecloud.raster.reader import open_raster
from geodecloud.restore.composite import Bool
from geodecloud.training.buildings import add_buildings
from geodecloud.training.clouds import Array

#: How often a settlement is put on the ground.
_SETTLED = 0.2
#: Crops drawn before it is said that none is nearly free of nodata.
_DRAWS = 1000


@dataclass(frozen=True)
class Chip:
    """One independent piece of clear ground: (C, H, W) float32 reflectance, and its place."""

    image: Array
    place: str


def read_chips(
    folder: Path,
    bands: Sequence[str],
    skip_sensors: Sequence[str] = (),
    optional: Sequence[str] = (),
    dn_offsets: Mapping[str, float] | None = None,
) -> list[Chip]:
    """Read the clear imagery that `folder`/manifest.csv lists.

    The manifest has the columns ``file``, ``sensor``, ``bands`` (names in file order),
    ``scale`` (reflectance per DN) and ``chip`` (side in px of the independent cells a
    file is made of; empty where the file is one scene).

    Parameters
    ----------
    bands : names wanted, in this order; files that lack one are left out
    skip_sensors : sensors whose DN is not reflectance
    optional : those of `bands` that a file may lack; they come as a plane of zeros
    dn_offsets : file -> number added to its DN before the scale, such as -1000 for a product
        of baseline 04.00 whose offset is still in it

    Raises
    ------
    SceneError
        If the folder has no manifest, or no listed file has the wanted bands.
    """
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise SceneError(f"{folder} holds no manifest.csv; see docs/training.md for its columns")
    chips: list[Chip] = []
    with manifest.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            names = row["bands"].split()
            if row["sensor"] in skip_sensors or not set(bands) - set(optional) <= set(names):
                continue
            with open_raster(folder / row["file"]) as src:
                there = [i for i, band in enumerate(bands) if band in names]
                read = src.read([names.index(bands[i]) + 1 for i in there], masked=True)
            dn = np.nan_to_num(read.filled(0), posinf=0, neginf=0)
            offset = (dn_offsets or {}).get(row["file"], 0.0)
            image = np.zeros((len(bands), *dn.shape[1:]), np.float32)
            image[there] = np.where(dn == 0, 0, (dn + offset) * float(row["scale"]))
            chips += [Chip(cell, row["file"]) for cell in _cells(image, row["chip"])]
    if not chips:
        raise SceneError(f"no file listed in {manifest} has the bands {' '.join(bands)}")
    return chips


def _cells(image: Array, side: str) -> list[Array]:
    """Cut a sheet of chips into its cells; empty cells are left out."""
    if not side:
        return [image]
    step = int(side)
    cells = [
        image[:, y : y + step, x : x + step]
        for y in range(0, image.shape[1], step)
        for x in range(0, image.shape[2], step)
    ]
    return [cell for cell in cells if cell.any()]


def draw_crop(
    chips: Sequence[Chip],
    side: int,
    wavelengths_nm: Sequence[float],
    rng: np.random.Generator,
    area_power: float = 0.5,
    dim_share: float = 0.2,
    bright_share: float = 0.1,
) -> Array:
    """Draw one square crop, turned at random, with its gain and atmosphere varied.

    Scenes are drawn with weight ``area ** area_power``: below 1 large ones do not drown the others. A
    chip smaller than the crop is mirrored at its edges. A fifth of the crops gets a settlement
    (`add_buildings`), most of them an atmosphere (`add_atmosphere`), so that the network meets
    both processing levels. A share of `dim_share` is darkened, one of `bright_share` brightened: they set what ground
    is in the mean, which is what a network learns of ground that nothing shows.

    Returns
    -------
    (C, side, side) float32 reflectance

    Raises
    ------
    SceneError
        If there is hardly a crop without nodata.
    """
    areas = np.array([chip.image[0].size for chip in chips], dtype=np.float64) ** area_power
    for _ in range(_DRAWS):
        image = chips[rng.choice(len(chips), p=areas / areas.sum())].image
        short = [max(0, side - n) for n in image.shape[1:]]
        if any(short):
            image = np.pad(image, [(0, 0), (0, short[0]), (0, short[1])], mode="symmetric")
        y = rng.integers(image.shape[1] - side + 1)
        x = rng.integers(image.shape[2] - side + 1)
        crop = image[:, y : y + side, x : x + side]
        if (crop == 0).all(axis=0).mean() < 0.01:  # nodata teaches nothing
            break
    else:
        places = ", ".join(sorted({chip.place for chip in chips})[:3])
        raise SceneError(
            f"{_DRAWS} crops of {side} px were drawn, and more than 1 % of each is nodata ({places}); set a "
            "smaller crop_px, or leave out files with many gaps"
        )
    crop = np.rot90(crop, int(rng.integers(4)), axes=(1, 2))
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if rng.random() < _SETTLED:
        crop = add_buildings(crop, wavelengths_nm, rng)
    # now and then dim, as under a low sun or in the shade of a slope, or bright
    kind, dim, usual, bright = rng.random(), (0.3, 0.9), (0.9, 1.1), (1.1, 1.8)
    gain = rng.uniform(*(dim if kind < dim_share else bright if kind > 1 - bright_share else usual))
    crop = (crop * np.float32(gain)).astype(np.float32)
    if rng.random() < 0.6:
        crop = add_atmosphere(crop, wavelengths_nm, rng)
    return np.ascontiguousarray(crop)


def add_atmosphere(crop: Array, wavelengths_nm: Sequence[float], rng: np.random.Generator) -> Array:
    """Look at corrected ground through a cloudless atmosphere, hazy now and then.

    Path radiance is molecular, ``(490 nm / wavelength) ** 4`` (Rayleigh), and in seven of ten
    cases also of aerosol, ``(550 nm / wavelength) ** alpha`` (Angstrom): haze that is no cloud, mostly
    slight, as strong now and then as over large towns.
    Where the water vapour bands can be told, B09 loses most of its light and B10, which
    corrected products lack, all but a trace.

    Parameters
    ----------
    crop : (C, H, W) reflectance; a channel of zeros is absent and stays so
    """
    wavelengths = np.asarray(wavelengths_nm, np.float32)
    there: Bool = np.any(crop.reshape(len(crop), -1), axis=1)
    path = rng.uniform(0.02, 0.1) * (490 / wavelengths) ** 4
    if rng.random() < 0.7:
        path += 0.18 * rng.random() ** 2 * (550 / wavelengths) ** rng.uniform(0.6, 1.8)
    vapour = np.abs(wavelengths - 945) < 10
    cirrus = np.abs(wavelengths - 1374) < 10
    seen = crop + path[:, None, None] * there[:, None, None]
    if cirrus.any() and (vapour & there).any() and not (cirrus & there).any():
        seen[vapour] = crop[vapour] * rng.uniform(0.15, 0.6)
        seen[cirrus] = rng.uniform(0.0005, 0.003) + 0.002 * crop[vapour]
    return seen.astype(np.float32)

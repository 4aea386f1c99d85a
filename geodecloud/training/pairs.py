"""Pairs of a cloudy and a clear image of one place: read from folders of two layouts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geodecloud.bands import canonical_name, describe, match_bands
from geodecloud.errors import SceneError
from geodecloud.scene import open_raster, read_metadata
from geodecloud.training.clouds import Array

#: Reflectance per DN of an 8-bit picture and of 16-bit reflectance.
_SCALES = {"uint8": 1 / 255, "uint16": 1e-4, "int16": 1e-4}


@dataclass(frozen=True)
class Pair:
    """Two images of one place, and the truth about the cloud where it is simulated.

    Attributes
    ----------
    name : of the pair
    cloudy, clear : (C, H, W) float32 reflectance
    bands : names of the C bands
    dtype : of the files; DN are reflectance * 255 (uint8) or * 10 000
    opacity, shadow : (H, W) float32 in [0, 1], or None where the clouds are real
    """

    name: str
    cloudy: Array
    clear: Array
    bands: tuple[str, ...] = ()
    dtype: str = "uint16"
    opacity: Array | None = None
    shadow: Array | None = None

    @property
    def scale(self) -> float:
        """Reflectance per DN."""
        return _SCALES[self.dtype]


def read_pairs(
    folder: Path,
    bands: Sequence[str],
    file_bands: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> list[Pair]:
    """Read all pairs of a folder.

    Two layouts are known: ``NAME_cloudy.tif`` with ``NAME_clear.tif`` beside it, and where they
    are simulated ``NAME_opacity.tif`` and ``NAME_shadow.tif``; and that of the RICE data set, two
    folders ``cloud`` and ``label`` with pictures of the same names.

    Parameters
    ----------
    bands : names wanted, in this order
    file_bands : names of the files' bands where the files do not say
    optional : those of `bands` that the files may lack

    Raises
    ------
    SceneError
        If the folder holds no pairs, or images of a pair differ in size.
    """
    pairs = [
        _read_pair(name, cloudy, clear, bands, file_bands, optional)
        for name, cloudy, clear in _find_pairs(folder)
    ]
    if not pairs:
        raise SceneError(
            f"{folder} holds no pairs: neither *_cloudy.tif with a *_clear.tif beside it, nor the "
            "folders cloud and label with pictures of the same names"
        )
    return pairs


def _find_pairs(folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """Name, cloudy file, clear file."""
    for cloudy in sorted(folder.glob("*_cloudy.tif")):
        name = cloudy.name.removesuffix("_cloudy.tif")
        yield name, cloudy, cloudy.with_name(f"{name}_clear.tif")
    for cloudy in sorted((folder / "cloud").glob("*.*")):
        clear = folder / "label" / cloudy.name
        if clear.is_file():
            yield cloudy.stem, cloudy, clear


def _read_pair(
    name: str,
    cloudy: Path,
    clear: Path,
    bands: Sequence[str],
    file_bands: Sequence[str],
    optional: Sequence[str],
) -> Pair:
    metadata = read_metadata(cloudy)
    there = {canonical_name(band) for band in file_bands or metadata.names}
    wanted = tuple(band for band in bands if band in there or band not in optional)
    dtype = metadata.dtypes[0]
    if dtype not in _SCALES:
        raise SceneError(f"{cloudy} is {dtype}; pairs are uint8 pictures or 16-bit reflectance")
    images = []
    for path in (cloudy, clear):
        names = tuple(file_bands) or read_metadata(path).names
        with open_raster(path) as src:
            if len(names) != src.count:
                raise SceneError(
                    f"{path} has {src.count} bands ({describe(src.descriptions)}), and "
                    f"{len(names)} names were given for them"
                )
            images.append(src.read(match_bands(names, wanted)).astype(np.float32))
    if images[0].shape != images[1].shape:
        raise SceneError(
            f"{cloudy} and {clear} differ in size: {images[0].shape[1:]} and {images[1].shape[1:]}"
        )
    truth = [_read_map(cloudy.with_name(f"{name}_{kind}.tif")) for kind in ("opacity", "shadow")]
    scale = np.float32(_SCALES[dtype])
    return Pair(name, images[0] * scale, images[1] * scale, wanted, dtype, *truth)


def _read_map(path: Path) -> Array | None:
    if not path.is_file():
        return None
    with open_raster(path) as src:
        found: Array = src.read(1).astype(np.float32)
    return found

"""Pairs of a cloudy and a clear image of one place: read from folders of two layouts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geodecloud.errors import SceneError
from geodecloud.raster.reader import open_raster, read_metadata
from geodecloud.restore.composite import Bool
from geodecloud.scene.bands import canonical_name, describe, match_bands
from geodecloud.scene.reflectance import Codec
from geodecloud.training.clouds import Array

#: Values that are reflectance as they are, of any number of bands.
REFLECTANCE = Codec((1.0,), (0.0,), "float32", None, "reflectance")


@dataclass(frozen=True)
class Pair:
    """Two images of one place, and the truth about the cloud where it is simulated.

    Attributes
    ----------
    name : of the pair
    cloudy, clear : (C, H, W) float32 reflectance, 0 where there is no data
    bands : names of the C bands
    codec : of the cloudy image: how its DN became reflectance
    opacity, shadow : (H, W) float32 in [0, 1], or None where the clouds are real
    gaps : (H, W), where one of the images has no data in one of the bands; None: nowhere
    sun_azimuth_deg : what the cloudy image says of where the sun stood; None: nothing
    """

    name: str
    cloudy: Array
    clear: Array
    bands: tuple[str, ...] = ()
    codec: Codec = REFLECTANCE
    opacity: Array | None = None
    shadow: Array | None = None
    gaps: Bool | None = None
    sun_azimuth_deg: float | None = None

    @property
    def is_picture(self) -> bool:
        """Whether the files hold 8-bit pictures."""
        return self.codec.dtype == "uint8"

    @property
    def valid(self) -> Bool:
        """(H, W), the pixels that count."""
        if self.gaps is None:
            return np.ones(self.clear.shape[1:], bool)
        return ~self.gaps

    @property
    def attention(self) -> Array | None:
        """(H, W) in [0, 1]: true opacity of cloud or shadow; None where the clouds are real."""
        if self.opacity is None or self.shadow is None:
            return None
        return np.maximum(self.opacity, self.shadow)


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
        If the folder holds no pairs, images of a pair differ in size, or nothing says what their DN mean.
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
    there = {canonical_name(band) for band in file_bands or read_metadata(cloudy).names}
    wanted = tuple(band for band in bands if band in there or band not in optional)
    (before, codec, some), (after, _, others) = (
        _read_image(path, wanted, file_bands) for path in (cloudy, clear)
    )
    if before.shape != after.shape:
        raise SceneError(
            f"{cloudy} and {clear} differ in size: {before.shape[1:]} and {after.shape[1:]}"
        )
    opacity, shadow = (
        _read_map(cloudy.with_name(f"{name}_{kind}.tif")) for kind in ("opacity", "shadow")
    )
    gaps = some | others
    azimuth = read_metadata(cloudy).sun_azimuth_deg
    missing = gaps if gaps.any() else None
    return Pair(name, before, after, wanted, codec, opacity, shadow, missing, azimuth)


def _read_image(
    path: Path, wanted: Sequence[str], file_bands: Sequence[str]
) -> tuple[Array, Codec, Bool]:
    """Reflectance of the wanted bands, how DN became that, and where one of them has no data."""
    metadata = read_metadata(path)
    names = tuple(file_bands) or metadata.names
    with open_raster(path) as src:
        if len(names) != src.count:
            raise SceneError(
                f"{path} has {src.count} bands ({describe(src.descriptions)}), and "
                f"{len(names)} names were given for them"
            )
        indexes = match_bands(names, wanted)
        dn = src.read(indexes)
    codec = replace(metadata, descriptions=names).codec([i - 1 for i in indexes])
    gaps = np.zeros(dn.shape[1:], bool)
    if codec.nodata is not None:
        gaps |= np.any(dn == codec.nodata, axis=0)
    if np.issubdtype(dn.dtype, np.floating):
        gaps |= ~np.all(np.isfinite(dn), axis=0)
    with np.errstate(invalid="ignore"):
        reflectance = codec.decode(dn).astype(np.float32)
    return np.where(gaps, np.float32(0), reflectance), codec, gaps


def _read_map(path: Path) -> Array | None:
    if not path.is_file():
        return None
    with open_raster(path) as src:
        found: Array = src.read(1).astype(np.float32)
    return found

"""Simulated pairs as files: a clear scene in, the same scene under clouds and the truth out."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from geodecloud.errors import BandError, OptionError
from geodecloud.raster.reader import open_raster, read_metadata
from geodecloud.raster.targets import make_folder
from geodecloud.raster.writer import write_scene
from geodecloud.scene.bands import SENTINEL2_NM, canonical_name, describe
from geodecloud.scene.sun import SUN_AZIMUTH
from geodecloud.training.clouds import SKIES, simulate_clouds


def simulate_file(
    clear: Path, out: Path, seed: int = 1, sky: str | None = None, overwrite: bool = False
) -> list[Path]:
    """Write a clear scene and itself under clouds, georeferenced, with the true opacity.

    The whole scene is held in memory. Bands of unknown wavelength and nodata stay as they are. Shadows fall
    as far, and bands see a cloud as far apart, as pixels of the grid's size ask for; without a projected
    CRS pixels count as 10 m.

    Parameters
    ----------
    clear : raster with band names; reflectance is decided as everywhere
        (`geodecloud.scene.metadata.Metadata.codec`)
    out : folder; gets NAME_cloudy.tif, NAME_clear.tif, NAME_opacity.tif, NAME_shadow.tif
    seed : of the sky; each file name has a sky of its own
    sky : one of `geodecloud.training.clouds.SKIES`; None: drawn

    Raises
    ------
    OptionError
        If there is no such sky.
    BandError
        If no band has a known wavelength.
    """
    if sky is not None and sky not in SKIES:
        raise OptionError(f"there is no sky {sky!r}; known: {', '.join(SKIES)}")
    metadata = read_metadata(clear)
    names = [canonical_name(name) for name in metadata.names]
    known = [i for i, name in enumerate(names) if name in SENTINEL2_NM]
    if not known:
        raise BandError(
            f"no band of {clear} has a known wavelength: {describe(metadata.names)}. Name the bands "
            "B01 to B12, for example with: rio edit-info or gdal_edit"
        )
    codec = metadata.codec(known)
    with open_raster(clear) as src:
        dn = src.read()
    # NaN is no ground whatever the file declares: one would spoil all that the blur reaches
    gaps = ~np.isfinite(dn)
    if metadata.nodata is not None:
        gaps |= dn == metadata.nodata
    ground = np.where(gaps[known], 0, codec.decode(dn[known])).astype(np.float32)
    rng = np.random.default_rng([seed, zlib.crc32(clear.stem.encode())])
    pair = simulate_clouds(
        ground,
        [SENTINEL2_NM[str(names[i])] for i in known],
        rng,
        skies={sky: 1.0} if sky else None,
        gaps=gaps[known],
        pixel_m=metadata.grid.pixel_m,
    )
    cloudy = dn.copy()
    cloudy[known] = np.where(gaps[known], dn[known], codec.encode(pair.cloudy.astype(np.float64)))
    single = metadata.single_band("float32", None, "")
    said = metadata
    if pair.sun_azimuth_deg is not None:
        own = {**metadata.tags.get("", {}), SUN_AZIMUTH: f"{pair.sun_azimuth_deg:.2f}"}
        said = replace(metadata, tags={**metadata.tags, "": own})
    images = {
        "cloudy": (cloudy, said),
        "clear": (dn, metadata),
        "opacity": (pair.opacity[None], replace(single, descriptions=("opacity",))),
        "shadow": (pair.shadow[None], replace(single, descriptions=("shadow",))),
    }
    make_folder(out)
    return [
        write_scene(
            _as_array(image),
            out / f"{clear.stem}_{kind}.tif",
            about,
            "gtiff",
            overwrite=overwrite,
        )
        for kind, (image, about) in images.items()
    ]


def _as_array(image: np.ndarray[Any, Any]) -> xr.DataArray:
    return xr.DataArray(image, dims=("band", "y", "x"))

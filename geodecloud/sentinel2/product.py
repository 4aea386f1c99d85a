"""A Sentinel-2 product as one scene: all its bands on one grid, lazily.

Bands that the product holds at the asked pixel size are read as they are, the others by the
rule of `geodecloud.sentinel2.resampling`; the scene classification (SCL) of a level 2A product by nearest.
"""

from __future__ import annotations

import datetime
import logging
import re
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from geodecloud.errors import GeodecloudWarning, OptionError, SceneError
from geodecloud.raster.reader import open_raster, reading
from geodecloud.scene.bands import SENTINEL2_NM
from geodecloud.scene.grid import Grid
from geodecloud.scene.metadata import SCL, Metadata
from geodecloud.sentinel2.band_headers import BandHeader, check_together, read_header
from geodecloud.sentinel2.documents import ProductFacts, read_facts
from geodecloud.sentinel2.files import BandFile, ProductFiles
from geodecloud.sentinel2.offsets import decide_offsets
from geodecloud.sentinel2.pixels import NODATA, BandPixels, ClassPixels

if TYPE_CHECKING:
    import xarray as xr

from geodecloud.windows.tiler import chunk_px

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sentinel2Product:
    """One product, one tile; see `geodecloud.source.Source` for what a source is.

    Parameters
    ----------
    product : its files
    resolution : nominal pixel size in m of the scene: 10, 20 or 60; None: the finest it holds
    s2_offset : "auto", "none" or DN, see `geodecloud.sentinel2.offsets.decide_offsets`
    """

    product: ProductFiles
    resolution: int | None = None
    s2_offset: str | float = "auto"

    def __post_init__(self) -> None:
        if self.resolution not in (None, 10, 20, 60):
            raise OptionError(f"resolution is 10, 20 or 60 (m), not {self.resolution!r}")
        if isinstance(self.s2_offset, str) and self.s2_offset not in ("auto", "none"):
            raise OptionError(
                f"s2_offset is 'auto', 'none' or a number of DN such as -1000, not {self.s2_offset!r}"
            )

    @property
    def path(self) -> str:
        """Where the user finds it."""
        return self.product.path

    @property
    def name(self) -> str:
        """The product's own name."""
        return self.product.name

    @property
    def files(self) -> list[str]:
        """The files on disk that are read."""
        return self.product.files

    @property
    def band_places(self) -> list[tuple[str, int]]:
        """Each band has a file, at a pixel size that may be another than the scene's."""
        return [(file.path, 1) for file in self.bands]

    @cached_property
    def facts(self) -> ProductFacts:
        """What the documents say."""
        return read_facts(self.product)

    @property
    def date(self) -> datetime.date | None:
        """The day of acquisition."""
        return None if self.facts.time is None else self.facts.time.date()

    @cached_property
    def resolution_m(self) -> int:
        """Nominal pixel size of the scene."""
        sizes = sorted({band.resolution_m for band in self.product.bands if band.band != "SCL"})
        if self.resolution is None:
            return sizes[0] if sizes else 20
        if self.resolution not in sizes:
            raise SceneError(
                f"{self.path} holds no band at {self.resolution} m, only at "
                f"{' and '.join(map(str, sizes))} m"
            )
        return self.resolution

    @cached_property
    def bands(self) -> tuple[BandFile, ...]:
        """The file of each reflectance band, in ESA's order: of the scene's size, or the finest."""
        chosen = [self._file_of(band) for band in SENTINEL2_NM]
        found = tuple(file for file in chosen if file is not None)
        if not found:
            raise SceneError(f"{self.path} holds a scene classification, but no band")
        return found

    @cached_property
    def scl(self) -> BandFile | None:
        """The file of the scene classification."""
        return self._file_of("SCL")

    def _file_of(self, band: str) -> BandFile | None:
        files = [file for file in self.product.bands if file.band == band]
        return min(
            files, key=lambda f: (f.resolution_m != self.resolution_m, f.resolution_m), default=None
        )

    @property
    def band_names(self) -> list[str]:
        """The names the product has for its bands, with the pixel size where that is another."""
        names = []
        for file in self.bands:
            stem = file.name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
            if file.resolution_m != self.resolution_m:
                stem = re.sub(r"_[126]0m$", "", stem) + f"_{self.resolution_m}m"
            names.append(stem)
        return names

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Height and width of each file, after a look at all of them.

        Raises
        ------
        SceneIOError, SceneError
            If one cannot be read, or they do not fit together.
        """
        return {name: look.grid.shape_yx for name, look in self._headers.items()}

    @cached_property
    def _headers(self) -> dict[str, BandHeader]:
        files = [*self.bands, *([self.scl] if self.scl else [])]
        headers = {file.name: self._header(file) for file in files}
        check_together(self.path, files, headers)
        return headers

    def _header(self, file: BandFile) -> BandHeader:
        """What a band file says; it lies where the tile does if it has no place of its own."""
        header, facts = read_header(file), self.facts
        if header.grid.has_place or facts.crs is None or facts.origin_xy is None:
            return header
        (left, top), size = facts.origin_xy, file.resolution_m
        place = Affine(size, 0, left, 0, -size, top)
        return replace(header, grid=Grid(CRS.from_string(facts.crs), place, header.grid.shape_yx))

    def _radiometry(self) -> tuple[list[float], list[float], str]:
        """Scale and offset of each band, and who says so."""
        headers = [self._headers[file.name] for file in self.bands]
        facts = self.facts
        if self._files_may_say and any(header.scale != 1 for header in headers):
            return (
                [header.scale for header in headers],
                [header.offset for header in headers],
                "as files say",
            )
        offsets, why = self._offsets
        quantum = facts.quantification
        return [1 / quantum] * len(headers), [offsets[f.band] / quantum for f in self.bands], why

    @property
    def _files_may_say(self) -> bool:
        """Whether scale and offset that the files hold are the product's: no document says anything of them."""
        product = self.product
        silent = product.product_xml is None and self.facts.offsets_dn is None
        return silent and not product.is_safe and self.s2_offset == "auto"

    @cached_property
    def _offsets(self) -> tuple[dict[str, float], str]:
        """What is added to the DN of each band, and who says so."""
        names = [file.band for file in self.bands]
        return decide_offsets(self.facts, self.product, names, self.s2_offset)

    @property
    def _usual_file(self) -> BandFile:
        """The first band of the scene's own pixel size."""
        return next(file for file in self.bands if file.resolution_m == self.resolution_m)

    @cached_property
    def grid(self) -> Grid:
        """Where the scene lies, as one band says; whether the others do too is found out with `metadata`.

        Raises
        ------
        SceneIOError, SceneError
            If that band cannot be read, or documents do not say what DN mean.
        """
        if not self._files_may_say:
            _ = self._offsets
        return self._header(self._usual_file).grid

    @cached_property
    def metadata(self) -> Metadata:
        """What the scene says about itself, as for any other raster."""
        header = self._headers[self._usual_file.name]
        scales, offsets, why = self._radiometry()
        return Metadata(
            grid=header.grid,
            dtypes=(header.dtype,) * len(self.bands),
            descriptions=tuple(file.band for file in self.bands),
            scales=tuple(scales),
            offsets=tuple(offsets),
            nodata=NODATA,
            has_classes=self.scl is not None,
            radiometry=why,
            tags={"": self._tags()},
            band_tags=tuple(self._band_tags(file) for file in self.bands),
        )

    def _tags(self) -> dict[str, str]:
        facts = self.facts
        said = {
            "PRODUCT": self.name,
            "TILE_ID": facts.tile,
            "PLATFORM": facts.platform,
            "PROCESSING_LEVEL": facts.level,
            "PROCESSING_BASELINE": facts.baseline,
            "SENSING_TIME": facts.time and facts.time.isoformat(),
            "SUN_ZENITH_DEG": facts.sun_zenith_deg,
            "SUN_AZIMUTH_DEG": facts.sun_azimuth_deg,
        }
        return {key: str(value) for key, value in said.items() if value is not None}

    def _band_tags(self, file: BandFile) -> dict[str, dict[str, str]]:
        tags = {
            "wavelength_nm": f"{self.facts.wavelengths_nm[file.band]:g}",
            "resampling": self.resampling_of(file),
        }
        return {"": tags}

    def resampling_of(self, file: BandFile) -> str:
        """How a band came to the scene's grid, in words."""
        if file.resolution_m == self.resolution_m:
            return "none"
        way = "bilinear" if file.resolution_m > self.resolution_m else "area mean"
        return f"{way} from {file.resolution_m} m"

    def open(self, side: int | None = None) -> xr.DataArray:
        """The scene, lazily; see `geodecloud.source.open_scene`.

        Parameters
        ----------
        side : of the dask chunks, px
        """
        import rioxarray  # noqa: F401  registers .rio
        import xarray as xr

        metadata, facts = self.metadata, self.facts
        self._warn_of_missing()
        side = side or chunk_px(metadata.grid.shape_yx)
        pixels = BandPixels(self.bands, self.shapes, metadata)
        height, width = metadata.grid.shape_yx
        place = metadata.grid.transform
        coords: dict[str, Any] = {
            "band": np.arange(1, metadata.count + 1),
            "wavelength_nm": ("band", [facts.wavelengths_nm[f.band] for f in self.bands]),
            "y": place.f + (np.arange(height) + 0.5) * place.e,
            "x": place.c + (np.arange(width) + 0.5) * place.a,
        }
        if facts.time is not None:
            coords["time"] = np.datetime64(facts.time.replace(tzinfo=None), "ns")
        if self.scl is not None:
            classes = ClassPixels(self.scl, self.shapes[self.scl.name], metadata.grid)
            lazy = da.from_array(classes, chunks=(side, side), lock=False)
            coords[SCL] = (("y", "x"), lazy)
        about = {key.lower(): value for key, value in metadata.tags[""].items()}
        attrs = {
            "long_name": metadata.descriptions,
            "scales": metadata.scales,
            "offsets": metadata.offsets,
            "scale_factor": metadata.scales[0],
            **({} if len(set(metadata.offsets)) > 1 else {"add_offset": metadata.offsets[0]}),
            "_FillValue": NODATA,
            "radiometry": metadata.radiometry,
            **about,
        }
        data = da.from_array(pixels, chunks=(metadata.count, side, side), lock=False)
        array = xr.DataArray(data, coords, ("band", "y", "x"), attrs=attrs)
        placed = array if metadata.grid.crs is None else array.rio.write_crs(metadata.grid.crs)
        written: xr.DataArray = placed.rio.write_transform(place)
        return written

    def _warn_of_missing(self) -> None:
        if missing := self.missing:
            warnings.warn(
                f"{self.path}: its documents list {', '.join(missing)}, and the files are not here: such a "
                "band is made from coarser files, or left out. If that is not meant, download them again",
                GeodecloudWarning,
                stacklevel=3,
            )

    def file_mask(self, side: int) -> None:
        """Bands of products have no masks."""

    def sample(self) -> NDArray[Any]:
        """Some pixels of the scene, (band, y, x), at most about 256 x 256."""
        shape = tuple(min(256, size) for size in self.metadata.grid.shape_yx)
        out = np.empty((len(self.bands), *shape), self.metadata.dtypes[0])
        for file, band in zip(self.bands, out, strict=True):
            with open_raster(file.path) as src, reading(file.path):
                src.read(1, out=band)
        return out

    @property
    def missing(self) -> list[str]:
        """Bands as the documents list them that would be read, and are not there."""
        there = {(file.band, file.resolution_m) for file in self.product.bands}
        found = []
        for band in SENTINEL2_NM:
            sizes = [size for name, size in self.facts.listed if name == band]
            best = min(sizes, key=lambda size: (size != self.resolution_m, size), default=None)
            if best is not None and (band, best) not in there:
                found.append(f"{band} at {best} m")
        return found

    def describe(self) -> dict[str, Any]:
        """Facts about the product, for people."""
        facts = self.facts
        angles = (facts.sun_zenith_deg, facts.sun_azimuth_deg)
        resampled = [f"{f.band} {self.resampling_of(f)}" for f in self.bands if self._is_other(f)]
        return {
            "driver": "Sentinel-2 product",
            "product": f"{facts.level or 'level unknown'}, baseline {facts.baseline or 'unknown'}",
            "tile": facts.tile,
            "time": None if facts.time is None else facts.time.isoformat(),
            "sun": None if None in angles else "zenith {:.1f}°, azimuth {:.1f}°".format(*angles),
            "resampled": ", ".join(resampled) or "none",
            "classes": "SCL" if self.scl else "none",
        }

    def _is_other(self, file: BandFile) -> bool:
        return file.resolution_m != self.resolution_m

"""Everything a raster says besides its pixels, carried from one file to another.

``rasterio.open(dst, "w", **src.profile)`` drops descriptions, scales, offsets, units, colour
interpretation, tags, ground control points and RPCs; here they are held in one frozen value
and written down again by `Metadata.write_to`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.rpc import RPC

from geodecloud.errors import OptionError
from geodecloud.scene.array_metadata import (
    array_descriptions,
    array_nodata,
    array_transform,
    kept_values,
    spatial,
)
from geodecloud.scene.bands import SENTINEL2_NM, canonical_name
from geodecloud.scene.encoding import Encoding, is_unpacked
from geodecloud.scene.grid import Grid
from geodecloud.scene.reflectance import Codec, decide_codec
from geodecloud.scene.side_facts import SideFacts
from geodecloud.scene.sun import sun_azimuth_deg, sun_tags
from geodecloud.scene.tags import Tags, read_tags, write_tags

if TYPE_CHECKING:
    import xarray as xr
    from rasterio.io import DatasetReader, DatasetWriter

#: Name of the (y, x) bool coordinate that says where a scene has data.
VALID = "geodecloud_valid"
#: How the tags of this software begin.
OWN_TAGS = "GEODECLOUD_"
#: Band names of a picture's colours.
_COLOURS = {ColorInterp.red: "B04", ColorInterp.green: "B03", ColorInterp.blue: "B02"}
#: Name of the (y, x) uint8 coordinate with the scene classification of Sentinel-2 level 2A.
SCL = "scl"
#: Name of the band of a raster that is a scene classification.
CLASS_BAND = "SCL"


@dataclass(frozen=True)
class Metadata:
    """What a scene says about itself; per-band tuples are in band order.

    Attributes
    ----------
    grid : CRS, transform, shape
    dtypes, descriptions, scales, offsets, units, colorinterp, colormaps : one per band
    nodata : number or None
    has_mask : whether the file holds a mask of its own (internal or beside it), not alpha
    masked_by_tag : whether a tag, NODATA_VALUES, says which colour is no data; GDAL makes a mask of it
    has_alpha : whether a band is the mask
    has_classes : whether a scene classification (SCL) comes with it
    gcps, gcps_crs, rpcs : georeference of rasters that have no affine transform
    tags, band_tags : by namespace
    side_facts : coordinate epoch, category names, attribute tables
    radiometry : which document says what scales and offsets are, in words; None: the scene itself
    encodings : what the values of each band will be packed into later; empty: nothing is known
    """

    grid: Grid
    dtypes: tuple[str, ...]
    descriptions: tuple[str | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    nodata: float | None = None
    units: tuple[str | None, ...] = ()
    colorinterp: tuple[ColorInterp, ...] = ()
    colormaps: tuple[Mapping[int, tuple[int, ...]] | None, ...] = ()
    has_mask: bool = False
    masked_by_tag: bool = False
    has_alpha: bool = False
    has_classes: bool = False
    gcps: tuple[GroundControlPoint, ...] = ()
    gcps_crs: CRS | None = None
    rpcs: RPC | None = None
    tags: Tags = field(default_factory=dict)
    band_tags: tuple[Tags, ...] = ()
    radiometry: str | None = None
    encodings: tuple[Encoding | None, ...] = ()
    side_facts: SideFacts = field(default_factory=SideFacts)

    @property
    def count(self) -> int:
        """Number of bands."""
        return len(self.dtypes)

    @property
    def alpha(self) -> int | None:
        """0-based band that is the mask, or None."""
        return self.colorinterp.index(ColorInterp.alpha) if self.has_alpha else None

    @property
    def has_palette(self) -> bool:
        """Whether pixel values are places in a colour table, not measurements."""
        return ColorInterp.palette in self.colorinterp

    @property
    def names(self) -> tuple[str | None, ...]:
        """Band names: descriptions; where there are none, what else tells.

        Thirteen 16-bit bands without a name are how Sentinel-2 L1C patches are passed around.
        The bands of an 8-bit picture are named by their colours.
        """
        unnamed = not any(self.descriptions)
        if unnamed and self.count == len(SENTINEL2_NM) and self.dtypes[0] in ("uint16", "int16"):
            esa_order = [*SENTINEL2_NM]
            return tuple(esa_order)
        if unnamed and self.dtypes[0] == "uint8":
            return tuple(_COLOURS.get(colour) for colour in self.colorinterp) or self.descriptions
        return self.descriptions

    @classmethod
    def of_dataset(cls, src: DatasetReader) -> Metadata:
        """Read it from an open dataset."""
        flags = src.mask_flag_enums[0] if src.count else []
        masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
        by_tag = masked and MaskFlags.nodata in flags
        alpha = ColorInterp.alpha in src.colorinterp
        gcps, gcps_crs = src.gcps
        return cls(
            grid=Grid.of(src),
            dtypes=tuple(src.dtypes),
            descriptions=tuple(src.descriptions),
            scales=tuple(src.scales),
            offsets=tuple(src.offsets),
            nodata=src.nodata,
            units=tuple(src.units),
            colorinterp=tuple(src.colorinterp),
            colormaps=tuple(_colormap(src, i) for i in src.indexes),
            has_mask=masked and not by_tag,
            masked_by_tag=by_tag,
            has_alpha=alpha,
            gcps=tuple(gcps),
            gcps_crs=gcps_crs,
            rpcs=src.rpcs,
            tags=read_tags(src),
            band_tags=tuple(read_tags(src, i) for i in src.indexes),
        )

    @classmethod
    def of_array(cls, array: xr.DataArray) -> Metadata:
        """Read it from a ([time,] band, y, x) DataArray that follows rioxarray's conventions."""
        count, attrs, rio = array.sizes[array.dims[-3]], array.attrs, spatial(array)

        def per_band(several: str, one: str, default: float) -> tuple[float, ...]:
            if is_unpacked(array):  # whatever is still said has been done
                return (default,) * count
            matched = kept_values(array, attrs[several]) if several in attrs else None
            return tuple(float(v) for v in matched or (attrs.get(one, default),) * count)

        transform, gcps = array_transform(array), tuple(rio.get_gcps() or ())
        # as in a file: the CRS is that of the points where only they say where pixels lie
        crs = None if gcps and transform == Affine.identity() else rio.crs
        return cls(
            grid=Grid(crs, transform, (array.shape[-2], array.shape[-1])),
            dtypes=(array.dtype.name,) * count,
            descriptions=array_descriptions(array, count),
            scales=per_band("scales", "scale_factor", 1.0),
            offsets=per_band("offsets", "add_offset", 0.0),
            nodata=array_nodata(array),
            has_mask=VALID in array.coords,
            has_classes=SCL in array.coords,
            gcps=gcps,
            gcps_crs=rio.crs if gcps else None,
            tags={"": said} if (said := sun_tags(attrs)) else {},
            radiometry=attrs.get("radiometry"),
        )

    @property
    def sun_azimuth_deg(self) -> float | None:
        """Where the sun stood, see `geodecloud.scene.sun`; None: no tag says so."""
        return sun_azimuth_deg(self.tags.get("", {}), self.grid)

    def with_nodata(self, nodata: float | str | None) -> Metadata:
        """The same with another nodata number; "none": without one; None: as it is.

        Raises
        ------
        OptionError
            If the pixels cannot hold the number.
        """
        if nodata is None:
            return self
        if nodata == "none":
            return replace(self, nodata=None)
        dtype = np.dtype(self.dtypes[0])
        if dtype.kind in "ui":
            limits = np.iinfo(dtype)
            if not float(nodata).is_integer() or not limits.min <= int(nodata) <= limits.max:
                raise OptionError(
                    f"nodata {nodata} is no number that {dtype.name} pixels can have ({limits.min} to "
                    f"{limits.max})"
                )
        return replace(self, nodata=float(nodata))

    def codec(
        self, channels: Sequence[int], scale: float | None = None, offset: float | None = None
    ) -> Codec:
        """How DN of some bands become reflectance, see `geodecloud.scene.reflectance.decide_codec`.

        Parameters
        ----------
        channels : 0-based bands
        scale, offset : of the caller; each wins over what the scene says
        """
        return decide_codec(
            np.dtype(self.dtypes[0]),
            [self._radiometry_name(i) for i in channels],
            [self.scales[i] for i in channels],
            [self.offsets[i] for i in channels],
            self.nodata,
            scale,
            offset,
            self.radiometry,
        )

    def _radiometry_name(self, index: int) -> str | None:
        """A band's name as evidence of its radiometry: only Sentinel-2 scenes have an SCL."""
        name = self.names[index]
        return canonical_name(name) if self.has_classes else name

    def single_band(self, dtype: str, nodata: float | None, description: str) -> Metadata:
        """Metadata of a one-band raster on the same grid, such as a provenance raster."""
        return Metadata(
            grid=self.grid,
            dtypes=(dtype,),
            descriptions=(description,),
            scales=(1.0,),
            offsets=(0.0,),
            nodata=nodata,
            gcps=self.gcps,
            gcps_crs=self.gcps_crs,
            rpcs=self.rpcs,
            side_facts=self.side_facts.of_place(),
        )

    def one_band(self, index: int) -> Metadata:
        """Metadata of one band on its own, 0-based.

        Neither an alpha band nor a tag on the values of all bands can be its mask: it gets its own.
        """
        one = slice(index, index + 1)
        default = dict(self.tags.get("", {}))
        if self.masked_by_tag:
            default.pop("NODATA_VALUES", None)
        return replace(
            self,
            dtypes=self.dtypes[one],
            descriptions=self.descriptions[one],
            scales=self.scales[one],
            offsets=self.offsets[one],
            units=self.units[one],
            colorinterp=(),
            colormaps=self.colormaps[one],
            band_tags=self.band_tags[one],
            has_mask=self.has_mask or self.masked_by_tag or self.has_alpha,
            masked_by_tag=False,
            has_alpha=False,
            tags={**self.tags, "": default},
            side_facts=self.side_facts.one_band(index),
        )

    def without_statistics(self) -> Metadata:
        """The same without the pixel statistics other software left in band tags."""
        kept = tuple(
            {
                namespace: {k: v for k, v in tags.items() if not k.startswith("STATISTICS_")}
                for namespace, tags in band.items()
            }
            for band in self.band_tags
        )
        return replace(self, band_tags=kept)

    def without_own_tags(self) -> Metadata:
        """The same without what an earlier run of this software said of its own result."""
        default = self.tags.get("", {})
        kept = {key: text for key, text in default.items() if not key.startswith(OWN_TAGS)}
        return replace(self, tags={**self.tags, "": kept})

    def with_tags(self, **more: str) -> Metadata:
        """The same with some tags of the default namespace added."""
        return replace(self, tags={**self.tags, "": {**self.tags.get("", {}), **more}})

    def profile(self) -> dict[str, Any]:
        """What rasterio needs to create a file of this kind."""
        place: dict[str, Any] = {"crs": self.grid.crs}
        if not self.gcps and self.grid.transform != Affine.identity():
            place["transform"] = self.grid.transform
        height, width = self.grid.shape_yx
        return {
            "width": width,
            "height": height,
            "count": self.count,
            "dtype": self.dtypes[0],
            "nodata": self.nodata,
            **place,
        }

    def write_to(self, dst: DatasetWriter) -> None:
        """Write down all that `profile` could not say. Before the pixels, not after."""
        for index, tags in enumerate((self.tags, *self.band_tags)):
            write_tags(dst, tags, index)
        for index in range(1, self.count + 1):
            if description := self.descriptions[index - 1]:
                dst.set_band_description(index, description)
            if self.units and (unit := self.units[index - 1]):
                dst.set_band_unit(index, unit)
            if self.colormaps and (colormap := self.colormaps[index - 1]):
                dst.write_colormap(index, colormap)
        if set(self.scales) != {1.0} or set(self.offsets) != {0.0}:
            dst.scales, dst.offsets = self.scales, self.offsets
        if self.colorinterp:
            dst.colorinterp = self.colorinterp
        if self.gcps:
            dst.gcps = (list(self.gcps), self.gcps_crs or CRS())
        if self.rpcs is not None:
            dst.rpcs = self.rpcs


def _colormap(src: DatasetReader, index: int) -> Mapping[int, tuple[int, ...]] | None:
    try:
        return src.colormap(index)
    except ValueError:  # rasterio's way of saying that there is none
        return None

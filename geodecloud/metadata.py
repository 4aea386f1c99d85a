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

from geodecloud.bands import SENTINEL2_NM
from geodecloud.grid import Grid
from geodecloud.reflectance import Codec, decide_codec

if TYPE_CHECKING:
    import xarray as xr
    from rasterio.io import DatasetReader, DatasetWriter

Tags = Mapping[str, Mapping[str, str]]  # namespace -> key -> value; "" is the default one

#: Name of the (y, x) bool coordinate that says where a scene has data.
VALID = "geodecloud_valid"
#: Band names of a picture's colours.
_COLOURS = {ColorInterp.red: "B04", ColorInterp.green: "B03", ColorInterp.blue: "B02"}
#: Name of the (y, x) uint8 coordinate with the scene classification of Sentinel-2 level 2A.
SCL = "scl"
#: Namespaces that describe the old file's storage, not the scene.
_STORAGE = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "RPC", "rio_creation_kwds"}


@dataclass(frozen=True)
class Metadata:
    """What a scene says about itself; per-band tuples are in band order.

    Attributes
    ----------
    grid : CRS, transform, shape
    dtypes, descriptions, scales, offsets, units, colorinterp, colormaps : one per band
    nodata : number or None
    has_mask : whether the file holds a mask of its own (internal or beside it), not alpha
    has_alpha : whether a band is the mask
    has_classes : whether a scene classification (SCL) comes with it
    gcps, gcps_crs, rpcs : georeference of rasters that have no affine transform
    tags, band_tags : by namespace
    radiometry : which document says what scales and offsets are, in words; None: the scene itself
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
    has_alpha: bool = False
    has_classes: bool = False
    gcps: tuple[GroundControlPoint, ...] = ()
    gcps_crs: CRS | None = None
    rpcs: RPC | None = None
    tags: Tags = field(default_factory=dict)
    band_tags: tuple[Tags, ...] = ()
    radiometry: str | None = None

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
            has_mask=MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags,
            has_alpha=alpha,
            gcps=tuple(gcps),
            gcps_crs=gcps_crs,
            rpcs=src.rpcs,
            tags=_tags(src),
            band_tags=tuple(_tags(src, i) for i in src.indexes),
        )

    @classmethod
    def of_array(cls, array: xr.DataArray) -> Metadata:
        """Read it from a ([time,] band, y, x) DataArray that follows rioxarray's conventions."""
        import rioxarray  # noqa: F401  registers .rio

        count, attrs, rio = array.sizes[array.dims[-3]], array.attrs, _spatial(array)

        def per_band(several: str, one: str, default: float) -> tuple[float, ...]:
            matched = _per_band(array, attrs[several]) if several in attrs else None
            return tuple(float(v) for v in matched or (attrs.get(one, default),) * count)

        transform, gcps = _array_transform(array), tuple(rio.get_gcps() or ())
        # as in a file: the CRS is that of the points where only they say where pixels lie
        crs = None if gcps and transform == Affine.identity() else rio.crs
        return cls(
            grid=Grid(crs, transform, (array.shape[-2], array.shape[-1])),
            dtypes=(array.dtype.name,) * count,
            descriptions=_array_descriptions(array, count),
            scales=per_band("scales", "scale_factor", 1.0),
            offsets=per_band("offsets", "add_offset", 0.0),
            nodata=array_nodata(array),
            has_mask=VALID in array.coords,
            has_classes=SCL in array.coords,
            gcps=gcps,
            gcps_crs=rio.crs if gcps else None,
            radiometry=attrs.get("radiometry"),
        )

    def codec(
        self, channels: Sequence[int], scale: float | None = None, offset: float | None = None
    ) -> Codec:
        """How DN of some bands become reflectance, see `geodecloud.reflectance.decide_codec`.

        Parameters
        ----------
        channels : 0-based bands
        scale, offset : of the caller; each wins over what the scene says
        """
        return decide_codec(
            np.dtype(self.dtypes[0]),
            [self.names[i] for i in channels],
            [self.scales[i] for i in channels],
            [self.offsets[i] for i in channels],
            self.nodata,
            scale,
            offset,
            self.radiometry,
        )

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
        )

    def one_band(self, index: int) -> Metadata:
        """Metadata of one band on its own, 0-based; no other band is its mask."""
        one = slice(index, index + 1)
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
            has_alpha=False,
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
        for namespace, tags in self.tags.items():
            dst.update_tags(ns=namespace or None, **tags)
        for index in range(1, self.count + 1):
            if description := self.descriptions[index - 1]:
                dst.set_band_description(index, description)
            if self.units and (unit := self.units[index - 1]):
                dst.set_band_unit(index, unit)
            for namespace, tags in self.band_tags[index - 1].items() if self.band_tags else ():
                dst.update_tags(index, ns=namespace or None, **tags)
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


def array_nodata(array: xr.DataArray) -> float | None:
    """The nodata number of a DataArray as rioxarray knows it; None where its pixels cannot take it.

    Ask the very object that came in: what ``.rio.set_nodata`` said is lost with the next operation.
    """
    import rioxarray  # noqa: F401  registers .rio

    # rioxarray remembers its first answer; a copy keeps it from being deaf to attrs set later
    told = getattr(array.rio, "_nodata", None) is not None
    rio = array.rio if told else array.copy(deep=False).rio
    integer = array.dtype.kind in "ui"
    try:
        # integers that declare it for their file are not masked: it still stands in the pixels
        nodata = rio.encoded_nodata if integer and not told else None
        nodata = rio.nodata if nodata is None else nodata
    except (OverflowError, ValueError):  # rioxarray's way of saying that they cannot
        return None
    if nodata is not None and integer:
        limits = np.iinfo(array.dtype)
        nodata = nodata if limits.min <= nodata <= limits.max else None
    return None if nodata is None else float(nodata)


def _array_transform(array: xr.DataArray) -> Affine:
    """The transform of a ([time,] band, y, x) DataArray.

    Thinning, cropping and sorting change coordinates and leave the stored transform as it was, so
    coordinates win, if they differ by more than their rounding.
    """
    x, y = array.dims[-1], array.dims[-2]
    bare = array.drop_vars((x, y), errors="ignore")  # else rioxarray mixes stored and recalculated
    stored: Affine = _spatial(bare).transform()
    axes = [array.coords[dim] for dim in (x, y) if dim in array.coords]
    plain = len(axes) == 2 and all(a.ndim == 1 and a.dtype.kind in "iuf" for a in axes)
    if stored.b or stored.d or not plain:
        return stored
    fresh: Affine = _spatial(array).transform(recalc=True)
    if not fresh.a or not fresh.e:  # coordinates that stand still tell nothing
        return stored
    xs, ys = (axis.values for axis in axes)
    moved = _is_moved(xs, fresh.c - stored.c, fresh.a - stored.a, stored.a) or _is_moved(
        ys, fresh.f - stored.f, fresh.e - stored.e, stored.e
    )
    return fresh if moved else stored


def _spatial(array: xr.DataArray) -> Any:
    """The accessor of rioxarray; what has no place on Earth may have any names of dims."""
    # said to a copy that shares the pixels: rioxarray's own would double them
    shared = array.copy(deep=False)
    return shared.rio.set_spatial_dims(array.dims[-1], array.dims[-2], inplace=True).rio


def _is_moved(values: Any, shift: float, stretch: float, step: float) -> bool:
    """Whether either end of an axis moved by more than 0.01 px and the rounding of `values`."""
    rounding = float(np.spacing(np.abs(values).max()))
    apart = max(abs(shift), abs(shift + len(values) * stretch))
    return apart > 0.01 * abs(step) + rounding


def _per_band(array: xr.DataArray, values: Sequence[Any]) -> tuple[Any, ...] | None:
    """One value for each band of a DataArray, from a list made for the file's bands.

    Selecting bands (``da.sel(band=[4, 3, 2])``) keeps the attrs of all bands; rioxarray's band
    coordinate, 1-based, then says which are left. None where the list cannot be matched.
    """
    count = array.sizes[array.dims[-3]]
    coordinate = array.coords.get(array.dims[-3])
    if coordinate is not None and coordinate.ndim == 1 and coordinate.dtype.kind in "iu":
        numbers = coordinate.values
        if numbers.min() >= 1 and numbers.max() <= len(values):
            return tuple(values[number - 1] for number in numbers)
    return tuple(values) if len(values) == count else None


def _array_descriptions(array: xr.DataArray, count: int) -> tuple[str | None, ...]:
    """Band names of a DataArray: ``long_name`` as rioxarray writes it, or a text coordinate."""
    coordinate = array.coords.get(array.dims[-3])
    if coordinate is not None and coordinate.ndim == 1 and coordinate.dtype.kind in "OUT":
        return tuple(str(n) for n in coordinate.values)
    names = array.attrs.get("long_name")
    if isinstance(names, str):
        names = [names]
    if isinstance(names, tuple | list) and (matched := _per_band(array, names)) is not None:
        return tuple(str(n) if n else None for n in matched)
    return (None,) * count


def _colormap(src: DatasetReader, index: int) -> Mapping[int, tuple[int, ...]] | None:
    try:
        return src.colormap(index)
    except ValueError:  # rasterio's way of saying that there is none
        return None


def _tags(src: DatasetReader, index: int = 0) -> dict[str, dict[str, str]]:
    namespaces = ["", *(n for n in src.tag_namespaces(index) if n not in _STORAGE)]
    tags = {name: src.tags(index, ns=name or None) for name in namespaces}
    return {name: values for name, values in tags.items() if values}

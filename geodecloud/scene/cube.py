"""Scenes as people hold them in xarray: dims in any order, many dates, a Dataset of bands.

A `Cube` brings them to (time, band, y, x) or (band, y, x), and results back to what came in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import dask.array as da
import numpy as np
import xarray as xr
from rioxarray.exceptions import RioXarrayError

from geodecloud.errors import SceneError
from geodecloud.scene.array_metadata import array_nodata
from geodecloud.scene.bands import SENTINEL2_NM, canonical_name
from geodecloud.scene.encoding import Encoding
from geodecloud.scene.metadata import Metadata

Scene: TypeAlias = xr.DataArray | xr.Dataset
SceneT = TypeVar("SceneT", xr.DataArray, xr.Dataset)

_BAND_DIMS = ("band", "bands", "channel", "channels", "variable", "wavelength")
_TIME_DIMS = ("time", "t", "date", "datetime")
#: Names of (y, x) that rioxarray does not know.
_SPATIAL_DIMS = (("lat", "lon"), ("northing", "easting"), ("row", "col"), ("Y", "X"))


@dataclass(frozen=True)
class Cube:
    """One scene or a stack of dates in the order this package works in.

    Attributes
    ----------
    source : what came in
    array : (band, y, x), or (time, band, y, x) for several dates; lazy where `source` is
    variables : names of the Dataset's variables that became bands; empty for a DataArray
    """

    source: Scene
    array: xr.DataArray
    variables: tuple[Hashable, ...] = ()

    @classmethod
    def of(cls, data: Scene, wanted: Sequence[str] = ()) -> Cube:
        """Bring a DataArray or Dataset into order.

        Parameters
        ----------
        data : DataArray with the dims y and x, and at most a band and a time dim; or Dataset with
            one such variable per band
        wanted : names of bands the caller asked for, to tell bands from other variables

        Raises
        ------
        SceneError
            If the dims cannot be told apart, are empty, or variables do not fit together.
        """
        if isinstance(data, xr.Dataset):
            variables = _band_variables(data, wanted)
            return cls(data, _in_order(_stacked(data, variables)), variables)
        if not isinstance(data, xr.DataArray):
            raise SceneError(
                f"a scene is an xarray.DataArray (band, y, x) or a Dataset with one variable per "
                f"band, not a {type(data).__name__}; open files with geodecloud.open_scene(path)"
            )
        return cls(data, _in_order(data))

    @property
    def metadata(self) -> Metadata:
        """What the array says about itself."""
        bands: list[Any] = [self.source[n] for n in self.variables]
        bands = bands or [self.source] * self.array.shape[-3]
        encodings = tuple(Encoding.of(band) for band in bands)
        said = Metadata.of_array(self.array)
        return replace(said, encodings=encodings) if any(encodings) else said

    @property
    def index(self) -> str:
        """One letter per dim of `array`: ``cyx``, or ``tcyx`` for several dates."""
        return "tcyx"[-self.array.ndim :]

    def coordinate(self, name: str) -> tuple[xr.DataArray, str] | None:
        """A (y, x) or (time, y, x) coordinate of `array` in this order, and its index; or None."""
        found = self.array.coords.get(name)
        time, (y, x) = self.array.dims[:-3], self.array.dims[-2:]
        if found is None or set(found.dims) not in ({y, x}, {*time, y, x}):
            return None
        return found.transpose(*time, y, x, missing_dims="ignore"), "tyx"[-found.ndim :]

    def image(self, pixels: Any) -> Scene:
        """`pixels`, like `array`, in the form of `source`: dims, chunks, coords, attrs, encoding."""
        done = self.array.copy(data=pixels)
        band = done.dims[-3]
        if isinstance(self.source, xr.DataArray):
            image = _like(self.source, done if band in self.source.dims else done.isel({band: 0}))
            return _with_nodata_of(self.source, image)
        bands = {
            name: _like(self.source[name], done.isel({band: index}, drop=True))
            for index, name in enumerate(self.variables)
        }
        return self.source.assign(bands)

    def plane(self, pixels: Any, name: str) -> xr.DataArray:
        """`pixels` (y, x) or (time, y, x) as a DataArray of `source`'s order of dims."""
        flat = self.array.isel({self.array.dims[-3]: 0}, drop=True)
        flat.attrs, flat.encoding = {}, {}
        flat = flat.copy(data=pixels).rename(name)
        first = self.source[self.variables[0]] if self.variables else self.source
        return flat.transpose(*(dim for dim in first.dims if dim in flat.dims))


def _like(source: xr.DataArray, done: xr.DataArray) -> xr.DataArray:
    data = done.transpose(*source.dims).data
    if isinstance(data, da.Array) and source.chunks is not None:
        # without a method, dask imports distributed to see whether it offers a better one
        data = data.rechunk(source.chunks, method="tasks")
    return source.copy(data=data)


def _with_nodata_of(source: xr.DataArray, image: xr.DataArray) -> xr.DataArray:
    """`image`, which also knows what ``source.rio.set_nodata`` said; that is in no attrs."""
    if (nodata := array_nodata(source)) is not None and array_nodata(image) != nodata:
        image.rio.set_nodata(nodata)
    return image


def _in_order(array: xr.DataArray) -> xr.DataArray:
    nodata = array_nodata(array)
    time, band, y, x = _dims(array)
    if band is None:
        band = next(name for name in _BAND_DIMS if name not in array.coords)
        array = array.expand_dims(band)
    ordered = array.transpose(*([] if time is None else [time]), band, y, x)
    if ordered.chunks is None and not isinstance(ordered.variable._data, np.ndarray):
        # a file xarray opened without chunks: read it once, here
        ordered = ordered.copy(data=ordered.values)
    # said in attrs, where it stays: not every way to say it outlives a new object
    return ordered if nodata is None else ordered.assign_attrs(_FillValue=nodata)


def _dims(array: xr.DataArray) -> tuple[Hashable | None, Hashable | None, Hashable, Hashable]:
    """Names of time, band, y, x; None where there is none."""
    spatial = _spatial_dims(array)
    others = [dim for dim in array.dims if dim not in spatial]
    times = [dim for dim in others if _is_time(array, dim)]
    bands = [dim for dim in others if dim not in times]
    if len(bands) == 2 and (named := [d for d in bands if str(d).lower() in _BAND_DIMS]):
        times, bands = [d for d in bands if d not in named], named
    if len(spatial) != 2 or len(times) > 1 or len(bands) > 1 or 0 in array.shape:
        raise SceneError(
            "a scene has the dims y and x, a band dim, and at most a time dim, none of them "
            f"empty; this DataArray has {dict(array.sizes)}. Rename them to time, band, y, x, or "
            "select one with .isel(...)"
        )
    y, x = spatial
    return times[0] if times else None, bands[0] if bands else None, y, x


def _spatial_dims(array: xr.DataArray) -> tuple[Hashable, ...]:
    """(y, x): as rioxarray knows them, by other names in use, or simply the last two."""
    import rioxarray  # noqa: F401  registers .rio

    with contextlib.suppress(RioXarrayError):
        return array.rio.y_dim, array.rio.x_dim
    for pair in _SPATIAL_DIMS:
        if set(pair) <= set(array.dims):
            return pair
    plain = [d for d in array.dims if not _is_time(array, d) and str(d).lower() not in _BAND_DIMS]
    return tuple(plain[-2:])


def _is_time(array: xr.DataArray, dim: Hashable) -> bool:
    coordinate = array.coords.get(str(dim))
    dated = coordinate is not None and coordinate.dtype.kind == "M"
    return dated or str(dim).lower() in _TIME_DIMS


def _band_variables(data: xr.Dataset, wanted: Sequence[str]) -> tuple[Hashable, ...]:
    """The variables that are bands: like the first one with a band's name, or the first of all."""
    planes = {
        name: variable
        for name, variable in data.data_vars.items()
        if variable.ndim >= 2 and variable.dtype.kind in "uif"
    }
    named = [n for n in planes if str(n) in wanted or canonical_name(str(n)) in SENTINEL2_NM]
    if not planes:
        raise SceneError(
            f"no variable of this Dataset is an image: it has {', '.join(map(str, data.data_vars))}"
        )
    first = planes[(named or list(planes))[0]]
    if {str(d).lower() for d in first.dims} & set(_BAND_DIMS):
        raise SceneError(
            f"variable {first.name} of this Dataset has a dim of bands already; use that DataArray: "
            f"ds[{first.name!r}].geodecloud.remove_clouds()"
        )
    return tuple(
        name
        for name, variable in planes.items()
        if set(variable.dims) == set(first.dims)
        and (name in named or (variable.dtype == first.dtype and not named))
    )


def _stacked(data: xr.Dataset, names: tuple[Hashable, ...]) -> xr.DataArray:
    """The variables as one DataArray with a band dim, attrs gathered band by band."""
    variables = [data[name].transpose(*data[names[0]].dims) for name in names]
    dtypes = {str(variable.dtype) for variable in variables}
    # DataArray.to_dataset("band") moves what all bands have in common to the Dataset
    common = {k: v for k, v in data.attrs.items() if k in ("_FillValue", "missing_value")}
    variables = [v.assign_attrs(common | v.attrs) if common else v for v in variables]
    nodata = array_nodata(variables[0])
    nodatas = {str(array_nodata(variable)) for variable in variables}
    for what, values in (("dtypes", dtypes), ("nodata numbers", nodatas)):
        if len(values) > 1:
            raise SceneError(
                f"variables {', '.join(map(str, names))} have different {what}: "
                f"{', '.join(sorted(values))}. Bring them to one first"
            )
    first = variables[0]
    pixels = [variable.data for variable in variables]
    lazy = any(isinstance(p, da.Array) for p in pixels)
    stacked = da.stack(pixels) if lazy else np.stack([v.values for v in variables])
    band = next(name for name in _BAND_DIMS if name not in data.variables)
    array = xr.DataArray(
        stacked,
        dims=(band, *first.dims),
        coords={**first.coords, band: [str(name) for name in names]},
        attrs={} if nodata is None else {"_FillValue": nodata},
    )
    array.attrs["scales"] = _per_band(data, variables, "scales", "scale_factor", 1.0)
    array.attrs["offsets"] = _per_band(data, variables, "offsets", "add_offset", 0.0)
    if "radiometry" in data.attrs:
        array.attrs["radiometry"] = data.attrs["radiometry"]
    array.encoding = {k: v for k, v in first.encoding.items() if k == "grid_mapping"}
    return array


def _per_band(
    data: xr.Dataset, variables: Sequence[xr.DataArray], several: str, one: str, default: float
) -> tuple[float, ...]:
    """A number for each band: as its variable says, else as the Dataset does for each or for all."""
    listed, common = data.attrs.get(several, ()), data.attrs.get(one, default)
    if any(
        one in v.encoding for v in variables
    ):  # decoded by xarray: what the Dataset says is done
        listed, common = (), default
    names = data.attrs.get("long_name", ())
    if not set(names) & set(data.data_vars):  # bands that never got names: 1, 2, 3
        names = range(1, len(listed) + 1)
    of_name = dict(zip(names, listed, strict=False))
    return tuple(float(v.attrs.get(one, of_name.get(v.name, common))) for v in variables)

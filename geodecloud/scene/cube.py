"""Scenes as people hold them in xarray: dims in any order, many dates, a Dataset of bands.

A `Cube` brings them to (time, band, y, x) or (band, y, x), and results back to what came in.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import dask.array as da
import numpy as np
import xarray as xr
from rioxarray.exceptions import RioXarrayError

from geodecloud.errors import GeodecloudWarning, SceneError
from geodecloud.scene.array_metadata import array_descriptions, array_nodata, spatial
from geodecloud.scene.bands import SENTINEL2_NM, canonical_name
from geodecloud.scene.encoding import Encoding, is_unpacked
from geodecloud.scene.metadata import SCL, Metadata

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
            If the dims cannot be told apart, are empty or of unknown size, or variables do not fit
            together.
        """
        if isinstance(data, xr.Dataset):
            variables = _band_variables(data, wanted)
            array = _in_order(_stacked(data, variables, wanted))
            return cls(data, _with_classes(array, data.data_vars), variables)
        if not isinstance(data, xr.DataArray):
            raise SceneError(
                f"a scene is an xarray.DataArray (band, y, x) or a Dataset with one variable per "
                f"band, not a {type(data).__name__}; open files with geodecloud.open_scene(path)"
            )
        array = _in_order(data)
        _check_crs(array)
        return cls(data, _with_classes(array, _class_bands(array)))

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
        if isinstance(self.source, xr.Dataset) and (name_of_crs := _grid_mapping(self.array)):
            flat.encoding["grid_mapping"] = name_of_crs
        # what the Dataset has as data must not come back as a coordinate: the two would not merge
        flat = flat.drop_vars(n for n in flat.coords if n not in self.source.coords)
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
    if ordered.chunks is None:
        # a file xarray opened without chunks is read once, here; what is in memory stays there
        ordered = ordered.copy(data=ordered.values)
    # said in attrs, where it stays: not every way to say it outlives a new object
    return ordered if nodata is None else ordered.assign_attrs(_FillValue=nodata)


def _dims(array: xr.DataArray) -> tuple[Hashable | None, Hashable | None, Hashable, Hashable]:
    """Names of time, band, y, x; None where there is none."""
    if any(np.isnan(float(size)) for size in array.shape):
        raise SceneError(
            f"the dask chunks of this scene have unknown sizes: its shape is {array.shape}. Selecting "
            "by values makes such arrays; compute the sizes first: scene.data = "
            "scene.data.compute_chunk_sizes()"
        )
    yx = _spatial_dims(array)
    others = [dim for dim in array.dims if dim not in yx]
    times = [dim for dim in others if _is_time(array, dim)]
    bands = [dim for dim in others if dim not in times]
    if len(bands) == 2 and (named := [d for d in bands if str(d).lower() in _BAND_DIMS]):
        times, bands = [d for d in bands if d not in named], named
    if len(yx) != 2 or len(times) > 1 or len(bands) > 1 or 0 in array.shape:
        raise SceneError(
            "a scene has the dims y and x, a band dim, and at most a time dim, none of them "
            f"empty; this DataArray has {dict(array.sizes)}. Rename them to time, band, y, x, or "
            "select one with .isel(...)"
        )
    y, x = yx
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
    named = [
        name
        for name, variable in planes.items()
        if str(name) in wanted or canonical_name(_band_name(variable)) in SENTINEL2_NM
    ]
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
        and (str(name) in wanted or not _is_classes(variable))
    )


def _band_name(variable: xr.DataArray) -> str:
    """The name of a variable, or its ``long_name`` where only that is a band's."""
    name, said = str(variable.name), variable.attrs.get("long_name")
    known = {*SENTINEL2_NM, "SCL"}
    if canonical_name(name) in known or not isinstance(said, str):
        return name
    return said if canonical_name(said) in known else name


def _is_classes(variable: xr.DataArray) -> bool:
    return canonical_name(_band_name(variable)) == "SCL"


def _class_bands(array: xr.DataArray) -> dict[str, xr.DataArray]:
    """The scene classification among the bands of a DataArray, as stackstac has it."""
    band = array.dims[-3]
    names = array_descriptions(array, array.sizes[band])
    return {
        str(name): array.isel({band: index}, drop=True).rename(name)
        for index, name in enumerate(names)
        if canonical_name(name) == "SCL"
    }


def _with_classes(array: xr.DataArray, variables: Mapping[Any, xr.DataArray]) -> xr.DataArray:
    """The bands with the scene classification that lies beside or among them, if one does."""
    found = [v for v in variables.values() if _is_classes(v) and v.dtype.kind in "uif"]
    time, (y, x) = array.dims[:-3], array.dims[-2:]
    fitting = [v for v in found if set(v.dims) in ({y, x}, {*time, y, x})]
    if SCL in array.coords or len(fitting) != 1:
        return array
    return array.assign_coords({SCL: fitting[0].variable})


def _check_crs(array: xr.DataArray) -> None:
    """Warn where the array names a variable that holds its CRS and has been parted from it."""
    name = _grid_mapping(array)
    if name is not None and name not in array.coords and spatial(array).crs is None:
        warnings.warn(
            f"the CRS of this scene stands in a variable {name!r} that is not with it, so nothing says "
            'where it lies; open its file with decode_coords="all", or give the whole Dataset, or say '
            "it: scene.rio.write_crs(...)",
            GeodecloudWarning,
            stacklevel=4,
        )


def _grid_mapping(array: xr.DataArray) -> str | None:
    """Name of the variable that says how the grid lies, by the CF conventions; None: none is named."""
    said = array.encoding.get("grid_mapping", array.attrs.get("grid_mapping"))
    # CF's long form names coordinates, too: "crs: x y"
    return None if said is None else str(said).split(":")[0].strip()


def _with_crs(array: xr.DataArray, data: xr.Dataset, first: xr.DataArray) -> xr.DataArray:
    """The bands with the variable that says how their grid lies, where the Dataset has it as data.

    That is how xarray opens a netCDF file, unless it is told decode_coords="all".
    """
    name = _grid_mapping(first)
    if name is None:
        keys = {"spatial_ref", "crs_wkt", "grid_mapping_name"}
        mappings = [n for n, v in data.data_vars.items() if v.ndim == 0 and keys & v.attrs.keys()]
        name = str(mappings[0]) if len(mappings) == 1 else None
    if name is None:
        return array
    array.encoding["grid_mapping"] = name
    if name in data.data_vars:
        array = array.assign_coords({name: data[name].variable})
    _check_crs(array)
    return array


def _stacked(
    data: xr.Dataset, names: tuple[Hashable, ...], wanted: Sequence[str] = ()
) -> xr.DataArray:
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
        coords={
            **first.coords,
            band: [str(n) if str(n) in wanted else _band_name(data[n]) for n in names],
        },
        attrs={} if nodata is None else {"_FillValue": nodata},
    )
    array.attrs["scales"] = _per_band(data, variables, "scales", "scale_factor", 1.0)
    array.attrs["offsets"] = _per_band(data, variables, "offsets", "add_offset", 0.0)
    if "radiometry" in data.attrs:
        array.attrs["radiometry"] = data.attrs["radiometry"]
    return _with_crs(array, data, first)


def _per_band(
    data: xr.Dataset, variables: Sequence[xr.DataArray], several: str, one: str, default: float
) -> tuple[float, ...]:
    """A number for each band: as its variable says, else as the Dataset does for each or for all."""
    listed, common = data.attrs.get(several, ()), data.attrs.get(one, default)
    if any(map(is_unpacked, variables)):  # whatever is still said has been done
        return (default,) * len(variables)
    names = data.attrs.get("long_name", ())
    if not set(names) & set(data.data_vars):  # bands that never got names: 1, 2, 3
        names = range(1, len(listed) + 1)
    of_name = dict(zip(names, listed, strict=False))
    return tuple(float(v.attrs.get(one, of_name.get(v.name, common))) for v in variables)
